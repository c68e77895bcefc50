//! `x-baton` as types. Defaults stand in one place ([`Policy::default`]); durations are
//! [`Duration`], sizes bytes. Stored with each release as JSON.

mod going_live;
mod network;
mod notify;
mod preview;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use going_live::{Activate, Canary, Gate, HookCommand, Hooks, Migrate, Overlap, Strategy};
pub use network::Network;
pub use notify::{Destination, Language, NewsKind, Notify, Secret};
pub use preview::Preview;

use crate::color::Role;

/// What `x-baton` says of one service (DESIGN.md §3.1), validated and with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// Hosts that reach this service: exact, `*.example.com` (one level), or `*`. Empty for a worker.
    pub hosts: Vec<String>,
    /// Answered with a redirect to the first of `hosts`: exact names.
    #[serde(default)]
    pub redirect_hosts: Vec<String>,
    /// HTML that a browser gets with a 502, 503 or 504 of Baton's own; `{status}` and `{message}` are filled in.
    #[serde(default)]
    pub error_page: Option<String>,
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
    /// Paths whose event streams are treated otherwise than [`Policy::default_stream_mode`] says; the
    /// first that fits counts.
    #[serde(default)]
    pub sse: Vec<StreamRule>,
    /// For GET requests that are answered with `text/event-stream` on every other path. Every other
    /// method drains (Streams.md §1.1).
    #[serde(default)]
    pub default_stream_mode: StreamMode,
    /// Messages that the old color must have handled before it ends.
    #[serde(default)]
    pub redis: Option<Redis>,
    /// Sessions in the app's memory: their clients stay on their release.
    #[serde(default)]
    pub sessions: Option<Sessions>,
    /// Per-color values that no template can give.
    pub color_environment: BTreeMap<crate::Color, BTreeMap<String, String>>,
    /// How it goes live. All services of an app say the same, or nothing.
    #[serde(default)]
    pub strategy: Strategy,
    #[serde(default)]
    pub canary: Canary,
    /// How long the new color is compared with the time before, after the switch. Zero: not at all.
    #[serde(default = "watch")]
    pub watch: Duration,
    #[serde(default)]
    pub overlap: Overlap,
    /// Runs once per release in its image, before it starts.
    #[serde(default)]
    pub migrate: Option<Migrate>,
    /// How the app is told whether it is the active color.
    #[serde(default)]
    pub activate: Option<Activate>,
    /// The test server in the idle color.
    #[serde(default)]
    pub preview: Option<Preview>,
    #[serde(default)]
    pub hooks: Hooks,
    /// User → bcrypt hash; empty: nobody is asked.
    #[serde(default)]
    pub basic_auth: BTreeMap<String, String>,
    /// Clients outside of these networks get 403; empty: all may come.
    #[serde(default)]
    pub allow: Vec<Network>,
    /// Who is told what a deploy comes to. What several services say is told once.
    #[serde(default)]
    pub notify: Vec<Notify>,
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
    /// The daemon gets a certificate for each host (ACME), and must be able to.
    Auto,
    /// The file says nothing: as `Auto` for names that a public authority may certify, where the daemon
    /// gets certificates; else as `Off`.
    Unsaid,
}

impl Tls {
    /// Is the daemon to get a certificate for this host, if it can? Not for a wildcard: its validation
    /// wants a change in DNS.
    #[must_use]
    pub fn is_automatic_for(&self, host: &str) -> bool {
        match self {
            Tls::Off | Tls::Files { .. } => false,
            Tls::Auto => !host.contains('*'),
            Tls::Unsaid => is_public(host),
        }
    }
}

/// May a public authority certify the name? Not an address, not a name of this machine alone (RFC 6761
/// §6.3).
fn is_public(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let parts = host.rsplit_once('.');
    parts.is_some_and(|(_, last)| last != "localhost" && last.parse::<u8>().is_err())
        && !host.contains(['*', '[', ':'])
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
    /// A WebSocket may stay with the old color so long after the switch: two colors split rooms that
    /// an app holds in memory.
    #[serde(default = "websockets")]
    pub websockets: Duration,
    /// Code of the Close frame that ends it then: 1012, "service restart" (RFC 6455 §7.4.1).
    #[serde(default = "websocket_code")]
    pub websocket_code: u16,
    /// Must succeed on each old instance before its stop signal.
    #[serde(default)]
    pub until: Option<Until>,
}

