//! `x-baton` as types. Defaults stand in one place ([`Policy::default`]); durations are
//! [`Duration`], sizes bytes. Stored with each release as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What `x-baton` says of one service (DESIGN.md §3.1), validated and with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Hosts that reach this service: exact, `*.example.com` (one level), or `*`. Empty for a worker.
    pub hosts: Vec<String>,
    /// Path prefix, `/` when the whole host is this service's.
    pub path: String,
    /// Remove `path` from the request target towards the app.
    pub strip_path: bool,
    /// Takes no traffic.
    pub worker: Option<Worker>,
    /// Port that the app listens on inside its container. None only for workers and for the process
    /// engine, where Baton gives `$PORT`.
    pub port: Option<u16>,
    pub protocol: Protocol,
    pub tls: Tls,
    pub limits: Limits,
    /// None: the service's own Compose healthcheck, else a TCP connect.
    pub health: Option<Health>,
    /// How long a new instance may take to become healthy, whatever the kind of check.
    pub startup_timeout: Duration,
    /// Requests sent to the new color before the switch, in order.
    pub warmup: Vec<WarmupRequest>,
    /// How long the old color stays up after the drain: rollback without a boot.
    pub keep_warm: Duration,
    /// How long a request may be held while nothing can serve it.
    pub max_wait: Duration,
    pub drain: Drain,
    /// Per-color values that no template can give.
    pub color_environment: BTreeMap<crate::Color, BTreeMap<String, String>>,
}

/// When a worker (no traffic) of the new release starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Worker {
    /// `worker: true`: after the switch, the old one stopped first.
    StopFirst,
    /// `worker: overlap`: old and new may run together (pure queue consumers).
    Overlap,
}

/// What the proxy speaks towards the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Http1,
    H2c,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    #[default]
    Off,
    /// PEM files, absolute paths on the machine of the daemon.
    Files { cert: PathBuf, key: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest request body in bytes; 0: no limit. Over it: 413.
    pub body: u64,
    /// Largest request head in bytes. Over it: 431.
    pub header_bytes: u64,
    /// A body that moves no byte for so long is cut (408 if nothing was answered yet).
    pub idle: Duration,
}

/// An HTTP health check (`x-baton.health`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub path: String,
    /// None: the service's own port.
    pub port: Option<u16>,
    pub headers: BTreeMap<String, String>,
    /// Statuses that count as healthy, inclusive ranges.
    pub expect: Vec<(u16, u16)>,
    pub interval: Duration,
    pub timeout: Duration,
    /// Passes in a row that are asked for.
    pub passes: u32,
}

/// `"GET / x20"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmupRequest {
    pub method: String,
    pub path: String,
    pub times: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// In-flight requests may take so long after the switch before the old color is looked at again.
    pub requests: Duration,
    /// A request whose bytes still move is not cut before this.
    pub connections: Duration,
}

/// What holds where `x-baton` says nothing (DESIGN.md §3.1).
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hosts: Vec::new(),
            path: "/".to_owned(),
            strip_path: false,
            worker: None,
            port: None,
            protocol: Protocol::Http1,
            tls: Tls::Off,
            limits: Limits::default(),
            health: None,
            startup_timeout: Duration::from_secs(300),
            warmup: Vec::new(),
            keep_warm: Duration::from_secs(120),
            max_wait: Duration::from_secs(30),
            drain: Drain::default(),
            color_environment: BTreeMap::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 0,
            header_bytes: 64 * 1024,
            idle: Duration::from_secs(300),
        }
    }
}

impl Default for Drain {
    fn default() -> Drain {
        Drain {
            requests: Duration::from_secs(30),
            connections: Duration::from_secs(600),
        }
    }
}

impl Health {
    /// `200-399`
    pub const EXPECT: [(u16, u16); 1] = [(200, 399)];
    pub const INTERVAL: Duration = Duration::from_secs(1);
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    pub const PASSES: u32 = 1;
}
