//! What may be sent a second time, and when.

use std::sync::atomic::Ordering;

use crate::exchange::account::Account;
use crate::hold::Held;
use crate::upstream::pool::Reuse;

/// How often a safe request is sent once more after an instance has ended under it.
const RESENDS: u8 = 2;

/// And one whose client must not be told: until another instance is there, ten seconds or so.
const PATIENT_RESENDS: u8 = 60;

/// What of a request could be sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    /// RFC 9110 §9.2.1.
    pub(crate) safe: bool,
    /// RFC 9110 §9.2.2.
    pub(crate) idempotent: bool,
    /// All of it is still here.
    pub(crate) whole: bool,
    /// Nothing of it has left.
    pub(crate) unsent: bool,
}

/// What was tried for one request so far.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    pub(crate) held: Held,
    resends: u8,
    /// A connection was closed under it: the others in the pool may be as well.
    known_dead: bool,
}

impl Attempts {
    /// A browser gives up an event stream for good that is answered with an error: such a request is
    /// held for as long as it takes (Streams.md §1.1).
    pub(crate) fn patient_if(patient: bool) -> Attempts {
        Attempts {
            held: Held::patient_if(patient),
            ..Attempts::default()
        }
    }

    pub(crate) fn reuse(&self, repeat: Repeat) -> Reuse {
        let repeatable = repeat.idempotent && repeat.whole;
        match (self.known_dead, repeatable) {
            (true, _) => Reuse::Never {
                careful: !repeatable,
            },
            (false, true) => Reuse::Any,
            (false, false) => Reuse::SurelyOpen,
        }
    }

    /// Whether a request may be sent once more that an instance closed its connection on, without a
    /// byte of an answer (RFC 9110 §9.2.2, RFC 9112 §9.3.1). `reused`: the connection had served
    /// before, so that its close says nothing about the request.
    pub(crate) fn again(&mut self, account: &Account, reused: bool, repeat: Repeat) -> bool {
        let instance = account.instance();
        let repeatable = repeat.idempotent && repeat.whole;
        self.known_dead = true;
        if reused && (repeatable || repeat.unsent) {
            return true;
        }
        if instance.published && repeatable && !reused {
            // Behind a published port that is what "not listening" looks like.
            instance.counters.refused.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let resends = if self.held.patient {
            PATIENT_RESENDS
        } else {
            RESENDS
        };
        if repeat.safe && repeat.whole && self.resends < resends {
            // The instance has died under it.
            self.resends += 1;
            account.broke();
            return true;
        }
        false
    }
}
