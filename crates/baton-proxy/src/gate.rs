//! The gate of an instance: counts requests in flight and closes at a switch, in one atomic word.
//!
//! Taking a guard and switching must not race: after a switch, no request may still be about to use
//! the old color unseen by the drain. One word holds both the count and the closed bit, so a request
//! either entered before the gate closed, and is counted in what [`Gate::close`] returned, or it sees
//! the closed bit, leaves again and reads the new routing table. Modelled with loom in
//! `tests/gate_loom.rs`.

use crate::atomic::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;

/// Counts who is inside; when closed, lets nobody in.
#[derive(Debug)]
pub struct Gate {
    word: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// An open gate with nobody inside.
    #[must_use]
    pub fn new() -> Gate {
        Gate {
            word: AtomicU64::new(0),
        }
    }

    /// Goes in, unless the gate is closed. Each `true` needs one [`Gate::leave`].
    ///
    /// A compare-and-swap, not an add that is taken back: one that is only being turned away must
    /// never hide the last one's leaving from the drain.
    #[must_use]
    pub fn enter(&self) -> bool {
        let mut seen = self.word.load(Ordering::Acquire);
        while seen & CLOSED == 0 {
            match self.word.compare_exchange_weak(
                seen,
                seen + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Goes out; `true` when that left a closed gate empty, so that the drain can be woken.
    pub fn leave(&self) -> bool {
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        before == CLOSED | 1
    }

    /// Closes. Everyone who is inside has been counted; nobody comes in any more.
    pub fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Opens again: a rollback to a color that is still warm.
    pub fn open(&self) {
        self.word.fetch_and(!CLOSED, Ordering::AcqRel);
    }

    /// How many are inside.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.word.load(Ordering::Acquire) & !CLOSED
    }

    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }
}
