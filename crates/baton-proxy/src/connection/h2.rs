//! HTTP/2 from clients: hyper's server. What RFC 9113 makes malformed is refused by the `h2` crate;
//! here is what only a proxy must look at, and when a connection ends.
//!
//! Interim answers (1xx) do not reach these clients: hyper 1.12 gives a service no way to send one,
//! though `h2` below it has (`SendResponse::send_informational`). Early Hints are lost, which costs a
//! page some milliseconds. A client that sends `Expect: 100-continue`, which browsers, gRPC and curl do
//! not over HTTP/2, waits for as long as it likes and then sends its body (RFC 9110 §10.1.1).

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::farewell::Farewell;
use super::frames::Watched;
use super::{H2_PREFACE, LAST_CHANCE};
use crate::access_log::{Opening, Record};
use crate::answer::Answer;
use crate::exchange::stream::{self, AnswerBody};
use crate::h1::Refusal;
use crate::h1::target::is_host;
use crate::io::{ClientStream, Peer};
use crate::route::host_name;
use crate::settings::ConnectionLimits;
use crate::tls::Certificates;
use crate::upstream::h2c::LocalExecutor;
use crate::worker::WorkerContext;

/// As nginx has it.
const CONCURRENT_STREAMS: u32 = 128;
/// Bytes of one request's body, and of all of a connection's, that may be on their way to slow
/// instances: a 10 MB upload runs at 5 MB/s over a round trip of 100 ms, and a client cannot make us
/// hold more than a mebibyte.
const STREAM_WINDOW: u32 = 512 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of one answer that wait for a slow client.
const SEND_BUFFER: usize = 128 * 1024;
/// Requests that were reset before they were looked at, and streams that we had to reset: more end
/// the connection with GOAWAY.
const RESETS: usize = 64;
/// Requests that a client had queued when it was told to send no more have come once none has been open
/// for so long; one that goes on asking is not waited for longer than `STUBBORN`.
const QUEUED: Duration = Duration::from_millis(300);
const STUBBORN: Duration = Duration::from_secs(2);
/// How long an idle connection has for its goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// One connection, until the client closes it, it floods or has been idle for too long, or the proxy
/// shuts down and what is in flight has ended. `server_name`: SNI.
pub(crate) async fn serve(
    worker: Rc<WorkerContext>,
    peer: Peer,
    server_name: Option<Box<str>>,
    stream: ClientStream,
) {
    let streams = Rc::new(Streams::default());
    let server_name: Option<Rc<str>> = server_name.map(Into::into);
    let service = service_fn(|request| {
        let open = OpenStream::new(&streams);
        let (worker, server_name) = (Rc::clone(&worker), server_name.clone());
        let head_only = request.method() == Method::HEAD;
        async move {
            let mut record = record(&worker, &peer, &request);
            let name = server_name.as_deref();
            let response = respond(&worker, &peer, name, request, &mut record).await;
            Ok::<_, Infallible>(response.map(|body| Counted {
                body,
                head_only,
                record,
                _open: open,
            }))
        }
    });
    let farewell = Farewell::default();
    let io = TokioIo::new(Watched::new(stream, H2_PREFACE.len(), farewell.clone()));
    let connection = builder(&worker.settings().limits).serve_connection(io, service);
    tokio::pin!(connection);
    let keep_alive = worker.settings().limits.keep_alive;
    // Ends when the client has been told to send no more, and nothing is on its way (RFC 9113 §6.8).
    let parting = async {
        let leaving = tokio::select! {
            () = worker.shutdown().leaving() => true,
            () = streams.idle_for(keep_alive) => false,
        };
        if leaving {
            // It has only just come.
            let _ = timeout(LAST_CHANCE, streams.first()).await;
        }
        farewell.say();
        // The connection is polled next.
        yield_now().await;
        let _ = timeout(STUBBORN, streams.idle_for(QUEUED)).await;
        leaving
    };
    let ended = tokio::select! {
        ended = &mut connection => ended,
        leaving = parting => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                // What is in flight ends, and so does the connection. The worker knows how long that may
                // take.
                ended = &mut connection => ended,
                // A client that needs nothing more is not waited for.
                () = streams.idle_for(GOODBYE), if !leaving => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(client = %peer.address, %error, "an HTTP/2 connection broke");
    }
}

fn builder(limits: &ConnectionLimits) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(CONCURRENT_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout)
        // The instance's own is passed on.
        .auto_date_header(false);
    builder
}

