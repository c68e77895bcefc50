//! Requests and answers as `http` types with streamed bodies: what HTTP/2 clients are served by, and
//! what h2c instances are asked by.
//!
//! Routing, guards, holding, limits and counters are those of the HTTP/1.1 path.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, Version};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::answer::{Answer, accepts_html};
use crate::exchange::account::Account;
use crate::exchange::attempts::{Attempts, Repeat};
use crate::exchange::request::{Request, target_for, too_large};
use crate::exchange::response::names_event_stream;
use crate::forwarded::{FieldSink, Forwarded};
use crate::h1::{BodyLength, ConnectionOptions};
use crate::hold::{self, Connection, NoPlace};
use crate::interrupt::Registration;
use crate::io::{Peer, Timer};
use crate::route::Route;
use crate::upstream::h1::{self, AnswerStream, Asked, Why};
use crate::upstream::h2c::{BodyError, NotSent, RequestBody, Sender};
use crate::worker::WorkerContext;

/// The body of an answer. The request's guard goes with the last frame.
pub(crate) struct AnswerBody(Kind);

enum Kind {
    Own(Option<Bytes>),
    Http1(Box<AnswerStream>),
    H2c(Box<H2cStream>),
}

/// Serves one request, whatever becomes of it: Baton's own answers are answers too. `host` is what the
/// request is for, as sent; the fields hold no `Host`, and at most one `Cookie`.
///
/// Cancel safe: dropping the future or the body (the client has reset the stream) ends the exchange.
/// The body ends in an error when the instance broke off: then the client's stream has to be reset.
pub(crate) async fn answer<B>(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    host: &str,
    request: http::Request<B>,
) -> Response<AnswerBody>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BodyError>,
{
    let (parts, body) = request.into_parts();
    match forward(worker, peer, host, &parts, body).await {
        Ok(response) => response,
        Err(answer) => own(answer, &parts.headers),
    }
}

/// Baton's own answer to a request with these fields.
pub(crate) fn own(answer: Answer, request: &HeaderMap) -> Response<AnswerBody> {
    let html = request
        .get(http::header::ACCEPT)
        .is_some_and(|accept| accepts_html(accept.as_bytes()));
    answer
        .into_response(html)
        .map(|body| AnswerBody(Kind::Own(Some(body))))
}

async fn forward<B>(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    host: &str,
    parts: &http::request::Parts,
    body: B,
) -> Result<Response<AnswerBody>, Answer>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BodyError>,
{
    let request = Request {
        method: parts.method.as_str(),
        target: target_of(&parts.uri, &parts.method),
        host,
        body: length_of(&body),
        expect_continue: false,
        upgrade: None,
    };
    let route = admit(worker, peer, &request, parts)?;
    let bodiless = request.body == BodyLength::Empty;
    let mut body = (!bodiless).then(|| limited(body, route.limits.body));
    let mut attempts = Attempts::default();
    loop {
        let mut repeat = Repeat {
            safe: request.is_safe(),
            idempotent: request.is_idempotent(),
            whole: bodiless,
            unsent: true,
        };
        let reuse = attempts.reuse(repeat);
        let found = hold::find_now(worker, &route, reuse);
        let place = match found {
            Some(place) => place,
            None => hold::find(
                worker,
                request.host,
                request.target,
                reuse,
                &mut attempts.held,
            )
            .await
            .map_err(|why| why.answer())?,
        };
        let account = Account::new(place.route, place.guard);
        let (failed, reused) = match place.connection {
            Connection::Http1 { stream, reused } => {
                let head = http1_head(&request, &account.route, peer, parts);
                let asked = Asked {
                    head_only: request.method == "HEAD",
                    behind_proxy: peer.trusted,
                    body: request.body,
                };
                match h1::send(worker, account, stream, head, body.take(), asked).await {
                    Ok((parts, stream)) => {
                        let body = AnswerBody(Kind::Http1(Box::new(stream)));
                        return Ok(Response::from_parts(parts, body));
                    }
                    Err(failed) => (failed, reused),
                }
            }
            Connection::H2c(sender) => {
                let outgoing =
                    h2c_request(&request, &account.route, peer, &parts.headers, body.take())?;
                match send_h2c(Rc::clone(worker), account, sender, outgoing, *peer).await {
                    Ok(response) => return Ok(response),
                    Err(failed) => (failed, true),
                }
            }
        };
        let account = failed.account;
        match failed.why {
            Why::Client(answer) => return Err(answer),
            Why::Bad(status, what) => return Err(failure(&account, status, what)),
            Why::Closed { sent } => repeat.unsent = !sent,
        }
        if !attempts.again(&account, reused, repeat) {
            return Err(failure(
                &account,
                502,
                "closed the connection without an answer",
            ));
        }
        body = failed.body;
        drop(account);
        if !reused && !attempts.held.pause(&route, worker.published(), true).await {
            return Err(NoPlace::Unreachable(route).answer());
        }
    }
}

