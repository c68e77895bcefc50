//! When the open WebSockets of an instance are to end.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// "Service restart" (the IANA registry of RFC 6455 §11.7): come back, and you will be served.
pub const SERVICE_RESTART: u16 = 1012;

/// How the open WebSockets of an instance are ended, by
/// [`Instance::end_websockets`](crate::Instance::end_websockets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndWebSockets {
    /// The status that clients are told: 1000 to 4999, and not 1000, which says that all is done.
    pub code: u16,
    /// Each ends at a random moment within this time from the call, so that they do not all come back at
    /// once.
    pub spread: Duration,
    /// Those of sessions that are kept here as well. If not, they stay until the instance is unpinned, or
    /// their session is over.
    pub pinned: bool,
}

impl Default for EndWebSockets {
    fn default() -> Self {
        EndWebSockets {
            code: SERVICE_RESTART,
            spread: Duration::from_secs(1),
            pinned: true,
        }
    }
}

/// What an instance's tunnels look at. Each call begins an epoch; it concerns the requests that came in
/// before, so that an instance which serves again is not haunted.
#[derive(Debug, Default)]
pub(crate) struct WebSocketEnds {
    epoch: AtomicU32,
    last: Mutex<Vec<(EndWebSockets, Instant)>>,
    called: Notify,
}

impl WebSocketEnds {
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn call(&self, how: EndWebSockets) {
        let mut calls = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push((how, Instant::now()));
        self.epoch.fetch_add(1, Ordering::AcqRel);
        drop(calls);
        self.called.notify_waiters();
    }

    /// No session is kept any more: the last call concerns those that it spared, too.
    pub(crate) fn spare_none(&self) {
        let calls = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let last = calls.last().map(|(how, _)| *how);
        drop(calls);
        if let Some(how) = last.filter(|how| !how.pinned) {
            self.call(EndWebSockets {
                pinned: true,
                ..how
            });
        }
    }

    /// The first call since `epoch` that concerns a tunnel, and when it was made.
    pub(crate) fn since(&self, epoch: u32, pinned: bool) -> Option<(EndWebSockets, Instant)> {
        if self.epoch() == epoch {
            return None;
        }
        let calls = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .skip(epoch as usize)
            .find(|(how, _)| how.pinned || !pinned)
            .copied()
    }

    /// Waits for a call after the `epoch`th.
    pub(crate) async fn called(&self, epoch: u32) {
        loop {
            let woken = self.called.notified();
            if self.epoch() != epoch {
                return;
            }
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EndWebSockets, WebSocketEnds};

    #[test]
    fn a_call_concerns_those_who_were_there() {
        let ends = WebSocketEnds::default();
        let before = ends.epoch();
        assert!(ends.since(before, false).is_none());
        let sparing = EndWebSockets {
            pinned: false,
            ..EndWebSockets::default()
        };
        ends.call(sparing);
        assert_eq!(ends.since(before, false).unwrap().0, sparing);
        assert!(ends.since(before, true).is_none());
        assert!(ends.since(ends.epoch(), false).is_none());
        ends.spare_none();
        let spared = ends.since(before, true).unwrap().0;
        assert!(spared.pinned && spared.code == sparing.code);
        assert_eq!(ends.epoch(), 2);
        ends.spare_none();
        assert_eq!(ends.epoch(), 2, "nothing was spared");
    }

    #[tokio::test]
    async fn a_call_wakes_those_who_wait() {
        let ends = std::sync::Arc::new(WebSocketEnds::default());
        let waiting = tokio::spawn({
            let ends = std::sync::Arc::clone(&ends);
            async move { ends.called(0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        ends.call(EndWebSockets::default());
        waiting.await.unwrap();
    }
}