/// `drain.until`: how the app itself says that it has nothing left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Until {
    /// A GET of this path answers 2xx.
    Http(String),
    /// This command, run inside the instance, exits with 0.
    Exec(Vec<String>),
}

/// What happens to an event stream at a switch (Streams.md §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum StreamMode {
    /// The client gets the events of both colors until the old one has drained.
    Union,
    /// The new color is opened and forwarded from its first byte, the old one dropped.
    Cut,
    /// Closed once the old color has no request and no message left; the browser comes back.
    #[default]
    Reconnect,
    /// Stays with the old color until it ends or `drain.connections` is over.
    Drain,
}

impl StreamMode {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StreamMode::Union => "union",
            StreamMode::Cut => "cut",
            StreamMode::Reconnect => "reconnect",
            StreamMode::Drain => "drain",
        }
    }
}

/// One entry of `sse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRule {
    /// Glob over the path of the request: `*` is one segment or a part of it, `**` any number of them.
    pub path: String,
    pub mode: StreamMode,
    /// Named events that a new half sends on connect and that the client must not see twice.
    #[serde(default)]
    pub drop_on_attach: Vec<String>,
    /// A half whose headers have not come after this counts as attached (Streams.md §1.1).
    #[serde(default = "attach_grace")]
    pub attach_grace: Duration,
}

impl StreamRule {
    pub const ATTACH_GRACE: Duration = Duration::from_secs(2);
}

/// `redis`: streams that hold the app's messages (Streams.md §3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redis {
    pub url: RedisUrl,
    pub streams: Vec<RedisStream>,
    #[serde(default)]
    pub leftover: Leftover,
    /// Baton creates the groups before the color starts.
    #[serde(default)]
    pub create: bool,
}

/// Where the app's Redis is. The host may be a Compose service name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisUrl {
    /// Environment variable of the container that holds it.
    Env(String),
    /// `redis://redis:6379/0`, as the file says it.
    Url(String),
}

/// One stream with the group that the app reads it with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisStream {
    pub key: PerColor,
    pub group: PerColor,
    /// Its consumers read with NOACK: XPENDING shows nothing of what they work on.
    #[serde(default)]
    pub noack: bool,
}

/// A name that may be another one in each color.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PerColor {
    /// Environment variable of the color's containers that holds it.
    Env(String),
    /// As the file says it in either color (`orders-${BATON_COLOR}`).
    Written { blue: String, green: String },
}

/// What happens to messages that the old color has not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Leftover {
    /// They go to the new color's stream: at least once, never lost.
    #[default]
    Move,
    /// Waited for until `drain.connections`; then the old color is kept, and said so.
    Wait,
    /// Traffic goes back to the old color.
    Fail,
}

/// `sessions`: clients that hold this cookie stay on the release that gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    /// `JSESSIONID`
    pub cookie: String,
    /// Until they have been idle for so long.
    pub keep: Duration,
}

impl Sessions {
    pub const KEEP: Duration = Duration::from_secs(30 * 60);
}

fn websockets() -> Duration {
    Drain::default().websockets
}

fn websocket_code() -> u16 {
    Drain::default().websocket_code
}

fn watch() -> Duration {
    Policy::WATCH
}

fn attach_grace() -> Duration {
    StreamRule::ATTACH_GRACE
}

/// What holds where `x-baton` says nothing (DESIGN.md §3.1).
impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hosts: Vec::new(),
            redirect_hosts: Vec::new(),
            error_page: None,
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
            sse: Vec::new(),
            default_stream_mode: StreamMode::default(),
            redis: None,
            sessions: None,
            color_environment: BTreeMap::new(),
            strategy: Strategy::default(),
            canary: Canary::default(),
            watch: Policy::WATCH,
            overlap: Overlap::default(),
            migrate: None,
            activate: None,
            preview: None,
            hooks: Hooks::default(),
            basic_auth: BTreeMap::new(),
            allow: Vec::new(),
            notify: Vec::new(),
        }
    }
}

impl Policy {
    pub const WATCH: Duration = Duration::from_secs(30);

    /// `redis` as a color in this role reads it.
    #[must_use]
    pub fn redis_in(&self, role: Role) -> Option<&Redis> {
        let own = match role {
            Role::Live => None,
            Role::Preview => self
                .preview
                .as_ref()
                .and_then(|preview| preview.redis.as_ref()),
        };
        own.or(self.redis.as_ref())
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
            websockets: Duration::from_secs(10),
            websocket_code: 1012,
            until: None,
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