/// Checks what is left to check, and hands the request over.
async fn respond(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    server_name: Option<&str>,
    mut request: Request<Incoming>,
    record: &mut Option<Box<Record>>,
) -> Response<AnswerBody> {
    let checked = authority(&request).and_then(|host| {
        check_target(&request)?;
        let limits = &worker.settings().limits;
        check_fields(request.headers(), limits.header_count)?;
        is_reached_rightly(&worker.shared().certificates, server_name, &host)?;
        Ok(host)
    });
    let host = match checked {
        Ok(host) => host,
        Err(answer) => {
            let answer = stream::own(worker, None, answer, request.headers());
            say(record, &answer);
            return answer;
        }
    };
    join_cookies(request.headers_mut());
    request.headers_mut().remove(header::HOST);
    let answer = stream::answer(worker, peer, &host, request, record).await;
    if answer.body().is_own() {
        say(record, &answer);
    }
    answer
}

fn record(worker: &WorkerContext, peer: &Peer, request: &Request<Incoming>) -> Option<Box<Record>> {
    let authority = request.uri().authority().map(|name| name.as_str());
    let field = || request.headers().get(header::HOST)?.to_str().ok();
    let opening = Opening {
        method: request.method().as_str(),
        host: authority.or_else(field).unwrap_or_default(),
        target: request.uri().path(),
        protocol: "HTTP/2",
        came: std::time::Instant::now(),
    };
    Record::of(worker, peer, opening, stream::lines_of(request.headers()))
}

/// Baton's own answer; its body is counted as it goes.
fn say(record: &mut Option<Box<Record>>, answer: &Response<AnswerBody>) {
    if let Some(record) = record {
        record.own(answer.status().as_u16(), 0);
    }
}

/// The host that a request is for: `:authority`, else `Host`; where both are there they must agree (RFC
/// 9113 §8.3.1). CONNECT is not offered.
fn authority<B>(request: &Request<B>) -> Result<String, Answer> {
    if request.method() == Method::CONNECT {
        return Err(refused(Refusal::Connect));
    }
    let mut fields = request.headers().get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(refused(Refusal::RepeatedHost));
    }
    let field = field.map(HeaderValue::as_bytes);
    let pseudo = request.uri().authority().map(|a| a.as_str().as_bytes());
    let host = match (pseudo, field) {
        (Some(pseudo), Some(field)) if !pseudo.eq_ignore_ascii_case(field) => {
            return Err(refused(Refusal::ContradictingHost));
        }
        (Some(host), _) | (None, Some(host)) => host,
        (None, None) => return Err(refused(Refusal::MissingHost)),
    };
    match std::str::from_utf8(host) {
        Ok(text) if is_host(host) => Ok(text.to_owned()),
        _ => Err(refused(Refusal::InvalidHost)),
    }
}

/// A path, or `*` for OPTIONS (RFC 9113 §8.3.1).
fn check_target<B>(request: &Request<B>) -> Result<(), Answer> {
    let path = request.uri().path();
    if path.starts_with('/') || (path == "*" && request.method() == Method::OPTIONS) {
        Ok(())
    } else {
        Err(refused(Refusal::InvalidTarget))
    }
}

/// White space around a value is malformed (RFC 9113 §8.2.1) and would vanish towards an HTTP/1.1 app.
fn check_fields(fields: &HeaderMap, most: usize) -> Result<(), Answer> {
    if fields.len() > most {
        return Err(refused(Refusal::TooManyFields));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = fields
        .values()
        .any(|value| blank(value.as_bytes().first()) || blank(value.as_bytes().last()));
    if padded {
        return Err(Answer::new(
            400,
            "White space around a field value (RFC 9113 §8.2.1).",
        ));
    }
    Ok(())
}

/// A client may use one connection for every host that the certificate names (RFC 9113 §9.1.1), not for
/// others: 421 sends it to a connection of its own. A client that sent no SNI, or asks for the host that
/// it connected to, knows whom it talks to.
fn is_reached_rightly(
    certificates: &Certificates,
    server_name: Option<&str>,
    host: &str,
) -> Result<(), Answer> {
    let (Some(server_name), host) = (server_name, host_name(host)) else {
        return Ok(());
    };
    let same = host.eq_ignore_ascii_case(server_name);
    let covered = || {
        certificates
            .find(Some(server_name))
            .is_some_and(|c| c.covers(host))
    };
    if same || covered() {
        return Ok(());
    }
    Err(Answer::new(
        421,
        format!(
            "This connection was opened for {server_name}, whose certificate does not name {host}."
        ),
    ))
}

/// HTTP/2 lets a client split `Cookie` for compression; HTTP/1.1 apps expect one (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let mut cookies = fields.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in fields.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    // Pieces that were values are one together.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        fields.insert(header::COOKIE, joined);
    }
}

