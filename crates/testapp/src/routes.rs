//! One function a route.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
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

use crate::active::Activity;
use crate::faults::{self, Fate};
use crate::scene::Scene;
use crate::settings::{Identity, Settings};

pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// State of one life of the app.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) settings: Settings,
    pub(crate) healthy_at: Instant,
    pub(crate) fate: Fate,
    pub(crate) activity: Rc<Activity>,
    pub(crate) scene: Rc<Scene>,
}

/// Answers one request; every answer says who gave it.
pub(crate) async fn answer(
    app: &App,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let of_a_user = faults::is_of_a_user(&request);
    let mut response = route(app, request).await;
    if of_a_user {
        app.fate.served();
    }
    let identity = &app.settings.identity;
    for (name, value) in [
        ("x-color", &identity.color),
        ("x-release", &identity.release),
        ("x-version", &identity.version),
        ("x-instance", &identity.id()),
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
            unless_told_to_fail(app, || json(&app.settings.identity))
        }
        (_, "/who") => unless_told_to_fail(app, || who(app, query.text("env"))),
        (&Method::GET, "/internal/active") => json(&app.activity.state()),
        (&Method::POST, "/internal/active") => activate(app, request).await,
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
        (_, "/") => unless_told_to_fail(app, || json(&app.settings.identity)),
        _ => text(StatusCode::NOT_FOUND, "no such route\n"),
    }
}

fn unless_told_to_fail(app: &App, answer: impl FnOnce() -> Response<Body>) -> Response<Body> {
    if app.fate.fails_now() {
        text(StatusCode::INTERNAL_SERVER_ERROR, "told to fail\n")
    } else {
        answer()
    }
}

/// Who answers, with the environment variables that were asked for (`?env=DB_URL,TZ`; null: not set).
fn who(app: &App, names: &str) -> Response<Body> {
    #[derive(serde::Serialize)]
    struct Who<'a> {
        #[serde(flatten)]
        identity: &'a Identity,
        id: String,
        env: BTreeMap<&'a str, Option<String>>,
    }
    let names = names.split(',').filter(|name| !name.is_empty());
    let identity = &app.settings.identity;
    json(&Who {
        identity,
        id: identity.id(),
        env: names.map(|name| (name, std::env::var(name).ok())).collect(),
    })
}

/// `{"active":true}` or `{"active":false}`; the answer to the latter comes once no tick runs any more.
async fn activate(app: &App, request: Request<Incoming>) -> Response<Body> {
    #[derive(serde::Deserialize)]
    struct Wanted {
        active: bool,
    }
    let Ok(body) = request.into_body().collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body broke off\n");
    };
    match serde_json::from_slice::<Wanted>(&body.to_bytes()) {
        Ok(wanted) => {
            app.activity.set(wanted.active).await;
            json(&app.activity.state())
        }
        Err(error) => text(
            StatusCode::BAD_REQUEST,
            format!("expected {{\"active\":true|false}}: {error}\n"),
        ),
    }
}

fn health(app: &App) -> Response<Body> {
    if app.settings.health_fail || app.fate.is_ill_now() {
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

/// `data: RELEASE NUMBER`, every so often, `count` times (0: for ever). Each connection has ids of its
/// own: what a client hears of an instance that it is back with is no replay.
fn events(app: &App, every_ms: u64, count: u64) -> Response<Body> {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let connection = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
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
            let event = format!("id: {connection}-{number}\ndata: {release} {number}\n\n");
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
    faults::hold_memory(megabytes);
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
