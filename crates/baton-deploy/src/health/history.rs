//! What the checks of one instance saw, equal results in a row counted.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Look;
use crate::outcome::Probe;

/// Rows that are kept: a check that alternates for minutes shows its latest.
const KEEP: usize = 50;

#[derive(Debug)]
pub(crate) struct History {
    begun: Instant,
    probes: Mutex<Vec<Probe>>,
}

impl History {
    pub(crate) fn new() -> History {
        History {
            begun: Instant::now(),
            probes: Mutex::new(Vec::new()),
        }
    }

    /// Returns whether it is another result than the one before.
    pub(crate) fn add(&self, look: Look) -> bool {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = probes.last_mut()
            && last.result == look.result
        {
            last.times += 1;
            last.last_ms = ms;
            return false;
        }
        if probes.len() == KEEP {
            probes.remove(1);
        }
        probes.push(Probe {
            first_ms: ms,
            last_ms: ms,
            times: 1,
            result: look.result,
        });
        true
    }

    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.probes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.probes().pop().map(|probe| probe.result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_results_in_a_row_are_counted() {
        let history = History::new();
        for result in [
            "connection refused",
            "connection refused",
            "503",
            "503",
            "200",
        ] {
            history.add(Look {
                healthy: result == "200",
                result: result.to_owned(),
            });
        }
        let seen: Vec<_> = history
            .probes()
            .into_iter()
            .map(|probe| (probe.times, probe.result))
            .collect();
        assert_eq!(
            seen,
            [
                (2, "connection refused".to_owned()),
                (2, "503".to_owned()),
                (1, "200".to_owned())
            ]
        );
    }

    #[test]
    fn a_check_that_alternates_for_ever_stays_bounded() {
        let history = History::new();
        for n in 0..1000 {
            history.add(Look {
                healthy: false,
                result: format!("{n}"),
            });
        }
        let probes = history.probes();
        assert_eq!(probes.len(), KEEP);
        assert_eq!(probes[0].result, "0");
        assert_eq!(probes[KEEP - 1].result, "999");
    }
}
