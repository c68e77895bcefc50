//! Host and path → route, in an immutable table.

use std::cmp::Ordering;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::access::Access;
use crate::classes::ClassCounters;
use crate::errors::Failing;
use crate::instance::Instance;
use crate::page::Page;
use crate::seen::Seen;
use crate::sessions::SessionRule;
use crate::split::Split;
use crate::streams::rule::{StreamMode, StreamRule};

/// What requests for one set of hosts and one path prefix meet. Immutable: a change is a new `Route`
/// in a new [`RoutingTable`].
#[derive(Debug)]
pub struct Route {
    /// Who owns it, for messages and counters.
    pub app: Arc<str>,
    /// Exact (`api.example.com`), one-level wildcard (`*.example.com`) or `*`; lower case.
    pub hosts: Vec<String>,
    /// Longest prefix wins; matches whole segments: `/api` takes `/api` and `/api/x`, not `/apix`.
    pub path: String,
    /// Take `path` away towards the app.
    pub strip_path: bool,
    pub protocol: Protocol,
    /// Answer plain requests with 301 (GET, HEAD) or 308 to this HTTPS port.
    pub redirect_https: Option<u16>,
    /// Answer every request with 301 (GET, HEAD) or 308 to the same path of this host: `www.` to the apex.
    pub redirect_host: Option<Arc<str>>,
    pub limits: RouteLimits,
    /// How long a request may be held while nothing can serve it; then 503 (paused or none) or 502.
    pub max_wait: Duration,
    pub mode: Mode,
    /// Those that may take new requests. May be empty: requests are held.
    pub instances: Vec<Arc<Instance>>,
    /// What becomes of event streams, by path; the first that fits.
    pub streams: Arc<[StreamRule]>,
    /// The same for GET requests answered with `text/event-stream` that no rule names. Every other
    /// method drains.
    pub default_stream_mode: StreamMode,
    /// Those on which every `union` stream has a half: normally what runs and may still say something.
    /// Attaching before a switch is publishing a table with the candidate in here, ending old streams
    /// one without the old color. A stream that is managed and whose instance is not in here ends.
    pub halves: Vec<Arc<Instance>>,
    /// Whose clients stay with the instance that has their session. None: nobody's, but for SockJS.
    pub sessions: Option<Arc<SessionRule>>,
    /// Those that take requests of the sessions that they have, and no others: the instances of a
    /// release that is being drained. [`Instance::pin`] says in which order to do what.
    pub pinned: Vec<Arc<Instance>>,
    /// A share of the clients goes elsewhere. Its instances are open like `instances`.
    pub split: Option<Arc<Split>>,
    /// While nothing is in `halves`, streams in `union` and `cut` stay open without any: another instance
    /// will come.
    pub streams_wait: bool,
    /// Who may come in. None: everyone.
    pub access: Option<Arc<Access>>,
    /// HTML for a client that accepts it, instead of Baton's own words of a 5xx; `{status}` and `{message}`
    /// are filled in.
    pub error_page: Option<Arc<str>>,
    /// Every request is answered with this, whatever else is said here.
    pub page: Option<Arc<Page>>,
    /// Survives publishing: the control plane passes the same one on.
    pub counters: Arc<RouteCounters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Serve,
    /// `baton pause`, or a stop-first switch: hold new requests up to `max_wait`, then 503.
    Hold,
}

#[derive(Debug, Clone)]
pub struct RouteLimits {
    /// Bytes; 0: none. Over it: 413.
    pub body: u64,
    /// Bytes of the request head, at most `ConnectionLimits::header_bytes`. Over it: 431.
    pub header_bytes: usize,
    /// No byte of a body moved for so long: 408 before an answer, cut after.
    pub idle: Duration,
}

