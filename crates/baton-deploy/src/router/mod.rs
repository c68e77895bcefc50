//! Publishes the live colors to what carries traffic.

mod embedded;
mod nginx;
pub mod succession;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::{AppName, Color, Policy, Role};
use baton_engine::{Instance, InstanceId};
use baton_proxy::Latency;
use serde::{Deserialize, Serialize};

use crate::release::ReleaseId;
use crate::slots::Weight;

pub use embedded::{CertificateError, Embedded, WantedCertificates};
pub use nginx::{Nginx, NginxError, NginxSettings};
pub use succession::report::Report;

/// What one app's service wants of the router now. The control plane keeps one per service and
/// publishes all of them at each change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceRoute {
    pub app: AppName,
    pub service: String,
    pub policy: Arc<Policy>,
    /// Requests go to these. Empty: they are held.
    pub color: Option<Color>,
    pub instances: Vec<Instance>,
    /// `union` streams have a half on each of these: `instances`, a candidate before its switch, the
    /// old color until it has nothing left to say.
    pub halves: Vec<Instance>,
    /// Of an old color: clients whose session lives there (`sessions`) stay with these. One that is
    /// taken out again ends its sessions.
    pub pinned: Vec<Instance>,
    /// `baton pause`.
    pub held: bool,
    /// What a preview serves is counted apart from the app's own figures.
    pub role: Role,
    /// A share of the clients goes elsewhere: a canary.
    pub split: Option<Split>,
    /// Event streams stay open while nothing is in `halves`: another instance will come (stop-first).
    pub streams_wait: bool,
    /// Answered with this, whatever else is said here.
    pub page: Option<Page>,
}

/// A canary beside the live color (DESIGN.md §7).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Split {
    pub instances: Vec<Instance>,
    pub weight: Weight,
    /// Part of what a client is hashed with, so that each release meets other clients first.
    pub release: ReleaseId,
    /// `X-Baton-Canary` decides for a client that sends it.
    pub header: bool,
}

/// A page that Baton answers with itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub status: u16,
    /// HTML.
    pub body: Arc<str>,
    pub retry_after: Option<Duration>,
}

/// Figures of one app since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    pub requests: u64,
    pub failed: u64,
    pub held: u64,
    pub longest_held_ms: u64,
}

/// Figures of one instance now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InstanceFigures {
    pub requests: u64,
    pub server_errors: u64,
    /// WebSockets, requests of pinned sessions and streams that nobody manages included.
    pub in_flight: u64,
    /// Of those, what [`Router::requests_drained`] waits for.
    pub draining: u64,
    pub body_bytes: u64,
    /// Its own errors and broken answers, at most one for a client in 10 s.
    pub errors: u64,
    /// From a request's head to the head of its answer.
    pub latency: Latency,
    /// Of `draining`, what may be a request or a stream: this router cannot tell.
    pub opaque: u64,
    pub sse: u64,
    pub websockets: u64,
    /// Halves of managed event streams: open, or being opened.
    pub halves: u64,
    pub streams: StreamFigures,
}

/// All that was counted since the daemon started, for metrics.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    pub sides: Vec<SideTraffic>,
    /// An app's own and its preview's, apart.
    pub services: Vec<ServiceTraffic>,
    /// Baton's answers to requests that no app takes, from `1xx` to `5xx`.
    pub unrouted: [u64; 5],
}

/// What the instances of one color have counted, also those that have ended.
#[derive(Debug, Clone, Default)]
pub struct SideTraffic {
    pub app: String,
    pub role: Role,
    pub color: String,
    /// What the app answered, from `1xx` to `5xx`.
    pub answers: [u64; 5],
    /// From a request's head to the head of its answer.
    pub latency: Latency,
    /// Of requests and answers.
    pub body_bytes: u64,
    /// Exchanges that broke after the request was sent.
    pub broken: u64,
    /// Connections that an instance did not take.
    pub refused: u64,
    /// Events of managed streams.
    pub events: u64,
    pub streams_cut: u64,
    pub sessions_ended: u64,
    /// Now.
    pub in_flight: u64,
    /// Open now; of a stream that hears both colors, one in each.
    pub event_streams: u64,
    /// Open now.
    pub websockets: u64,
}

