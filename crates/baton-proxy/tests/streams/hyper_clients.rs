//! The same streams over HTTP/2, TLS and h2c, by hyper.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use baton_proxy::{Certificate, Instance, Settings};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::kit::{Front, PATIENCE, find};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    H2,
    TlsHttp1,
    TlsH2,
}

/// Makes a proxy listen with TLS as well; the root that its clients trust.
pub fn with_tls(settings: &mut Settings) -> rustls::RootCertStore {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    settings.https = vec![([127, 0, 0, 1], 0).into()];
    settings.certificates = vec![Certificate::load(&chain, &key).unwrap()];
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    roots
}

/// A browser's stream.
pub struct Listener {
    runtime: Runtime,
    pub answer: http::response::Parts,
    stream: Incoming,
    body: Vec<u8>,
    /// The connection; of use as long as it lives.
    _keeps: Box<dyn std::any::Any>,
}

impl Listener {
    pub fn open(front: &Front, client: Client, roots: &rustls::RootCertStore) -> Listener {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (answer, stream, keeps) = runtime.block_on(async {
            let asked = ask(front, client, roots);
            tokio::time::timeout(PATIENCE, asked)
                .await
                .expect("it is answered")
        });
        Listener {
            runtime,
            answer,
            stream,
            body: Vec::new(),
            _keeps: keeps,
        }
    }

    /// The next event with its blank line; None at a clean end.
    pub fn next(&mut self) -> Result<Option<String>, hyper::Error> {
        loop {
            if let Some(end) = find(&self.body, b"\n\n") {
                let event: Vec<u8> = self.body.drain(..end + 2).collect();
                return Ok(Some(String::from_utf8(event).unwrap()));
            }
            let next = self.runtime.block_on(async {
                let frame = tokio::time::timeout(PATIENCE, self.stream.frame()).await;
                frame.expect("something comes")
            });
            match next {
                Some(frame) => self.body.extend_from_slice(frame?.data_ref().unwrap()),
                None => return Ok(None),
            }
        }
    }

    pub fn event(&mut self) -> String {
        self.next().unwrap().expect("the stream goes on")
    }
}

type Asked = (http::response::Parts, Incoming, Box<dyn std::any::Any>);

async fn ask(front: &Front, client: Client, roots: &rustls::RootCertStore) -> Asked {
    let uri = match client {
        Client::H2 => "http://a.test/sse",
        Client::TlsHttp1 => "/sse",
        Client::TlsH2 => "https://a.test/sse",
    };
    let request = http::Request::get(uri)
        .header("accept", "text/event-stream")
        .header("last-event-id", "b0")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let request = match client {
        Client::TlsHttp1 => request.header("host", "a.test"),
        _ => request,
    };
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    if client == Client::H2 {
        let stream = TcpStream::connect(front.address).await.unwrap();
        return over_h2(stream, request).await;
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    if client == Client::TlsH2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    let stream = TcpStream::connect(front.proxy.https_addrs()[0])
        .await
        .unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect("a.test".try_into().unwrap(), stream)
        .await
        .unwrap();
    if client == Client::TlsH2 {
        return over_h2(stream, request).await;
    }
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    (parts, body, Box::new(sender))
}

async fn over_h2<S>(stream: S, request: http::Request<Empty<Bytes>>) -> Asked
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (executor, io) = (TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    (parts, body, Box::new(sender))
}

type Events = UnboundedSender<Result<Frame<Bytes>, std::io::Error>>;

/// An h2c app: each GET is a stream that gets what is emitted from then on.
pub struct H2cSource {
    pub instance: Arc<Instance>,
    open: Arc<Mutex<Vec<Events>>>,
    asked: Arc<Mutex<Vec<http::HeaderMap>>>,
}

impl H2cSource {
    pub fn start() -> H2cSource {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let instance = Instance::new("h2c", listener.local_addr().unwrap(), false);
        let (open, asked) = (
            Arc::<Mutex<Vec<Events>>>::default(),
            Arc::<Mutex<Vec<http::HeaderMap>>>::default(),
        );
        let (streams, heads) = (Arc::clone(&open), Arc::clone(&asked));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(listener, streams, heads));
        });
        H2cSource {
            instance,
            open,
            asked,
        }
    }

    pub fn emit(&self, text: &str) {
        for events in self.open.lock().unwrap().iter() {
            let _ = events.send(Ok(Frame::data(Bytes::copy_from_slice(text.as_bytes()))));
        }
    }

    /// Resets every stream, as an app that breaks does.
    pub fn reset(&self) {
        for events in self.open.lock().unwrap().drain(..) {
            let _ = events.send(Err(std::io::ErrorKind::Other.into()));
        }
    }

    pub fn complete(&self) {
        self.open.lock().unwrap().clear();
    }

    pub fn requests(&self) -> Vec<http::HeaderMap> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(
    listener: std::net::TcpListener,
    streams: Arc<Mutex<Vec<Events>>>,
    heads: Arc<Mutex<Vec<http::HeaderMap>>>,
) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (streams, heads) = (Arc::clone(&streams), Arc::clone(&heads));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (events, body) = unbounded_channel();
            streams.lock().unwrap().push(events);
            heads.lock().unwrap().push(request.headers().clone());
            let body = futures_util::stream::unfold(body, |mut body| async move {
                body.recv().await.map(|frame| (frame, body))
            });
            let answer = hyper::Response::builder()
                .header("content-type", "text/event-stream")
                .body(StreamBody::new(Box::pin(body)));
            async move { Ok::<_, Infallible>(answer.unwrap()) }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}
