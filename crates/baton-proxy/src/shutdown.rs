//! How the data plane ends: first no new work, then no work at all.

use std::sync::Arc;

use crate::signal::Signal;

/// Passed down to everything that lives longer than one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    signal: Arc<Signal>,
}

impl Shutdown {
    /// From here on nothing is accepted, and connections end after the exchange they are in.
    pub(crate) fn begin(&self) {
        self.signal.raise();
    }

    /// The proxy is on its way out: answer what is in flight with `Connection: close`, then close.
    #[must_use]
    pub(crate) fn has_begun(&self) -> bool {
        self.signal.is_raised()
    }

    /// Waits for that. Cancel safe.
    pub(crate) async fn begun(&self) {
        self.signal.raised().await;
    }
}
