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
//!
//! Beside that way:
//!
//! | module | does |
//! | --- | --- |
//! | [`proxy`] | [`Proxy`], the handle that the control plane holds: start, publish, shut down |
//! | [`instance`], [`gate`] | an instance with its counters; the gate that counts requests in flight and closes at a switch |
//! | [`h1`] | HTTP/1.1 messages as pure functions on bytes, no IO: strict about framing (RFC 9112) |
//! | `hold` | waiting until something can serve a request |
//! | `tls` | certificates by host name, ALPN |
//! | [`settings`] | what the proxy is started with |
//!
//! This crate knows no Docker, no Compose, no deploy. A request takes no lock that another thread may
//! hold for longer than a counter takes.
#![forbid(unsafe_code)]

pub mod gate;
pub mod h1;
pub mod instance;
pub mod proxy;
pub mod route;
pub mod settings;

pub use instance::Instance;
pub use proxy::Proxy;
pub use route::{Mode, Route, RoutingTable};
pub use settings::Settings;
