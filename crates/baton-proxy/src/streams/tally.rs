//! What a managed stream adds to the gauges of its route, its worker and its instances, while it is open.

use std::sync::atomic::Ordering::Relaxed;

use super::rule::StreamMode;
use super::splice::Splice;

impl Splice {
    /// It is open.
    pub(super) fn enter(&mut self) {
        let pace = &self.worker.pace;
        pace.streams.set(pace.streams.get() + 1);
        let counters = &self.route.counters.streams;
        counters.open.fetch_add(1, Relaxed);
        if self.mode == StreamMode::Union {
            counters.union.fetch_add(1, Relaxed);
            self.halves[0].attach();
        }
    }

    /// It no longer wants a half on every instance.
    pub(super) fn leave_gauges(&mut self) {
        if self.mode == StreamMode::Union {
            self.route.counters.streams.union.fetch_sub(1, Relaxed);
        }
        for half in &mut self.halves {
            half.detach();
        }
    }

    /// It has a half there, or has waited for it long enough.
    pub(super) fn attached(&mut self, at: usize) {
        if self.mode == StreamMode::Union {
            self.halves[at].attach();
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        let pace = &self.worker.pace;
        pace.streams.set(pace.streams.get() - 1);
        self.route.counters.streams.open.fetch_sub(1, Relaxed);
        self.leave_gauges();
    }
}
