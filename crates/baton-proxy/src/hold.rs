//! Finding an instance for a request, and holding the request while there is none.
//!
//! Nothing of the request has been sent while it is here. An instance that refuses the connection,
//! does not answer the connect, or has no route is passed over for another one; when none is left the
//! request waits, for the next routing table and for the same instances again, up to the route's
//! `max_wait`. Never a 502 just because a container restarts.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::net::TcpStream;

use crate::answer::Answer;
use crate::caller::Caller;
use crate::instance::{Guard, Instance};
use crate::route::{Mode, Protocol, Route, RouteCounters};
use crate::upstream::pool::{self, Reuse};
use crate::upstream::{self, h2c};
use crate::worker::WorkerContext;

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// What a request has found: it may be sent.
pub(crate) struct Place {
    pub(crate) route: Arc<Route>,
    pub(crate) guard: Guard,
    pub(crate) connection: Connection,
}

pub(crate) enum Connection {
    Http1 {
        stream: TcpStream,
        /// It has served an exchange before, so the instance may be closing it right now.
        reused: bool,
    },
    H2c(h2c::Sender),
}

/// Why a request was not sent in the end.
#[derive(Debug)]
pub(crate) enum NoPlace {
    /// No route for this host and path (any more).
    NoRoute,
    Paused(Arc<Route>),
    NoInstance(Arc<Route>),
    Unreachable(Arc<Route>),
}

impl NoPlace {
    /// What the client is told; counts the failure.
    pub(crate) fn answer(&self) -> Answer {
        let (route, answer) = match self {
            NoPlace::NoRoute => {
                return Answer::new(404, "No app serves this host and path.");
            }
            NoPlace::Paused(route) => (
                route,
                Answer::unavailable(format!("{} is paused; please try again.", route.app)),
            ),
            NoPlace::NoInstance(route) => (
                route,
                Answer::unavailable(format!(
                    "{} has no running instance; please try again.",
                    route.app
                )),
            ),
            NoPlace::Unreachable(route) => (
                route,
                Answer::new(502, format!("{} does not accept connections.", route.app)),
            ),
        };
        route.counters.failed.fetch_add(1, Ordering::Relaxed);
        answer.of(route)
    }
}

/// How long one request has been held, over all its attempts.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Boxed: few requests are ever held, and it lies in the task of every connection.
    wait: Option<Box<Wait>>,
    /// Whose request it is.
    pub(crate) caller: Caller,
    /// It never ends without a place.
    pub(crate) patient: bool,
}

/// Since when a request has been held.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// How long it waits before the same instances are tried again.
    pause: Duration,
    /// None while it has a place.
    waiting: Option<Waiting>,
}

/// Counts one request among those that wait now, until it is dropped.
#[derive(Debug)]
struct Waiting(Arc<RouteCounters>);

