//! Publishes the live colors to what carries traffic.

mod embedded;

use std::sync::Arc;

use async_trait::async_trait;
use baton_compose::{AppName, Color, Policy};
use baton_engine::{Instance, InstanceId};

pub use embedded::{CertificateError, Embedded};

/// What one app's service wants of the router now. The control plane keeps one per service and
/// publishes all of them at each change.
#[derive(Debug, Clone)]
pub struct ServiceRoute {
    pub app: AppName,
    pub service: String,
    pub policy: Arc<Policy>,
    /// Requests go to these. Empty: they are held.
    pub color: Option<Color>,
    pub instances: Vec<Instance>,
    /// `baton pause`.
    pub held: bool,
}

/// Figures of one app since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub requests: u64,
    pub failed: u64,
    pub held: u64,
    pub longest_held_ms: u64,
}

/// Figures of one instance now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceFigures {
    pub requests: u64,
    pub server_errors: u64,
    pub in_flight: u64,
    pub body_bytes: u64,
    pub sse: u64,
    pub websockets: u64,
}

/// What carries traffic: `embedded` (Baton's own proxy); later an nginx that is already there.
#[async_trait]
pub trait Router: Send + Sync + std::fmt::Debug {
    /// One atomic store: from here on new requests follow `routes`. Instances that are no longer in
    /// it take no new request, and [`Router::in_flight`] of them can only fall.
    ///
    /// # Errors
    /// Two apps claim the same host and path: nothing was changed.
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteConflict>;

    /// Would `publish` take these routes?
    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteConflict>;

    fn figures(&self, app: &AppName) -> Figures;

    /// Starts a new measurement of `longest_held_ms`.
    fn reset_longest_held(&self, app: &AppName);

    /// None for an instance that never was published.
    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures>;

    /// Waits until an instance that is no longer published has nothing in flight.
    async fn drained(&self, id: &InstanceId);

    /// Closes what is still in flight on it; returns how many that were.
    async fn cut(&self, id: &InstanceId) -> u64;
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
