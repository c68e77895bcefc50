//! What the proxy is started with.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::access_log::AccessLog;
use crate::tls::Certificate;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Plain listeners (HTTP/1.1 and h2c). `[::]` takes IPv4 too. Port 0: any free one.
    pub http: Vec<SocketAddr>,
    /// TLS listeners (HTTP/1.1 and h2 by ALPN).
    pub https: Vec<SocketAddr>,
    /// Threads with a runtime each; default: cores.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*` are kept.
    pub trusted_proxies: Vec<IpNet>,
    pub limits: ConnectionLimits,
    /// What TLS listeners answer with until [`Proxy::set_certificates`](crate::Proxy::set_certificates).
    /// The first is also for clients whose name none of them has.
    pub certificates: Vec<Arc<Certificate>>,
    /// Listening sockets of a process that hands over to this one (Engines.md §4): all of them are
    /// accepted from, whatever `workers` is. An address of `http` or `https` that one of them is
    /// bound to is not bound again.
    pub inherited: Vec<InheritedListener>,
    /// What is told of each request. None: nothing.
    pub access_log: Option<AccessLog>,
}

impl Default for Settings {
    /// No listener, a worker per core, loopback trusted.
    fn default() -> Self {
        Settings {
            http: Vec::new(),
            https: Vec::new(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            trusted_proxies: vec![
                IpNet::from(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)),
                IpNet::from(ipnet::Ipv6Net::new_assert(
                    std::net::Ipv6Addr::LOCALHOST,
                    128,
                )),
            ],
            limits: ConnectionLimits::default(),
            certificates: Vec::new(),
            inherited: Vec::new(),
            access_log: None,
        }
    }
}

/// A listening socket that another process has bound.
#[derive(Debug, Clone)]
pub struct InheritedListener {
    pub protocol: ListenerProtocol,
    pub socket: Arc<OwnedFd>,
}

/// What a listener expects of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge.
    Http,
    /// The same two over TLS, by ALPN.
    Https,
}

/// Limits that hold before a route is known.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Largest head in bytes that any route may allow: 431 over it.
    pub header_bytes: usize,
    /// Most fields in a head: 431 over it.
    pub header_count: usize,
    /// From a request's first byte to the end of its head: 408.
    pub header_timeout: Duration,
    /// An idle keep-alive connection is closed after this.
    pub keep_alive: Duration,
    /// Connections of one client address (IPv6: one /64) over all workers: 429 and close over it. 0: no limit. Trusted proxies are not limited.
    pub connections_per_client: usize,
    /// Connecting to an instance (Engines.md §2: a dead address hangs for up to 7 s).
    pub connect_timeout: Duration,
    /// From accepting a TLS connection to the end of its handshake; then it is closed.
    pub tls_handshake_timeout: Duration,
    /// An HTTP/2 client from which nothing has come for so long is sent a PING.
    pub ping_interval: Duration,
    /// One that does not answer it within this has gone: its connection is closed.
    pub ping_timeout: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            header_bytes: 64 * 1024,
            header_count: 100,
            header_timeout: Duration::from_secs(30),
            keep_alive: Duration::from_secs(75),
            connections_per_client: 1_000,
            connect_timeout: Duration::from_millis(1_500),
            tls_handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}
