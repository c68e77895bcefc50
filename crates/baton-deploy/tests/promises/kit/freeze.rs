//! Stops the daemon in the middle of any call to the engine or the router.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// On which side of a call's effect it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Before,
    After,
}

/// Counts calls; the one it is set to never returns.
#[derive(Debug, Default)]
pub(crate) struct Freezer {
    calls: AtomicU64,
    target: Mutex<Option<(u64, When)>>,
    frozen: AtomicBool,
    reached: Notify,
    name: Mutex<String>,
}

impl Freezer {
    /// Counting begins anew; call number `call` freezes.
    pub(crate) fn set(&self, call: u64, when: When) {
        *self.target.lock().unwrap() = Some((call, when));
        self.calls.store(0, Ordering::SeqCst);
        self.frozen.store(false, Ordering::SeqCst);
    }

    pub(crate) fn clear(&self) {
        *self.target.lock().unwrap() = None;
        self.frozen.store(false, Ordering::SeqCst);
    }

    /// Ends when the call was reached; returns its name.
    pub(crate) async fn reached(&self) -> String {
        loop {
            let woken = self.reached.notified();
            if self.frozen.load(Ordering::SeqCst) {
                return self.name.lock().unwrap().clone();
            }
            woken.await;
        }
    }

    /// Around the effect of a call.
    pub(crate) async fn call<T>(&self, name: &str, effect: impl FnOnce() -> T) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let target = *self.target.lock().unwrap();
        if target == Some((number, When::Before)) {
            self.freeze(name).await;
        }
        let result = effect();
        if target == Some((number, When::After)) {
            self.freeze(name).await;
        }
        result
    }

    async fn freeze(&self, name: &str) {
        name.clone_into(&mut self.name.lock().unwrap());
        self.frozen.store(true, Ordering::SeqCst);
        self.reached.notify_waiters();
        std::future::pending::<()>().await;
    }
}