/// The instance's fault.
fn failure(account: &Account, status: u16, what: &str) -> Answer {
    account.broke();
    account.failed();
    Answer::new(status, format!("{} {what}.", account.route.app))
}

fn target_of<'u>(uri: &'u Uri, method: &http::Method) -> &'u str {
    match uri.path_and_query().map(http::uri::PathAndQuery::as_str) {
        None | Some("") if *method == http::Method::OPTIONS => "*",
        None | Some("") => "/",
        Some(target) => target,
    }
}

/// How an HTTP/1.1 message would frame it.
fn length_of(body: &impl Body) -> BodyLength {
    if body.is_end_stream() {
        return BodyLength::Empty;
    }
    match body.size_hint().exact() {
        Some(0) => BodyLength::Empty,
        Some(length) => BodyLength::Length(length),
        None => BodyLength::Chunked,
    }
}

/// The route, unless it refuses the request before anything is sent.
fn admit(
    worker: &WorkerContext,
    peer: &Peer,
    request: &Request<'_>,
    parts: &http::request::Parts,
) -> Result<Arc<Route>, Answer> {
    let table = worker.table();
    let Some(route) = table.find(request.host, request.target) else {
        return Err(NoPlace::NoRoute.answer());
    };
    route.counters.requests.fetch_add(1, Ordering::Relaxed);
    let size: usize = lines_of(&parts.headers)
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    if size > route.limits.header_bytes {
        return Err(Answer::new(431, "The head of the request is too large."));
    }
    let mut forwarded = Forwarded::default();
    for (name, value) in lines_of(&parts.headers) {
        forwarded.takes(peer, name, value);
    }
    let own = request
        .redirected_by(route, forwarded.is_secure(peer))
        .or_else(|| request.refused_by(route));
    match own {
        Some(answer) => Err(answer),
        None => Ok(Arc::clone(route)),
    }
}

fn lines_of(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn http1_head(
    request: &Request<'_>,
    route: &Route,
    peer: &Peer,
    parts: &http::request::Parts,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let connection = ConnectionOptions::default();
    request.write_http1(
        &mut head,
        route,
        peer,
        lines_of(&parts.headers),
        &connection,
    );
    head
}

/// The same request for an h2c instance.
pub(crate) fn h2c_request(
    request: &Request<'_>,
    route: &Route,
    peer: &Peer,
    fields: &HeaderMap,
    body: Option<RequestBody>,
) -> Result<http::Request<RequestBody>, Answer> {
    let [prefix, rest] = target_for(route, request.target);
    let path = if rest == "*" {
        "/".to_owned()
    } else {
        format!("{prefix}{rest}")
    };
    let uri = Uri::builder()
        .scheme("http")
        .authority(request.host)
        .path_and_query(path)
        .build()
        .map_err(|_| Answer::new(400, "The request target cannot be passed on."))?;
    let mut outgoing = http::Request::new(body.unwrap_or_else(|| Box::pin(NoBody)));
    *outgoing.method_mut() = http::Method::from_bytes(request.method.as_bytes())
        .map_err(|_| Answer::new(400, "The method cannot be passed on."))?;
    *outgoing.uri_mut() = uri;
    *outgoing.version_mut() = Version::HTTP_2;
    let map = outgoing.headers_mut();
    let connection = ConnectionOptions::default();
    request.write_fields(peer, lines_of(fields), &connection, map);
    if let BodyLength::Length(length) = request.body {
        map.insert(http::header::CONTENT_LENGTH, length.into());
    }
    // gRPC asks for it; it is the one value that HTTP/2 knows (RFC 9113 §8.2.2).
    if fields
        .get(http::header::TE)
        .is_some_and(|te| te == "trailers")
    {
        map.insert(http::header::TE, HeaderValue::from_static("trailers"));
    }
    Ok(outgoing)
}

impl FieldSink for HeaderMap {
    fn field(&mut self, name: &str, value: &[&[u8]]) {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(&value.concat()),
        ) {
            self.append(name, value);
        }
    }
}

