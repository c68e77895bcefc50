//! What the proxy is started with.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

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
        }
    }
}