fn refused(refusal: Refusal) -> Answer {
    Answer::new(
        refusal.status(),
        format!("{refusal} ({}).", refusal.section()),
    )
}

/// How many requests of a connection are open, and since when none is.
#[derive(Debug)]
struct Streams {
    open: Cell<usize>,
    since: Cell<Instant>,
    /// There has been one.
    any: Cell<bool>,
    came: Notify,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            open: Cell::new(0),
            since: Cell::new(Instant::now()),
            any: Cell::new(false),
            came: Notify::new(),
        }
    }
}

impl Streams {
    /// Waits for the first request.
    async fn first(&self) {
        if !self.any.get() {
            self.came.notified().await;
        }
    }

    /// Waits until there has been no request for `limit`.
    async fn idle_for(&self, limit: Duration) {
        let begin = Instant::now();
        loop {
            if self.open.get() > 0 {
                sleep(limit).await;
                continue;
            }
            let due = self.since.get().max(begin) + limit;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }
}

/// One open request, until its answer has gone.
#[derive(Debug)]
struct OpenStream(Rc<Streams>);

impl OpenStream {
    fn new(streams: &Rc<Streams>) -> OpenStream {
        streams.open.set(streams.open.get() + 1);
        if !streams.any.replace(true) {
            streams.came.notify_one();
        }
        OpenStream(Rc::clone(streams))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.since.set(Instant::now());
    }
}

/// An answer's body that keeps its request counted.
struct Counted<B> {
    body: B,
    /// Baton's own answers have a body here that HEAD does not get.
    head_only: bool,
    /// Its line in the access log.
    record: Option<Box<Record>>,
    _open: OpenStream,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        loop {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match &frame {
                Some(Ok(frame)) if self.head_only && frame.is_data() => {}
                Some(Ok(data)) => {
                    let length = data.data_ref().map_or(0, Bytes::len);
                    if let Some(record) = &mut self.record {
                        record.sent(length as u64);
                    }
                    return Poll::Ready(frame);
                }
                _ => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{authority, check_fields, join_cookies};
    use http::{HeaderMap, HeaderValue, Request};

    fn status(authority_is: Option<&str>, hosts: &[&str]) -> Result<String, u16> {
        let uri = match authority_is {
            Some(authority) => format!("http://{authority}/"),
            None => "/".to_owned(),
        };
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        authority(&request.body(()).unwrap()).map_err(|answer| answer.status)
    }

    #[test]
    fn authority_and_host_must_agree() {
        let host = |h: &str| Ok(h.to_owned());
        assert_eq!(status(Some("a.test"), &[]), host("a.test"));
        assert_eq!(status(None, &["a.test:80"]), host("a.test:80"));
        assert_eq!(status(Some("A.test"), &["a.test"]), host("A.test"));
        assert_eq!(status(Some("a.test"), &["b.test"]), Err(400));
        assert_eq!(status(None, &["a.test", "a.test"]), Err(400));
        assert_eq!(status(None, &[]), Err(400));
        assert_eq!(status(Some("me@a.test"), &[]), Err(400));
        assert_eq!(status(None, &["a b"]), Err(400));
    }

    #[test]
    fn cookies_become_one() {
        let mut fields = HeaderMap::new();
        for crumb in ["a=1", "b=2", "c=3"] {
            fields.append("cookie", HeaderValue::from_static(crumb));
        }
        join_cookies(&mut fields);
        let all: Vec<_> = fields.get_all("cookie").iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3"]);
    }

    #[test]
    fn values_have_no_white_space_around_them() {
        let mut fields = HeaderMap::new();
        fields.insert("a", HeaderValue::from_static("b c"));
        assert!(check_fields(&fields, 1).is_ok());
        fields.insert("a", HeaderValue::from_static(" b"));
        assert_eq!(check_fields(&fields, 1).unwrap_err().status, 400);
        fields.insert("b", HeaderValue::from_static("c"));
        assert_eq!(check_fields(&fields, 1).unwrap_err().status, 431);
    }
}
