//! What instances have answered, for comparing two releases.

use std::time::Duration;

use baton_engine::Instance;
use baton_proxy::Latency;
use serde::{Deserialize, Serialize};

use crate::router::Router;
use crate::verdict::Side;

/// Of some instances together.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answered {
    pub(crate) side: Side,
    pub(crate) latency: Latency,
}

impl Answered {
    pub(crate) fn since(self, before: Answered) -> Answered {
        Answered {
            side: self.side.since(before.side),
            latency: self.latency.since(before.latency),
        }
    }
}

/// The old release and the new one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pair {
    pub(crate) old: Answered,
    pub(crate) new: Answered,
}

impl Pair {
    pub(crate) fn since(self, before: Pair) -> Pair {
        Pair {
            old: self.old.since(before.old),
            new: self.new.since(before.new),
        }
    }
}

/// All that these have answered since they run.
pub(crate) fn of(router: &dyn Router, instances: &[Instance]) -> Answered {
    let known = instances.iter().filter_map(|i| router.instance(&i.id));
    known.fold(Answered::default(), |sum, figures| Answered {
        side: sum.side.and(Side {
            requests: figures.requests,
            errors: figures.errors,
        }),
        latency: sum.latency.and(figures.latency),
    })
}

/// One side, as people and programs see it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct SideFigures {
    pub requests: u64,
    /// Answers 500–599 and broken ones, at most one for a client in 10 s.
    pub errors: u64,
    /// Time to the head of an answer in milliseconds; None before the first one.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
}

impl From<Answered> for SideFigures {
    fn from(answered: Answered) -> SideFigures {
        let millis = |took: Option<Duration>| took.map(|took| took.as_secs_f64() * 1000.0);
        SideFigures {
            requests: answered.side.requests,
            errors: answered.side.errors,
            p50_ms: millis(answered.latency.percentile(50)),
            p99_ms: millis(answered.latency.percentile(99)),
        }
    }
}
