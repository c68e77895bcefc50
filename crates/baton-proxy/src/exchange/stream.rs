//! Requests and answers as `http` types with streamed bodies: what HTTP/2 clients are served by, and
//! what h2c instances are asked by.
//!
//! Routing, guards, holding, limits and counters are those of the HTTP/1.1 path.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri};
use hyper::body::{Body, Frame, SizeHint};

use crate::access::Login;
use crate::access_log::Record;
use crate::answer::{Answer, accepts_html};
use crate::caller::Caller;
use crate::exchange::account::Account;
use crate::exchange::attempts::{Attempts, Repeat};
use crate::exchange::h2c::{self, H2cStream};
use crate::exchange::limited::limited;
use crate::exchange::request::Request;
use crate::exchange::response;
use crate::forwarded::Forwarded;
use crate::h1::{BodyLength, ConnectionOptions};
use crate::hold::{self, Connection, NoPlace};
use crate::io::Peer;
use crate::route::Route;
use crate::split::Given;
use crate::streams::{self, Kept, Splice};
use crate::upstream::h1::{self, AnswerStream, Asked, Why};
use crate::upstream::h2c::BodyError;
use crate::worker::WorkerContext;

/// The body of an answer. The request's guard goes with the last frame.
pub(crate) struct AnswerBody(Kind);

enum Kind {
    Own(Option<Bytes>),
    Http1(Box<AnswerStream>),
    H2c(Box<H2cStream>),
    /// A managed event stream.
    Spliced(Rc<RefCell<Splice>>),
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
    record: &mut Option<Box<Record>>,
) -> Response<AnswerBody>
where
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BodyError>,
{
    let (parts, body) = request.into_parts();
    let mut met = None;
    match forward(worker, peer, host, &parts, body, &mut met, record).await {
        Ok(response) => response,
        Err(answer) => own(worker, met.as_deref(), answer, &parts.headers),
    }
}

/// Baton's own answer to a request with these fields. `route`: None, if none takes it.
pub(crate) fn own(
    worker: &WorkerContext,
    route: Option<&Route>,
    answer: Answer,
    request: &HeaderMap,
) -> Response<AnswerBody> {
    worker.count_own(route, answer.status);
    uncounted(answer, request)
}

/// The same, for who counts it elsewhere.
pub(crate) fn uncounted(answer: Answer, request: &HeaderMap) -> Response<AnswerBody> {
    let html = request
        .get(http::header::ACCEPT)
        .is_some_and(|accept| accepts_html(accept.as_bytes()));
    answer
        .into_response(html)
        .map(|body| AnswerBody(Kind::Own(Some(body))))
}

