//! One function a route.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::scene::Scene;
use crate::settings::Settings;

pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// State of one life of the app.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) healthy_at: Instant,
    pub(crate) scene: Rc<Scene>,
}

/// Answers one request; every answer says who gave it.
pub(crate) async fn answer(
    app: &App,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut response = route(app, request).await;
    let identity = &app.settings.identity;
    for (name, value) in [
        ("x-color", &identity.color),
        ("x-release", &identity.release),
        ("x-version", &identity.version),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn route(app: &App, mut request: Request<Incoming>) -> Response<Body> {
    let query = Query::of(&request);
    if let Some(response) = app.scene.answer(&mut request, &query).await {
        return response;
    }
    match (request.method(), request.uri().path()) {
        (_, "/healthz") => health(app),
        (_, "/slow") => {
            sleep(Duration::from_millis(query.number("ms", 1_000))).await;
            identity(app)
        }
        (&Method::GET | &Method::HEAD, "/bytes") => {
            many_bytes(query.number("n", 1 << 20), query.number("chunked", 0) == 1)
        }
        (&Method::POST | &Method::PUT, "/upload") => upload(request).await,
        (&Method::POST | &Method::PUT, "/echo") => echo(request),
        (_, "/headers") => headers(&request),
        (&Method::GET, "/sse") => events(app, query.number("every_ms", 100), query.number("n", 0)),
        (&Method::GET, "/ws") => web_socket(request),
        (_, "/env") => text(
            StatusCode::OK,
            std::env::var(query.text("name")).unwrap_or_default(),
        ),
        (_, "/hog") => hog(query.number("mb", 1)),
        (_, "/exit") => std::process::exit(query.number("code", 1) as i32),
        (_, "/status") => {
            let status = u16::try_from(query.number("code", 200))
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok());
            text(status.unwrap_or(StatusCode::BAD_REQUEST), "as asked\n")
        }
        (_, "/") => front(app),
        _ => text(StatusCode::NOT_FOUND, "no such route\n"),
    }
}

fn front(app: &App) -> Response<Body> {
    let percent = app.settings.fail_percent;
    // The clock's nanoseconds are random enough to share out failures.
    let dice = u64::from(
        std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |t| t.subsec_nanos() / 100)
            % 100,
    );
    if dice < percent {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "told to fail\n");
    }
    identity(app)
}

fn identity(app: &App) -> Response<Body> {
    json(&app.settings.identity)
}

fn health(app: &App) -> Response<Body> {
    if app.settings.health_fail {
        text(StatusCode::SERVICE_UNAVAILABLE, "told to be ill\n")
    } else if Instant::now() < app.healthy_at {
        text(StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    } else {
        text(StatusCode::OK, "ok\n")
    }
}

/// The byte at each offset follows from the offset, so that a client can tell a gap.
fn pattern(offset: u64, length: usize) -> Bytes {
    (offset..offset + length as u64)
        .map(|at| (at % 251) as u8)
        .collect()
}

fn many_bytes(total: u64, chunked: bool) -> Response<Body> {
    const PIECE: u64 = 64 * 1024;
    let pieces = stream::unfold(0_u64, move |at| async move {
        let length = PIECE.min(total - at);
        (length > 0).then(|| (Ok(Frame::data(pattern(at, length as usize))), at + length))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(pieces)));
    if !chunked {
        response
            .headers_mut()
            .insert("content-length", HeaderValue::from(total));
    }
    response
}

async fn upload(request: Request<Incoming>) -> Response<Body> {
    let mut body = request.into_body();
    let (mut length, mut sum) = (0_u64, 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return text(StatusCode::BAD_REQUEST, "the body broke off\n");
        };
        if let Some(data) = frame.data_ref() {
            length += data.len() as u64;
            sum += data.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        }
    }
    text(StatusCode::OK, format!("{length} {sum}\n"))
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let length = request.headers().get("content-length").cloned();
    let mut response = Response::new(BodyExt::boxed_unsync(request.into_body()));
    if let Some(length) = length {
        response.headers_mut().insert("content-length", length);
    }
    response
}

fn headers(request: &Request<Incoming>) -> Response<Body> {
    let mut lines = format!(
        "{} {} {:?}\n",
        request.method(),
        request.uri(),
        request.version()
    );
    for (name, value) in request.headers() {
        lines.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    text(StatusCode::OK, lines)
}

/// `data: RELEASE NUMBER`, every so often, `count` times (0: for ever).
fn events(app: &App, every_ms: u64, count: u64) -> Response<Body> {
    let release = app.settings.identity.release.clone();
    let pieces = stream::unfold(0_u64, move |number| {
        let release = release.clone();
        async move {
            if count > 0 && number >= count {
                return None;
            }
            if number > 0 {
                sleep(Duration::from_millis(every_ms)).await;
            }
            let event = format!("id: {number}\ndata: {release} {number}\n\n");
            Some((Ok(Frame::data(Bytes::from(event))), number + 1))
        }
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(pieces)));
    response.headers_mut().insert(
        "content-type",
        HeaderValue::from_static("text/event-stream"),
    );
    response
        .headers_mut()
        .insert("cache-control", HeaderValue::from_static("no-cache"));
    response
}

fn web_socket(mut request: Request<Incoming>) -> Response<Body> {
    let Some(response) = switching(&request) else {
        return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n");
    };
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
            return;
        };
        let mut socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    response
}

/// 101, as a WebSocket's server answers; None when that is not what was asked for.
pub(crate) fn switching(request: &Request<Incoming>) -> Option<Response<Body>> {
    let key = request.headers().get("sec-websocket-key")?;
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let fields = response.headers_mut();
    fields.remove("content-type");
    fields.insert("connection", HeaderValue::from_static("upgrade"));
    fields.insert("upgrade", HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        fields.insert("sec-websocket-accept", accept);
    }
    Some(response)
}

/// Takes memory and keeps it.
fn hog(megabytes: u64) -> Response<Body> {
    for _ in 0..megabytes {
        // Written to, so that the kernel really gives the pages; leaked, so that it stays.
        Box::leak(vec![1_u8; 1 << 20].into_boxed_slice());
    }
    text(StatusCode::OK, format!("{megabytes} MiB more\n"))
}

fn full(bytes: impl Into<Bytes>) -> Body {
    BodyExt::boxed_unsync(Full::new(bytes.into()).map_err(|never| match never {}))
}

pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let text: String = text.into();
    let mut response = typed("text/plain; charset=utf-8", text);
    *response.status_mut() = status;
    response
}

pub(crate) fn html(page: &'static str) -> Response<Body> {
    typed("text/html; charset=utf-8", page)
}

pub(crate) fn json(value: &impl serde::Serialize) -> Response<Body> {
    typed(
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static(kind));
    response
}

/// `?ms=20&n=3`, no percent-decoding: the tests need none.
pub(crate) struct Query(String);

impl Query {
    fn of(request: &Request<Incoming>) -> Query {
        Query(request.uri().query().unwrap_or_default().to_owned())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
            .unwrap_or_default()
    }

    pub(crate) fn number(&self, name: &str, default: u64) -> u64 {
        self.text(name).parse().unwrap_or(default)
    }
}
