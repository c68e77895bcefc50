//! What the tests of listeners, TLS and HTTP/2 share: an app to route to, and a proxy before it.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_proxy::{
    Certificate, ConnectionLimits, Instance, Mode, Protocol, Proxy, Route, RouteCounters,
    RouteLimits, RoutingTable, Settings,
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub(crate) type OriginBody = BoxBody<Bytes, hyper::Error>;

/// An app: HTTP/1.1 and h2c.
///
/// `/` its name · `/headers` the request's fields, one a line · `/echo` the body and its trailers back ·
/// `/sse` an event each 50 ms, for ever · `/bytes` 10 MB · `/count` the number of bytes it got ·
/// `/trailers-only` what gRPC answers with when it has nothing else to say · `/hang` no answer.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    pub(crate) name: &'static str,
    /// One permit for each request of `/hang` that has come.
    pub(crate) hanging: Arc<tokio::sync::Semaphore>,
    /// One permit for each request whose handler or answer was dropped before its end.
    pub(crate) cancelled: Arc<tokio::sync::Semaphore>,
}

pub(crate) async fn origin(name: &'static str) -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin {
        address: listener.local_addr().unwrap(),
        name,
        hanging: Arc::new(tokio::sync::Semaphore::new(0)),
        cancelled: Arc::new(tokio::sync::Semaphore::new(0)),
    };
    let app = origin.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let app = app.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let app = app.clone();
                    async move { Ok::<_, Infallible>(answer(app, request).await) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    origin
}

/// Tells when it is dropped unfinished.
struct Unfinished(Arc<tokio::sync::Semaphore>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

async fn answer(app: Origin, request: Request<Incoming>) -> Response<OriginBody> {
    match request.uri().path() {
        // hyper leaves it to the app over HTTP/2.
        _ if request.method() == http::Method::HEAD => Response::builder()
            .header("content-length", "5")
            .body(http_body_util::Empty::new().map_err(|n| match n {}).boxed())
            .unwrap(),
        "/headers" => {
            let mut lines = format!("{} {}\n", request.method(), request.uri());
            for (name, value) in request.headers() {
                lines.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
            }
            Response::new(full(lines))
        }
        "/echo" => Response::new(request.into_body().boxed()),
        "/count" => {
            let mut body = request.into_body();
            let mut count = 0;
            while let Some(Ok(frame)) = body.frame().await {
                count += frame.data_ref().map_or(0, Bytes::len);
            }
            Response::new(full(count.to_string()))
        }
        "/bytes" => Response::new(full(vec![b'x'; 10 << 20])),
        "/trailers-only" => Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "5")
            .body(http_body_util::Empty::new().map_err(|n| match n {}).boxed())
            .unwrap(),
        "/hang" => {
            let _unfinished = Unfinished(app.cancelled);
            app.hanging.add_permits(1);
            std::future::pending().await
        }
        "/sse" => {
            let (events, body) = mpsc::channel(1);
            tokio::spawn(async move {
                let _unfinished = Unfinished(app.cancelled);
                while events
                    .send(Ok(Frame::data(Bytes::from_static(b"data: x\n\n"))))
                    .await
                    .is_ok()
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            let stream = futures_util::stream::unfold(body, |mut body| async move {
                body.recv().await.map(|frame| (frame, body))
            });
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(BodyExt::boxed(StreamBody::new(stream)))
                .unwrap()
        }
        _ => Response::new(full(app.name)),
    }
}

fn full(bytes: impl Into<Bytes>) -> OriginBody {
    Full::new(bytes.into()).map_err(|n| match n {}).boxed()
}

pub(crate) fn route(app: &str, hosts: &[&str], path: &str) -> Route {
    Route {
        app: app.into(),
        hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
        path: path.to_owned(),
        strip_path: false,
        protocol: Protocol::Http1,
        redirect_https: None,
        redirect_host: None,
        limits: RouteLimits {
            body: 0,
            header_bytes: 64 * 1024,
            idle: Duration::from_secs(30),
        },
        max_wait: Duration::from_secs(5),
        mode: Mode::Serve,
        instances: Vec::new(),
        streams: Arc::default(),
        default_stream_mode: baton_proxy::StreamMode::Drain,
        halves: Vec::new(),
        sessions: None,
        pinned: Vec::new(),
        split: None,
        streams_wait: false,
        access: None,
        error_page: None,
        page: None,
        counters: Arc::new(RouteCounters::default()),
    }
}

/// One worker, an HTTP and, if there are certificates, an HTTPS listener on free ports.
pub(crate) fn settings() -> Settings {
    Settings {
        http: vec!["127.0.0.1:0".parse().unwrap()],
        workers: 1,
        trusted_proxies: Vec::new(),
        limits: ConnectionLimits::default(),
        ..Settings::default()
    }
}

/// A proxy that sends every host to `origin`.
pub(crate) fn proxy_to(origin: &Origin, protocol: Protocol, settings: Settings) -> Arc<Proxy> {
    let proxy = Proxy::start(settings).unwrap();
    let instance = Instance::new(origin.name, origin.address, false);
    let route = Route {
        protocol,
        instances: vec![instance],
        ..route("shop", &["*"], "/")
    };
    proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)]).unwrap()));
    proxy
}

/// A self-signed certificate for `names`.
pub(crate) fn certificate(names: &[&str]) -> Arc<Certificate> {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = certificate_files(folder.path(), names);
    Certificate::load(&chain, &key).unwrap()
}

pub(crate) fn certificate_files(
    folder: &std::path::Path,
    names: &[&str],
) -> (std::path::PathBuf, std::path::PathBuf) {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (chain, key)
}

pub(crate) type Sender<B> = hyper::client::conn::http2::SendRequest<B>;

/// An HTTP/2 client on a plain connection.
pub(crate) async fn h2c<B>(address: SocketAddr) -> Sender<B>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

/// The whole of an answer.
pub(crate) async fn whole(
    response: Response<Incoming>,
) -> (u16, HeaderMap, Bytes, Option<HeaderMap>) {
    let (head, body) = response.into_parts();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().cloned();
    (
        head.status.as_u16(),
        head.headers,
        collected.to_bytes(),
        trailers,
    )
}