/// `met`: the route that the request goes by, as soon as it is known; `record`: its line in the access log.
async fn forward<B>(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    host: &str,
    parts: &http::request::Parts,
    body: B,
    met: &mut Option<Arc<Route>>,
    record: &mut Option<Box<Record>>,
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
        trace: record.as_ref().and_then(|record| record.begun()),
    };
    let Admitted {
        route,
        caller,
        login,
    } = admit(worker, peer, &request, parts, met, record)?;
    if let Some(login) = login {
        worker.shared().passwords.check(*login).await?;
    }
    let bodiless = request.body == BodyLength::Empty;
    let may_be_managed = streams::may_be_managed(&route, request.method, request.target, bodiless);
    let mut body = (!bodiless).then(|| limited(body, route.limits.body));
    let kept = || Kept::http2(request.host, request.target, &parts.headers, *peer);
    let accept = parts
        .headers
        .get(http::header::ACCEPT)
        .map(HeaderValue::as_bytes);
    let expects_events = may_be_managed && streams::accepts_events(accept);
    let is_asked_plain =
        |route: &Route| may_be_managed && streams::is_asked_plain(route, request.target, accept);
    let mut attempts = Attempts::patient_if(expects_events);
    attempts.held.caller = caller;
    loop {
        let mut repeat = Repeat {
            safe: request.is_safe(),
            idempotent: request.is_idempotent(),
            whole: bodiless,
            unsent: true,
        };
        let reuse = attempts.reuse(repeat);
        let found = hold::find_now(worker, &route, reuse, &attempts.held);
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
        let held = attempts.held.found();
        if let Some(record) = record {
            record.asks(place.guard.instance(), held);
        }
        let account = Rc::new(Account::new(place.route, place.guard));
        let (answered, reused) = match place.connection {
            Connection::Http1 { stream, reused } => {
                let plain = is_asked_plain(&account.route);
                let head = http1_head(&request, &account.route, peer, parts, plain);
                let asked = Asked {
                    head_only: request.method == "HEAD",
                    behind_proxy: peer.trusted,
                    body: request.body,
                };
                let (context, body) = (Rc::clone(worker), body.take());
                let sent = h1::send(context, Rc::clone(&account), stream, head, body, asked);
                let sent = async { sent.await.map(AnswerBody::of_http1) };
                let answered = if expects_events {
                    streams::ask(worker, kept(), account, sent).await
                } else {
                    sent.await
                };
                (answered, reused)
            }
            Connection::H2c(sender) => {
                let mut outgoing =
                    h2c::request(&request, &account.route, peer, &parts.headers, body.take())?;
                if is_asked_plain(&account.route) {
                    h2c::ask_plain(&mut outgoing);
                }
                let (context, peer) = (Rc::clone(worker), *peer);
                let sent = h2c::send(context, Rc::clone(&account), sender, outgoing, peer);
                let answered = if expects_events {
                    streams::ask(worker, kept(), account, sent).await
                } else {
                    sent.await
                };
                (answered, true)
            }
        };
        let failed = match answered {
            Ok(answer) => {
                if let Some(record) = record {
                    record.answered(answer.status().as_u16());
                }
                let given = attempts.held.caller.given(&route);
                let answer = if may_be_managed {
                    streams::manage(worker, kept, answer)
                } else {
                    answer
                };
                let mut answer = with_given(answer, given);
                if response::hsts(peer, &route) {
                    let fields = answer.headers_mut();
                    fields
                        .entry(http::header::STRICT_TRANSPORT_SECURITY)
                        .or_insert(HeaderValue::from_static(response::HSTS));
                }
                return Ok(answer);
            }
            Err(failed) => failed,
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
    Answer::new(status, format!("{} {what}.", account.route.app)).of(&account.route)
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

/// A request that its route has not refused.
struct Admitted {
    route: Arc<Route>,
    caller: Caller,
    /// It goes on when this password has been checked.
    login: Option<Box<Login>>,
}

/// The route, unless it refuses the request before anything is sent.
fn admit(
    worker: &WorkerContext,
    peer: &Peer,
    request: &Request<'_>,
    parts: &http::request::Parts,
    met: &mut Option<Arc<Route>>,
    record: &mut Option<Box<Record>>,
) -> Result<Admitted, Answer> {
    let came = Instant::now();
    let table = worker.table();
    let Some(route) = table.find(request.host, request.target) else {
        return Err(NoPlace::NoRoute.answer());
    };
    route.counters.requests.fetch_add(1, Ordering::Relaxed);
    *met = Some(Arc::clone(route));
    let size: usize = lines_of(&parts.headers)
        .map(|(name, value)| name.len() + value.len() + 4)
        .sum();
    if size > route.limits.header_bytes {
        return Err(Answer::new(431, "The head of the request is too large."));
    }
    let forwarded = Forwarded::of(peer, lines_of(&parts.headers));
    if let Some(record) = record {
        record.routed(&route.app, forwarded.client(peer));
    }
    let fields = || lines_of(&parts.headers);
    let login = request.admitted_by(route, worker, peer, &forwarded, fields())?;
    let caller = Caller::of(
        worker,
        peer,
        route,
        request.target,
        fields,
        &forwarded,
        came,
    );
    Ok(Admitted {
        route: Arc::clone(route),
        caller,
        login,
    })
}

/// The answer, with the id that its client gets.
pub(crate) fn with_given(
    mut answer: Response<AnswerBody>,
    given: Option<Given>,
) -> Response<AnswerBody> {
    // Hexadecimal digits and attributes: it is a field value.
    if let Some(Ok(cookie)) = given.map(|given| HeaderValue::from_str(&given.cookie())) {
        answer
            .headers_mut()
            .append(http::header::SET_COOKIE, cookie);
    }
    answer
}

pub(crate) fn lines_of(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
}

fn http1_head(
    request: &Request<'_>,
    route: &Route,
    peer: &Peer,
    parts: &http::request::Parts,
    plain: bool,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    let connection = ConnectionOptions::default();
    let fields = lines_of(&parts.headers);
    if plain {
        request.write_http1(&mut head, route, peer, streams::plain(fields), &connection);
    } else {
        request.write_http1(&mut head, route, peer, fields, &connection);
    }
    head
}

impl AnswerBody {
    pub(crate) fn http1(stream: AnswerStream) -> AnswerBody {
        AnswerBody(Kind::Http1(Box::new(stream)))
    }

    /// The whole answer.
    pub(crate) fn of_http1(
        (parts, stream): (http::response::Parts, AnswerStream),
    ) -> Response<AnswerBody> {
        Response::from_parts(parts, AnswerBody::http1(stream))
    }

    pub(crate) fn spliced(splice: Rc<RefCell<Splice>>) -> AnswerBody {
        AnswerBody(Kind::Spliced(splice))
    }

    /// Baton answers itself.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.0, Kind::Own(_))
    }

    /// Of an answer that one instance gives.
    pub(crate) fn account(&self) -> Option<&Rc<Account>> {
        match &self.0 {
            Kind::Http1(stream) => Some(&stream.account),
            Kind::H2c(stream) => Some(&stream.account),
            Kind::Own(_) | Kind::Spliced(_) => None,
        }
    }

    /// Events are forwarded whole: between two frames the client is at a boundary.
    pub(crate) fn is_managed(&self) -> bool {
        matches!(self.0, Kind::Spliced(_))
    }

    /// While the client takes nothing: what must go on all the same.
    pub(crate) fn attend(&mut self, cx: &mut Context<'_>) {
        if let Kind::Spliced(splice) = &mut self.0 {
            splice.borrow_mut().attend(cx);
        }
    }

    pub(crate) fn h2c(stream: H2cStream) -> AnswerBody {
        AnswerBody(Kind::H2c(Box::new(stream)))
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
            Kind::Spliced(splice) => splice.borrow_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(body) => body.is_none(),
            Kind::Http1(stream) => stream.is_end_stream(),
            Kind::H2c(stream) => stream.body.is_end_stream(),
            Kind::Spliced(_) => false,
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