/// What the routes of one app have counted, whichever color served.
#[derive(Debug, Clone, Default)]
pub struct ServiceTraffic {
    pub app: String,
    pub role: Role,
    /// What Baton answered itself, from `1xx` to `5xx`.
    pub own_answers: [u64; 5],
    /// Requests that Baton could not bring to an end.
    pub failed: u64,
    pub held: u64,
    /// Requests that wait now.
    pub holding: u64,
    /// Managed event streams that are open now.
    pub streams: u64,
    pub handed_over: u64,
    pub reconnected: u64,
}

/// What became of event streams, WebSockets and sessions of an instance or a color.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct StreamFigures {
    /// Went on without this instance, unnoticed by the client.
    pub handed_over: u64,
    /// Told to come back, to the other color.
    pub reconnected: u64,
    /// Ended by themselves after the switch.
    pub drained: u64,
    /// Broken off at the end.
    pub cut: u64,
    /// Events of managed streams that came from here.
    pub events: u64,
    /// WebSockets and other upgraded connections that were told to come back.
    pub websockets: u64,
    /// Sessions that ended before they were idle.
    pub sessions_ended: u64,
}

impl StreamFigures {
    /// Both together.
    #[must_use]
    pub fn and(self, other: StreamFigures) -> StreamFigures {
        self.with(other, u64::saturating_add)
    }

    /// What came since.
    #[must_use]
    pub fn since(self, before: StreamFigures) -> StreamFigures {
        self.with(before, u64::saturating_sub)
    }

    #[must_use]
    pub fn is_empty(self) -> bool {
        self == StreamFigures::default()
    }

    fn with(self, other: StreamFigures, each: impl Fn(u64, u64) -> u64) -> StreamFigures {
        StreamFigures {
            handed_over: each(self.handed_over, other.handed_over),
            reconnected: each(self.reconnected, other.reconnected),
            drained: each(self.drained, other.drained),
            cut: each(self.cut, other.cut),
            events: each(self.events, other.events),
            websockets: each(self.websockets, other.websockets),
            sessions_ended: each(self.sessions_ended, other.sessions_ended),
        }
    }
}

impl Figures {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Figures) -> Figures {
        Figures {
            requests: self.requests + other.requests,
            failed: self.failed + other.failed,
            held: self.held + other.held,
            longest_held_ms: self.longest_held_ms.max(other.longest_held_ms),
        }
    }
}

impl InstanceFigures {
    /// Both together.
    #[must_use]
    pub fn and(self, other: InstanceFigures) -> InstanceFigures {
        InstanceFigures {
            requests: self.requests + other.requests,
            server_errors: self.server_errors + other.server_errors,
            in_flight: self.in_flight + other.in_flight,
            draining: self.draining + other.draining,
            body_bytes: self.body_bytes + other.body_bytes,
            errors: self.errors + other.errors,
            latency: self.latency.and(other.latency),
            sse: self.sse + other.sse,
            websockets: self.websockets + other.websockets,
            halves: self.halves + other.halves,
            streams: self.streams.and(other.streams),
            opaque: self.opaque + other.opaque,
        }
    }
}

/// What a router may be unable to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A share of the clients on another color.
    Canary,
    /// Requests wait: `pause`, and stop-first deploys.
    Hold,
    /// A page in place of the app: `maintenance`.
    Page,
}

/// What carries traffic: `embedded` (Baton's own proxy), or an `nginx` that is already there.
#[async_trait]
pub trait Router: Send + Sync + std::fmt::Debug {
    /// One atomic store: from here on new requests follow `routes`. Instances that are no longer in
    /// it take no new request, and [`Router::in_flight`] of them can only fall.
    ///
    /// # Errors
    /// Two apps claim the same host and path, or it does not take them: nothing was changed.
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteError>;

