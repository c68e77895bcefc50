//! A signal between threads that is raised once and never lowered.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Looking at it costs one load; waiting for it, one entry in a list.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    wake: Notify,
}

impl Signal {
    /// Raises it and wakes everyone who waits. More than once does nothing more.
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    #[must_use]
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Waits until it is raised; at once when it is. Cancel safe.
    pub(crate) async fn raised(&self) {
        // Registered before the look: `notify_waiters` reaches every `Notified` that exists, so one
        // of the two sees the raise.
        let woken = self.wake.notified();
        if !self.is_raised() {
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;
    use std::sync::Arc;

    #[tokio::test]
    async fn wakes_those_who_wait_and_those_who_come_late() {
        let signal = Arc::new(Signal::default());
        let early = tokio::spawn({
            let signal = Arc::clone(&signal);
            async move { signal.raised().await }
        });
        tokio::task::yield_now().await;
        assert!(!signal.is_raised());
        signal.raise();
        early.await.unwrap();
        signal.raised().await;
        assert!(signal.is_raised());
    }
}