/// What happened on one route since the daemon started. Monotonic but the gauge `holding`.
#[derive(Debug, Default)]
pub struct RouteCounters {
    pub requests: AtomicU64,
    /// What Baton answered itself: redirects, refusals, pages, its own 502, 503 and 504.
    pub own_answers: ClassCounters,
    /// Requests that Baton could not bring to an end: its own 502, 503, 504, and answers that broke
    /// before their end because the instance failed.
    pub failed: AtomicU64,
    /// Requests that waited because nothing could serve them.
    pub held: AtomicU64,
    /// Those that wait now: a gauge.
    pub holding: AtomicU64,
    /// Longest such wait in microseconds; the reader may reset it with `swap`.
    pub longest_held_us: AtomicU64,
    /// Client connections that were closed by Baton while it had a request or could have taken one.
    pub closed_keep_alive: AtomicU64,
    /// The first cookie that was given out and is known to name sessions in an app's memory, on a route
    /// without [`Route::sessions`]: a switch will lose them.
    pub session_cookie: OnceLock<Box<str>>,
    pub streams: StreamCounters,
    /// Clients of a split, by release and address, that have brought their cookie back.
    pub(crate) returning: Seen,
    /// Clients that have met an error lately, by side.
    pub(crate) failing: Failing,
}

/// The managed event streams of one route. Monotonic but the gauges `open` and `union`.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// Managed streams (`union`, `cut`, `reconnect`) that are open now.
    pub open: AtomicU64,
    /// Of those, the ones in `union`: each wants a half on every instance of [`Route::halves`].
    pub union: AtomicU64,
    /// Streams that went on without an instance they had a half on: it had left the route.
    pub handed_over: AtomicU64,
    /// Streams that were told to come back (`retry:`, then a clean end).
    pub reconnected: AtomicU64,
    /// Streams whose mode was `union` or `cut` and that had to be told to come back instead: an answer
    /// that cannot be joined, an id that no field can carry.
    pub fell_back: AtomicU64,
    /// Halves that the app or the network ended and that were opened again.
    pub reopened: AtomicU64,
}

impl Route {
    /// `union` streams that still miss a half on one of [`Route::halves`]. 0: every one of them hears
    /// every instance, or has waited [`StreamRule::attach_grace`] for it, or fell back to `reconnect`.
    ///
    /// What the step before a switch waits for, after it has published `halves` with the candidates.
    /// New streams come all the time and miss a half for some milliseconds, so look often, and not
    /// for ever.
    #[must_use]
    pub fn unattached(&self) -> u64 {
        let wanted = self.counters.streams.union.load(Relaxed);
        let missing = |instance: &Arc<Instance>| {
            wanted.saturating_sub(instance.counters.attached.load(Relaxed))
        };
        self.halves.iter().map(missing).max().unwrap_or(0)
    }

    /// `Authorization` is Baton's, not the app's.
    pub(crate) fn asks_for_password(&self) -> bool {
        self.access.as_ref().is_some_and(|access| access.asks())
    }

    /// The rule that an event stream of this target (path, with or without its query) falls under.
    #[must_use]
    pub fn stream_rule(&self, target: &str) -> Option<&StreamRule> {
        self.streams.iter().find(|rule| rule.takes(target))
    }
}

/// All routes, ready for lookup. Built by the control plane, read by every request.
///
/// Exact host, then one-level wildcard, then `*`; under a host the longest path prefix. A host whose
/// paths do not fit leaves the request to the wildcard, and that to `*`.
#[derive(Debug, Default)]
pub struct RoutingTable {
    routes: Vec<Arc<Route>>,
    exact: Hosts,
    /// By what comes after `*.`.
    wildcard: Hosts,
    any: Paths,
}

/// Two routes claim the same host and path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{second} cannot take {host}{path}: {first} already does; give one of them another host or path"
)]
pub struct Conflict {
    pub host: String,
    pub path: String,
    /// The app that comes first in the list, and the one that collides with it.
    pub first: Arc<str>,
    pub second: Arc<str>,
}

