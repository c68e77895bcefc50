//! The figures of a load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::latency::{Latency, Phases};

/// What happened so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests that ended with their whole, right answer.
    pub succeeded: u64,
    pub failed: u64,
    /// Keep-alive connections that the server closed.
    pub closed_connections: u64,
    /// Slowest small request.
    pub longest_ms: u64,
    /// Answers by `X-Release`.
    pub by_release: BTreeMap<String, u64>,
    pub by_color: BTreeMap<String, u64>,
    /// Events that came on the open streams.
    pub stream_events: u64,
    /// Streams that are open now.
    pub streams_open: u64,
    /// Streams that ended cleanly, and those that broke.
    pub streams_ended: u64,
    pub streams_broken: u64,
    /// The first twenty.
    pub errors: Vec<String>,
    /// How long small requests took, by the phase in which they were sent.
    #[serde(skip)]
    pub latency: BTreeMap<String, Latency>,
}

impl Report {
    /// All requests that were counted.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.succeeded + self.failed
    }
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    report: Mutex<Report>,
    pub(super) phases: Phases,
}

impl Tally {
    pub(super) fn report(&self) -> Report {
        let mut report = self.with(|report| report.clone());
        report.latency = self.phases.latency();
        report
    }

    pub(super) fn fail(&self, error: String) {
        self.with(|report| {
            report.failed += 1;
            if report.errors.len() < 20 {
                report.errors.push(error);
            }
        });
    }

    /// `small`: when a small request was sent, and how long it took.
    pub(super) fn succeed(&self, color: &str, release: &str, small: Option<(Instant, Duration)>) {
        if let Some((sent, took)) = small {
            self.phases.record(sent, took);
        }
        self.with(|report| {
            report.succeeded += 1;
            count(&mut report.by_color, color);
            count(&mut report.by_release, release);
            if let Some((_, took)) = small {
                report.longest_ms = report.longest_ms.max(took.as_millis() as u64);
            }
        });
    }

    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Report) -> T) -> T {
        // A poisoned lock only means that another thread's panic is being reported.
        let mut report = self
            .report
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut report)
    }
}

fn count(map: &mut BTreeMap<String, u64>, key: &str) {
    match map.get_mut(key) {
        Some(number) => *number += 1,
        None => {
            map.insert(key.to_owned(), 1);
        }
    }
}
