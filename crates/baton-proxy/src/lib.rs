//! The data plane: listeners, TLS, routing, forwarding, counters.
//!
//! The way of a request, in reading order:
//!
//! | module | does |
//! | --- | --- |
//! | `listener` | binds per worker (`SO_REUSEPORT`), accepts, TLS handshake, ALPN → a connection |
//! | `connection` | one client connection: HTTP/1.1 (`connection::h1`, our own engine) or HTTP/2 (`connection::h2`, hyper) |
//! | [`route`] | host and path → [`Route`], in an immutable [`RoutingTable`] behind an atomic pointer |
//! | `exchange` | one request and its answer: guard, hold, forwarded fields, limits, head, body, trailers |
//! | `upstream` | connections to instances: HTTP/1.1 pool per worker, h2c, WebSocket tunnels |
//! | [`streams`] | a branch of `exchange`: event streams that outlive the instance they came from |
//!
//! Beside that way:
//!
//! | module | does |
//! | --- | --- |
//! | [`proxy`] | [`Proxy`], the handle that the control plane holds: start, publish, shut down |
//! | [`instance`], [`gate`] | an instance with its counters; the gate that counts requests in flight and closes at a switch |
//! | [`h1`] | HTTP/1.1 messages as pure functions on bytes, no IO: strict about framing (RFC 9112) |
//! | [`sse`] | server-sent events as pure functions on bytes, no IO: whole events, several halves as one stream |
//! | `worker` | what lives on one worker thread, and what the workers share |
//! | `hold` | waiting until something can serve a request |
//! | `access`, `page` | who may come in; a page instead of an app |
//! | `caller` | whose request it is |
//! | [`split`] | a canary: which clients meet it, and that they keep it |
//! | `seen` | which hashes have been seen |
//! | [`sessions`] | which instance has which session of an app, so that its client stays there at a switch |
//! | [`websocket`] | where frames end, so that a Close can be put in between |
//! | `latency`, `classes`, `errors` | how long answers take; how many of each status; whose errors count |
//! | `tls`, `clients` | certificates by host name, ALPN; connections per client address |
//! | `challenge` | what a certificate authority asks of a host that it validates |
//! | `access_log`, `trace` | what is written down of requests; W3C trace context |
//! | `shutdown`, `signal`, `interrupt` | the orderly end; a flag that threads can wait for; waking a worker's connections |
//! | `random` | numbers that nobody can guess |
//! | `buffer`, `io` | bytes that could not be passed on at once; a client's connection, plain or TLS |
//! | [`settings`] | what the proxy is started with |
//!
//! This crate knows no Docker, no Compose, no deploy. A request takes no lock that another thread may
//! hold for longer than a counter takes.
#![forbid(unsafe_code)]

/// What the gate counts with. `tests/gate_loom.rs` compiles the gate over loom's instead.
mod atomic {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
}
mod access;
mod access_log;
mod answer;
mod buffer;
mod caller;
mod challenge;
mod classes;
mod clients;
mod connection;
mod error;
mod errors;
mod exchange;
mod forwarded;
pub mod gate;
pub mod h1;
mod hold;
pub mod instance;
mod interrupt;
mod io;
mod latency;
mod listener;
mod page;
pub mod proxy;
mod random;
pub mod route;
mod seen;
pub mod sessions;
pub mod settings;
mod shutdown;
mod signal;
pub mod split;
pub mod sse;
pub mod streams;
mod tls;
mod trace;
mod upstream;
pub mod websocket;
mod worker;

pub use access::Access;
pub use access_log::{AccessLog, CLIENT_LEFT, Line};
pub use challenge::Challenges;
pub use classes::ClassCounters;
pub use error::ProxyError;
pub use instance::{Guard, Instance, Marks};
pub use latency::{Latency, LatencyCounters};
pub use page::Page;
pub use proxy::Proxy;
pub use route::{
    Conflict, Mode, Protocol, Route, RouteCounters, RouteLimits, RoutingTable, StreamCounters,
};
pub use sessions::SessionRule;
pub use settings::{ConnectionLimits, InheritedListener, ListenerProtocol, Settings};
pub use split::Split;
pub use streams::rule::{StreamMode, StreamRule};
pub use tls::Certificate;
pub use trace::TraceId;
pub use websocket::end::{EndWebSockets, SERVICE_RESTART};
