//! How the data plane ends: first no new connection, then no new work, then no work at all.

use std::sync::Arc;

use crate::signal::Signal;

/// Passed down to everything that lives longer than one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    retired: Arc<Signal>,
    signal: Arc<Signal>,
}

impl Shutdown {
    /// From here on nothing is accepted, and connections end after the exchange they are in. Event
    /// streams go on, and who is idle may ask once more: another process accepts.
    pub(crate) fn retire(&self) {
        self.retired.raise();
    }

    /// The same, and event streams are told to come back, and idle connections are closed.
    pub(crate) fn begin(&self) {
        self.signal.raise();
        self.retired.raise();
    }

    /// Answer what is in flight with `Connection: close`, then close.
    #[must_use]
    pub(crate) fn is_leaving(&self) -> bool {
        self.retired.is_raised()
    }

    /// Waits for that. Cancel safe.
    pub(crate) async fn leaving(&self) {
        self.retired.raised().await;
    }

    /// The proxy is on its way out, and lets nobody wait.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.signal.is_raised()
    }

    /// Waits for that. Cancel safe.
    pub(crate) async fn begun(&self) {
        self.signal.raised().await;
    }
}