impl RoutingTable {
    /// Orders the routes for lookup.
    ///
    /// # Errors
    /// [`Conflict`] when two of them claim the same host and path.
    pub fn new(routes: Vec<Arc<Route>>) -> Result<RoutingTable, Conflict> {
        let mut table = RoutingTable::default();
        for route in &routes {
            for host in &route.hosts {
                let host = host.to_ascii_lowercase();
                let paths = match host.as_str() {
                    "*" => &mut table.any,
                    name => match name.strip_prefix("*.") {
                        Some(parent) => table.wildcard.entry(parent),
                        None => table.exact.entry(name),
                    },
                };
                paths.insert(&host, route)?;
            }
        }
        table.routes = routes;
        Ok(table)
    }

    /// The route of a request. `host` as sent (a port, a trailing dot and upper case do not matter),
    /// `path` with or without its query. Takes no lock and does not allocate.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let name = host_name(host);
        self.exact
            .find(name, path)
            .or_else(|| {
                let (label, parent) = name.split_once('.')?;
                if label.is_empty() {
                    return None;
                }
                self.wildcard.find(parent, path)
            })
            .or_else(|| self.any.find(path))
    }

    /// All routes, in the order they were given.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }
}

/// The name in a `Host`: without port and trailing dot. An IPv6 literal keeps its brackets.
#[must_use]
pub fn host_name(host: &str) -> &str {
    let name = if host.starts_with('[') {
        match host.find(']') {
            Some(end) => &host[..=end],
            None => host,
        }
    } else {
        host.split(':').next().unwrap_or(host)
    };
    name.strip_suffix('.').unwrap_or(name)
}

/// Sorted by lower-case host name, so that lookup needs neither a hash nor a lower-case copy.
#[derive(Debug, Default)]
struct Hosts(Vec<(Box<str>, Paths)>);

impl Hosts {
    fn entry(&mut self, host: &str) -> &mut Paths {
        let at = match self.position(host) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (host.into(), Paths::default()));
                at
            }
        };
        &mut self.0[at].1
    }

    fn find(&self, host: &str, path: &str) -> Option<&Arc<Route>> {
        let at = self.position(host).ok()?;
        self.0[at].1.find(path)
    }

    fn position(&self, host: &str) -> Result<usize, usize> {
        self.0
            .binary_search_by(|(name, _)| compare_ignoring_case(name, host))
    }
}

/// `name` is lower case already.
fn compare_ignoring_case(name: &str, sent: &str) -> Ordering {
    name.bytes()
        .cmp(sent.bytes().map(|b| b.to_ascii_lowercase()))
}

/// Path prefixes without their trailing slash, longest first.
#[derive(Debug, Default)]
struct Paths(Vec<(Box<str>, Arc<Route>)>);

impl Paths {
    fn insert(&mut self, host: &str, route: &Arc<Route>) -> Result<(), Conflict> {
        let prefix = route.path.trim_end_matches('/');
        if let Some((_, other)) = self.0.iter().find(|(path, _)| **path == *prefix) {
            // The same host twice in one route is only a repetition.
            if Arc::ptr_eq(other, route) {
                return Ok(());
            }
            return Err(Conflict {
                host: host.to_owned(),
                path: if prefix.is_empty() { "/" } else { prefix }.to_owned(),
                first: Arc::clone(&other.app),
                second: Arc::clone(&route.app),
            });
        }
        let at = self
            .0
            .partition_point(|(path, _)| path.len() >= prefix.len());
        self.0.insert(at, (prefix.into(), Arc::clone(route)));
        Ok(())
    }

    fn find(&self, path: &str) -> Option<&Arc<Route>> {
        self.0
            .iter()
            .find(|(prefix, _)| takes(prefix, path))
            .map(|(_, route)| route)
    }
}

/// Whole segments only: `/api` takes `/api`, `/api/x` and `/api?q`, not `/apix`.
fn takes(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with(['/', '?']),
        None => false,
    }
}