/// Sends to an h2c instance; the answer's body counts and is watched like every other.
pub(crate) async fn send_h2c(
    worker: Rc<WorkerContext>,
    account: Account,
    mut sender: Sender,
    request: http::Request<RequestBody>,
    peer: Peer,
) -> Result<Response<AnswerBody>, h1::NoAnswer> {
    let account = Rc::new(account);
    let no_answer = |why, body| h1::NoAnswer {
        account: Rc::clone(&account),
        why,
        body,
    };
    let idle = account.route.limits.idle;
    let answered = sender.send(request);
    let answered = if idle.is_zero() {
        answered.await
    } else {
        match tokio::time::timeout(idle, answered).await {
            Ok(answered) => answered,
            Err(_) => return Err(no_answer(Why::Bad(504, "did not answer in time"), None)),
        }
    };
    match answered {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            let events = parts
                .headers
                .get(http::header::CONTENT_TYPE)
                .is_some_and(|media| names_event_stream(media.as_bytes()));
            account.answered(parts.status.as_u16(), events);
            if events && peer.trusted {
                let name = HeaderName::from_static("x-accel-buffering");
                let no = HeaderValue::from_static("no");
                parts.headers.entry(name).or_insert(no);
            }
            let body = H2cStream {
                worker,
                account,
                body,
                registered: None,
                timer: Timer::default(),
                moved: Instant::now(),
            };
            Ok(Response::from_parts(
                parts,
                AnswerBody(Kind::H2c(Box::new(body))),
            ))
        }
        Err(NotSent::Unsent(request)) => {
            let body = Some(request.into_body());
            Err(no_answer(Why::Closed { sent: false }, body))
        }
        Err(NotSent::Broken(error)) => {
            tracing::debug!(%error, "an h2c exchange broke");
            let client = std::error::Error::source(&error)
                .and_then(|source| source.downcast_ref::<TooLarge>());
            let why = match client {
                Some(too_large) => Why::Client(too_large.answer()),
                None => Why::Closed { sent: true },
            };
            Err(no_answer(why, None))
        }
    }
}

/// An answer from an h2c instance.
struct H2cStream {
    worker: Rc<WorkerContext>,
    account: Rc<Account>,
    body: Incoming,
    registered: Option<Registration>,
    timer: Timer,
    moved: Instant,
}

impl H2cStream {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = Instant::now();
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.account.moved(length as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "an h2c answer broke off");
                self.broken()
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending if self.is_over(cx) => self.broken(),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.registered.is_none() {
            self.registered = Some(Registration::new(&self.worker, cx));
        }
        let idle = self.account.route.limits.idle;
        self.account.instance().is_cut()
            || (!idle.is_zero()
                && !self.account.may_be_quiet()
                && self.timer.poll_passed(cx, self.moved + idle))
    }

    fn broken(&self) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.account.broke();
        self.account.failed();
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Kind::Own(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Kind::Http1(stream) => Pin::new(stream.as_mut()).poll_frame(cx),
            Kind::H2c(stream) => stream.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_none(),
            Kind::Http1(stream) => stream.is_end_stream(),
            Kind::H2c(stream) => stream.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(Some(body)) => SizeHint::with_exact(body.len() as u64),
            Kind::H2c(stream) => stream.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// A body that was larger than its route allows.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {0} bytes")]
pub(crate) struct TooLarge(u64);

impl TooLarge {
    pub(crate) fn answer(&self) -> Answer {
        too_large(self.0)
    }
}

/// A request's body that may have `limit` bytes at most (0: any number).
fn limited<B>(body: B, limit: u64) -> RequestBody
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BodyError>,
{
    Box::pin(Limited {
        body: Box::pin(body),
        passed: 0,
        limit,
    })
}

struct Limited<B> {
    body: Pin<Box<B>>,
    passed: u64,
    limit: u64,
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.body.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.passed += frame.data_ref().map_or(0, Bytes::len) as u64;
            if self.limit > 0 && self.passed > self.limit {
                return Poll::Ready(Some(Err(Box::new(TooLarge(self.limit)))));
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request without one.
struct NoBody;

impl Body for NoBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}