impl Waiting {
    fn new(route: &Route) -> Waiting {
        let counters = Arc::clone(&route.counters);
        counters.holding.fetch_add(1, Ordering::Relaxed);
        Waiting(counters)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Held {
    pub(crate) fn patient_if(patient: bool) -> Held {
        Held {
            patient,
            ..Held::default()
        }
    }

    /// Waits for the next routing table, or for a moment after which the same instances are worth
    /// another try (`retry`). False: `max_wait` is over.
    pub(crate) async fn pause(
        &mut self,
        route: &Route,
        published: impl Future<Output = ()>,
        retry: bool,
    ) -> bool {
        let wait = self.wait.get_or_insert_with(|| {
            route.counters.held.fetch_add(1, Ordering::Relaxed);
            Box::new(Wait {
                since: Instant::now(),
                pause: FIRST_PAUSE,
                waiting: None,
            })
        });
        wait.waiting.get_or_insert_with(|| Waiting::new(route));
        let mut rest = (wait.since + route.max_wait).saturating_duration_since(Instant::now());
        if rest.is_zero() {
            self.end(route);
            if !self.patient {
                self.found();
                return false;
            }
            rest = LONGEST_PAUSE;
        }
        if retry && let Some(wait) = &mut self.wait {
            rest = rest.min(wait.pause);
            wait.pause = (wait.pause * 2).min(LONGEST_PAUSE);
        }
        // Either way it is time for another look.
        let _ = tokio::time::timeout(rest, published).await;
        true
    }

    /// A place was found, or will not be: it waits no more. Returns how long it was held.
    pub(crate) fn found(&mut self) -> Duration {
        let Some(wait) = &mut self.wait else {
            return Duration::ZERO;
        };
        wait.waiting = None;
        wait.since.elapsed()
    }

    fn end(&self, route: &Route) {
        if let Some(wait) = &self.wait {
            let waited = u64::try_from(wait.since.elapsed().as_micros()).unwrap_or(u64::MAX);
            route
                .counters
                .longest_held_us
                .fetch_max(waited, Ordering::Relaxed);
        }
    }
}

/// The place that needs no waiting: an idle connection to the least busy instance. None: [`find`].
pub(crate) fn find_now(
    worker: &WorkerContext,
    route: &Arc<Route>,
    reuse: Reuse,
    held: &Held,
) -> Option<Place> {
    if route.mode != Mode::Serve || route.protocol != Protocol::Http1 {
        return None;
    }
    let (instance, kept) = match keeper(worker, route, &held.caller) {
        Some(keeper) => (keeper, true),
        None => (choose(worker, route.sides(&held.caller).own, &[])?, false),
    };
    let stream = worker.upstreams.take(instance, reuse)?;
    let guard = enter(instance, &held.caller, kept)?;
    if !kept {
        worker.upstreams.chosen();
    }
    Some(Place {
        route: Arc::clone(route),
        guard,
        connection: Connection::Http1 {
            stream,
            reused: true,
        },
    })
}

/// Finds a place, waiting for one if need be.
///
/// # Errors
/// [`NoPlace`] when `max_wait` is over or the route is gone.
pub(crate) async fn find(
    worker: &Rc<WorkerContext>,
    host: &str,
    path: &str,
    reuse: Reuse,
    held: &mut Held,
) -> Result<Place, NoPlace> {
    loop {
        // Before the look at the table, so that no publish is missed.
        let published = worker.published();
        let Some(route) = worker.table().find(host, path).map(Arc::clone) else {
            return Err(NoPlace::NoRoute);
        };
        let why = match route.mode {
            Mode::Hold => NoPlace::Paused(Arc::clone(&route)),
            Mode::Serve => match try_each(worker, &route, reuse, &held.caller).await {
                Ok(place) => {
                    held.end(&route);
                    return Ok(place);
                }
                Err(why) => why,
            },
        };
        let retry = !matches!(why, NoPlace::Paused(_));
        if !held.pause(&route, published, retry).await {
            return Err(why);
        }
    }
}

/// Tries every instance of a route once, the least busy first.
async fn try_each(
    worker: &Rc<WorkerContext>,
    route: &Arc<Route>,
    reuse: Reuse,
    caller: &Caller,
) -> Result<Place, NoPlace> {
    let mut tried: SmallVec<[*const Instance; 4]> = SmallVec::new();
    let mut refused = false;
    let mut keeper = keeper(worker, route, caller);
    let sides = route.sides(caller);
    loop {
        let kept = keeper.is_some();
        let own = || choose(worker, sides.own, &tried);
        // A canary that is there no more costs nobody a wait. The live side is waited for as ever: who
        // goes to the canary now would be back on the old release a moment later.
        let other = || {
            let may = sides.canary || !refused;
            may.then(|| choose(worker, sides.other, &tried)).flatten()
        };
        let Some(instance) = keeper.take().or_else(own).or_else(other) else {
            break;
        };
        tried.push(Arc::as_ptr(instance));
        // Closed: a newer table is there, or about to be.
        let Some(guard) = enter(instance, caller, kept) else {
            continue;
        };
        match open(worker, route.protocol, &guard, reuse).await {
            Ok(connection) => {
                if !kept {
                    worker.upstreams.chosen();
                }
                return Ok(Place {
                    route: Arc::clone(route),
                    guard,
                    connection,
                });
            }
            Err(error) => {
                tracing::debug!(app = %route.app, instance = %instance.id, %error, "no connection");
                instance.counters.refused.fetch_add(1, Ordering::Relaxed);
                if guard.is_pinned() && error.kind() == std::io::ErrorKind::ConnectionRefused {
                    // Nobody starts it again, and what it kept has gone with it.
                    worker.shared().sessions.end(instance);
                }
                refused = true;
            }
        }
    }
    Err(if refused {
        NoPlace::Unreachable(Arc::clone(route))
    } else {
        NoPlace::NoInstance(Arc::clone(route))
    })
}

/// A connection to one instance.
pub(crate) async fn open(
    worker: &Rc<WorkerContext>,
    protocol: Protocol,
    guard: &Guard,
    reuse: Reuse,
) -> std::io::Result<Connection> {
    let instance = guard.instance();
    pool::watch(worker, instance);
    let timeout = worker.settings().limits.connect_timeout;
    match protocol {
        Protocol::Http1 => {
            if let Some(stream) = worker.upstreams.take(instance, reuse) {
                return Ok(Connection::Http1 {
                    stream,
                    reused: true,
                });
            }
            let careful = matches!(reuse, Reuse::SurelyOpen | Reuse::Never { careful: true });
            let stream = upstream::connect(instance, timeout, careful).await?;
            Ok(Connection::Http1 {
                stream,
                reused: false,
            })
        }
        Protocol::H2c => {
            if !matches!(reuse, Reuse::Never { .. })
                && let Some(sender) = worker.upstreams.h2c(instance)
            {
                return Ok(Connection::H2c(sender));
            }
            let stream = upstream::connect(instance, timeout, false).await?;
            let sender = h2c::handshake(stream).await?;
            worker.upstreams.share_h2c(instance, sender.clone());
            Ok(Connection::H2c(sender))
        }
    }
}

/// The instance that has a session of the request.
fn keeper<'r>(
    worker: &WorkerContext,
    route: &'r Route,
    caller: &Caller,
) -> Option<&'r Arc<Instance>> {
    worker.shared().sessions.place(route, &caller.claims())
}

fn enter(instance: &Arc<Instance>, caller: &Caller, kept: bool) -> Option<Guard> {
    let mut guard = if kept {
        instance.pinned_guard()
    } else {
        instance.guard()
    }?;
    guard.caller = caller.clone();
    Some(guard)
}

/// The least busy instance that was not tried yet; equally busy ones take turns.
fn choose<'r>(
    worker: &WorkerContext,
    instances: &'r [Arc<Instance>],
    tried: &[*const Instance],
) -> Option<&'r Arc<Instance>> {
    if let ([only], []) = (instances, tried) {
        return Some(only);
    }
    let begin = worker.upstreams.turn() % instances.len().max(1);
    let (before, from) = instances.split_at(begin);
    from.iter()
        .chain(before)
        .filter(|instance| !tried.contains(&Arc::as_ptr(instance)))
        .min_by_key(|instance| instance.in_flight())
}