    /// Would `publish` take these routes?
    ///
    /// # Errors
    /// Two apps claim the same host and path, or it cannot do what a policy asks for.
    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteError>;

    /// Before a switch is committed: what may fail of publishing `routes` is done here, so that the
    /// `publish` after the commit only says it again.
    ///
    /// # Errors
    /// It did not take them; what was published before still is.
    async fn prepare(&self, _: &[ServiceRoute]) -> Result<(), RouteError> {
        Ok(())
    }

    /// All that is live after a start of the daemon is published: from here on it counts.
    async fn begin(&self) {}

    /// Looks whether a switch of the app would reach its users. `adopted`: they reach what plain
    /// Compose started, and may not come through this router at all.
    ///
    /// # Errors
    /// Why not, with the next step.
    async fn reaches(&self, _app: &AppName, _adopted: bool) -> Result<(), RouteError> {
        Ok(())
    }

    /// Why it cannot do something, with the next step; None: it can.
    fn lacks(&self, _: Feature) -> Option<&'static str> {
        None
    }

    /// Are requests counted at all?
    fn counts(&self) -> bool {
        true
    }

    fn figures(&self, app: &AppName) -> Figures;

    /// Starts a new measurement of `longest_held_ms`.
    fn reset_longest_held(&self, app: &AppName);

    /// None for an instance that never was published.
    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures>;

    /// Waits until an instance that is no longer published has nothing in flight.
    async fn drained(&self, id: &InstanceId);

    /// Closes what is still in flight on it; returns how many that were.
    async fn cut(&self, id: &InstanceId) -> u64;

    /// Streams of the app that wait for a half on one of [`ServiceRoute::halves`]. 0: each of them
    /// hears every instance, or has waited long enough, or will be told to come back.
    fn unattached(&self, app: &AppName) -> u64;

    /// Waits until an instance that is no longer in [`ServiceRoute::halves`] has no half left.
    async fn streams_ended(&self, id: &InstanceId);

    /// Waits until none of the requests that came in before the switch is in flight. WebSockets and
    /// requests of pinned sessions are not waited for; [`Router::drained`] waits for all.
    async fn requests_drained(&self, id: &InstanceId);

    /// Tells the instance's WebSockets to come back, with Close `code`, each at its own moment within
    /// `spread`. Those of pinned sessions only with `pinned`.
    fn end_websockets(&self, id: &InstanceId, code: u16, spread: Duration, pinned: bool);

    /// Sessions that are pinned to the instance and not idle yet.
    fn sessions(&self, id: &InstanceId) -> u64;

    /// A session cookie that the app's instances set while its policy has no `sessions`.
    fn session_cookie(&self, app: &AppName) -> Option<String>;

    /// What is known of the sessions of an instance, for [`Router::recall_sessions`] after a restart of
    /// the daemon; no cookie is in it. Empty where nothing is known, or nothing kept.
    fn known_sessions(&self, _: &Instance) -> Vec<u8> {
        Vec::new()
    }

    /// Takes back what the router of an earlier daemon knew of the same life of an instance. Before the
    /// instance is published first. False: these are other bytes, or another daemon's.
    fn recall_sessions(&self, _: &Instance, _: &[u8]) -> bool {
        false
    }

    /// All that it counts, for the router of a daemon that takes over while this one still has connections.
    /// Empty where nothing stays behind with the old daemon.
    fn report(&self) -> Report {
        Report::default()
    }
}

/// Why routes are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// This router cannot do what is asked for.
    #[error("{0}")]
    Refused(String),
    /// It did not take them now; what was published before still is.
    #[error("{0}")]
    Failed(String),
}

/// Two apps claim the same host and path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host}{path} belongs to app {owner} already; remove it there, or give {app} another host or path"
)]
pub struct RouteConflict {
    pub host: String,
    pub path: String,
    pub owner: AppName,
    pub app: AppName,
}
