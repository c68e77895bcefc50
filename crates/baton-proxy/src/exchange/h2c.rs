//! One exchange with an h2c instance, its answer as a body that is counted and watched.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, Version};
use hyper::body::{Body, Frame, Incoming};

use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::exchange::limited::{NoBody, TooLarge};
use crate::exchange::progress::Progress;
use crate::exchange::request::{Request, target_for};
use crate::exchange::response::names_event_stream;
use crate::exchange::stream::{AnswerBody, lines_of};
use crate::forwarded::FieldSink;
use crate::h1::{BodyLength, ConnectionOptions};
use crate::interrupt::Registration;
use crate::io::{Peer, Timer};
use crate::route::Route;
use crate::upstream::h1::{NoAnswer, Why};
use crate::upstream::h2c::{NotSent, RequestBody, Sender};
use crate::worker::WorkerContext;

/// The same request for an h2c instance.
pub(crate) fn request(
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
    request.write_fields(route, peer, lines_of(fields), &connection, map);
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

/// Events cannot be found in compressed bytes.
pub(crate) fn ask_plain(request: &mut http::Request<RequestBody>) {
    let identity = HeaderValue::from_static("identity");
    let name = http::header::ACCEPT_ENCODING;
    request.headers_mut().insert(name, identity);
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
pub(crate) async fn send(
    worker: Rc<WorkerContext>,
    account: Rc<Account>,
    mut sender: Sender,
    request: http::Request<RequestBody>,
    peer: Peer,
) -> Result<Response<AnswerBody>, NoAnswer> {
    let no_answer = |why, body| NoAnswer {
        account: Rc::clone(&account),
        why,
        body,
    };
    let progress = Progress::new();
    let request = if request.body().is_end_stream() {
        request
    } else {
        request.map(|body| progress.count(body, &account))
    };
    let waited = tokio::select! {
        biased;
        answered = sender.send(request) => Ok(answered),
        why = too_long(&account, &progress) => Err(why),
    };
    let answered = match waited {
        Ok(answered) => answered,
        Err(why) => return Err(no_answer(why, None)),
    };
    match answered {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            let events = parts
                .headers
                .get(http::header::CONTENT_TYPE)
                .is_some_and(|media| names_event_stream(media.as_bytes()));
            account.answered(parts.status.as_u16(), events, Instant::now());
            account.learn(&worker, lines_of(&parts.headers));
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
                progress,
            };
            Ok(Response::from_parts(parts, AnswerBody::h2c(body)))
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

/// Ends when nothing has moved for too long, or the instance is cut.
async fn too_long(account: &Account, progress: &Progress) -> Why {
    let idle = account.route.limits.idle;
    let silence = async {
        if idle.is_zero() || account.may_be_quiet() {
            return std::future::pending().await;
        }
        loop {
            let deadline = progress.deadline(idle);
            tokio::time::sleep_until(deadline.into()).await;
            if progress.deadline(idle) <= deadline {
                return progress.too_late();
            }
        }
    };
    tokio::select! {
        why = silence => why,
        () = account.instance().until_cut() => Why::Bad(502, "was stopped before it answered"),
    }
}

/// An answer from an h2c instance.
pub(crate) struct H2cStream {
    worker: Rc<WorkerContext>,
    pub(crate) account: Rc<Account>,
    pub(crate) body: Incoming,
    registered: Option<Registration>,
    timer: Timer,
    progress: Rc<Progress>,
}

impl H2cStream {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.progress.moves();
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
                && self.timer.poll_passed(cx, self.progress.deadline(idle)))
    }

    fn broken(&self) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.account.broke();
        self.account.failed();
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}
