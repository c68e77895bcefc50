//! Asking one instance for its half of a stream.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::half::Half;
use super::kept::Kept;
use super::stalled::Watched;
use crate::exchange::account::Account;
use crate::exchange::stream::AnswerBody;
use crate::h1::BodyLength;
use crate::hold::{self, Connection};
use crate::instance::Instance;
use crate::io::Peer;
use crate::random::within;
use crate::route::{Protocol, Route};
use crate::sse::{NoHandover, Union};
use crate::upstream::h1::{self, Asked, Why};
use crate::upstream::h2c::RequestBody;
use crate::upstream::pool::Reuse;
use crate::worker::WorkerContext;

/// Halves that one worker opens at the same time.
const AT_ONCE: usize = 32;
/// The longest that an opening waits so that not all come at once (Streams.md §1.1).
const SPREAD: Duration = Duration::from_millis(500);
/// Few streams need no spreading: so much for each.
const SPREAD_EACH: Duration = Duration::from_millis(2);
/// An app that has no answer after this long lets others open: it may have none before its first event.
const SLOW: Duration = Duration::from_millis(100);

/// How fast one worker opens halves.
#[derive(Debug)]
pub(crate) struct Pace {
    permits: Arc<Semaphore>,
    pub(super) streams: Cell<u32>,
    pub(super) watched: Watched,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            streams: Cell::new(0),
            watched: Watched::default(),
        }
    }
}

impl Pace {
    /// How long one of many waits before it opens a half because a table was published.
    pub(super) fn spread(&self) -> Duration {
        within((SPREAD_EACH * self.streams.get()).min(SPREAD))
    }

    /// A turn to open a half, not before `after` has passed.
    pub(super) fn turn(&self, after: Duration) -> Turn {
        let permits = Arc::clone(&self.permits);
        Box::pin(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            // Nobody closes the semaphore.
            permits.acquire_owned().await.ok()
        })
    }
}

pub(super) type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>>>>;

/// None: the instance has given no answer.
pub(super) type Asking = Pin<Box<dyn Future<Output = Option<Response<AnswerBody>>>>>;

/// The request for one half, written for its route.
pub(super) enum Written {
    Http1(Vec<u8>),
    H2c(Box<http::Request<RequestBody>>),
}

/// The request for one half.
pub(super) fn write(
    kept: &Kept,
    route: &Route,
    union: &Union,
    half: &Half,
) -> Result<Written, NoHandover> {
    let resume = kept.names(|_, target| union.resume(half.key(), target));
    let Some(resume) = resume else {
        return Err(NoHandover("the request cannot be read again"));
    };
    let resume = resume?;
    let written = match route.protocol {
        Protocol::Http1 => kept.to_http1(route, &resume).map(Written::Http1),
        Protocol::H2c => kept
            .to_h2c(route, &resume)
            .map(|request| Written::H2c(Box::new(request))),
    };
    written.ok_or(NoHandover("the request cannot be written again"))
}

/// Asks. `turn` is given back with the answer, or when there is none for a while.
pub(super) fn ask(
    worker: &Rc<WorkerContext>,
    route: &Arc<Route>,
    instance: &Arc<Instance>,
    written: Written,
    peer: Peer,
    turn: Option<OwnedSemaphorePermit>,
) -> Asking {
    let (worker, route, instance) = (Rc::clone(worker), Arc::clone(route), Arc::clone(instance));
    Box::pin(async move {
        let mut answered = std::pin::pin!(answered(worker, route, instance, written, peer));
        if let Ok(answer) = tokio::time::timeout(SLOW, &mut answered).await {
            return answer;
        }
        drop(turn);
        answered.await
    })
}

async fn answered(
    worker: Rc<WorkerContext>,
    route: Arc<Route>,
    instance: Arc<Instance>,
    written: Written,
    peer: Peer,
) -> Option<Response<AnswerBody>> {
    match written {
        Written::Http1(head) => over_http1(&worker, &route, &instance, head, peer).await,
        Written::H2c(request) => {
            let guard = instance.stream_guard()?;
            let found = hold::open(&worker, Protocol::H2c, &guard, Reuse::Any).await;
            let Connection::H2c(sender) = found.ok()? else {
                return None;
            };
            let account = Rc::new(Account::half(route, guard));
            crate::exchange::h2c::send(worker, account, sender, *request, peer)
                .await
                .ok()
        }
    }
}

/// A pooled connection may be closed by now: then on a fresh one.
async fn over_http1(
    worker: &Rc<WorkerContext>,
    route: &Arc<Route>,
    instance: &Arc<Instance>,
    head: Vec<u8>,
    peer: Peer,
) -> Option<Response<AnswerBody>> {
    let asked = Asked {
        head_only: false,
        behind_proxy: peer.trusted,
        body: BodyLength::Empty,
    };
    for reuse in [Reuse::Any, Reuse::Never { careful: false }] {
        let guard = instance.stream_guard()?;
        let found = hold::open(worker, Protocol::Http1, &guard, reuse).await;
        let Connection::Http1 { stream, reused } = found.ok()? else {
            return None;
        };
        let account = Rc::new(Account::half(Arc::clone(route), guard));
        let context = Rc::clone(worker);
        match h1::send(context, account, stream, head.clone(), None, asked).await {
            Ok(answer) => return Some(AnswerBody::of_http1(answer)),
            Err(failed) if reused && matches!(failed.why, Why::Closed { .. }) => {}
            Err(_) => return None,
        }
    }
    None
}

/// When a half is opened again that has ended or could not be opened.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// It has given an event: the next end is an end like any other.
    pub(super) fn forget(&mut self) {
        self.failures = 0;
    }

    /// `retry`: what the app asked its clients to wait.
    pub(super) fn next(&mut self, retry: Option<Duration>) -> Duration {
        let wait = (Self::FIRST * 2u32.pow(self.failures.min(6))).min(Self::LONGEST);
        self.failures += 1;
        let wait = retry.map_or(wait, |retry| retry.min(Self::LONGEST).max(wait / 2));
        wait / 2 + within(wait / 2)
    }
}
