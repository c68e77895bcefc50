//! Host and path → route, in an immutable table.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::instance::Instance;

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
    pub limits: RouteLimits,
    /// How long a request may be held while nothing can serve it; then 503 (paused or none) or 502.
    pub max_wait: Duration,
    pub mode: Mode,
    /// Those that may take new requests. May be empty: requests are held.
    pub instances: Vec<Arc<Instance>>,
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

/// What happened on one route since the daemon started. Monotonic.
#[derive(Debug, Default)]
pub struct RouteCounters {
    pub requests: AtomicU64,
    /// Requests that Baton could not bring to an end: its own 502, 503, 504, and answers that broke
    /// before their end because the instance failed.
    pub failed: AtomicU64,
    /// Requests that waited because nothing could serve them.
    pub held: AtomicU64,
    /// Longest such wait in microseconds; the reader may reset it with `swap`.
    pub longest_held_us: AtomicU64,
    /// Client connections that were closed by Baton while it had a request or could have taken one.
    pub closed_keep_alive: AtomicU64,
}

/// All routes, ready for lookup. Built by the control plane, read by every request.
#[derive(Debug, Default)]
pub struct RoutingTable {
    // Filled by the builder of this module.
}
