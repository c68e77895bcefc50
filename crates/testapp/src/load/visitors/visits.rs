//! What visitors saw: who answered each of them, in order, and every answer that was none of a release.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::latency::Latency;

/// So many errors are kept in words.
const ERRORS: usize = 20;

/// How one request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The test app names itself in every answer of its own (`X-Release`).
    Release {
        release: String,
        color: String,
        instance: String,
        status: u16,
    },
    /// An answer that names no release: Baton's own.
    Baton { status: u16, says: String },
    /// No whole answer.
    Transport(String),
}

/// The account of all visitors so far.
#[derive(Debug, Clone, Default)]
pub struct Visits {
    /// By the visitor's name.
    pub trails: BTreeMap<String, Trail>,
    pub requests: u64,
    /// Answers below 500, by the release that gave them.
    pub by_release: BTreeMap<String, u64>,
    /// Answers of 500 and above that a release gave itself: release → status → how many.
    pub errors_by_release: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Answers that no release gave, so Baton's own, by status (502, 503, 504, but also 404 or 429).
    pub by_baton: BTreeMap<u16, u64>,
    /// Requests without a whole answer: nobody accepted, the connection broke, 60 s passed.
    pub transport: u64,
    /// Kept connections that the other side closed between two requests; no failure.
    pub closed_connections: u64,
    /// How long whole answers took, whoever gave them, by the phase in which they were asked for.
    pub latency: BTreeMap<String, Latency>,
    /// The first twenty of everything that failed.
    pub errors: Vec<String>,
}

/// What one visitor saw.
#[derive(Debug, Clone, Default)]
pub struct Trail {
    /// One after the other: answers of the same release that follow each other are one.
    pub stays: Vec<Stay>,
    /// Answers of Baton's own, and requests without one.
    pub unanswered: u64,
    /// Answers with a `Set-Cookie`.
    pub cookies_set: u64,
    /// What its jar holds; empty without one.
    pub cookies: BTreeMap<String, String>,
}

/// Answers of one release in a row, errors of its own included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    pub release: String,
    pub color: String,
    pub instances: BTreeSet<String>,
    pub requests: u64,
    /// Those of 500 and above.
    pub errors: u64,
    /// When the first and the last answer came, since the load began.
    pub first: Duration,
    pub last: Duration,
}

impl Trail {
    /// The releases one after the other; one that came again is there again.
    #[must_use]
    pub fn releases(&self) -> Vec<&str> {
        self.stays
            .iter()
            .map(|stay| stay.release.as_str())
            .collect()
    }
}

impl Visits {
    /// Requests that a user would complain about: everything but an answer below 500 of a release.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.requests - self.by_release.values().sum::<u64>()
    }

    /// Answers of 500 and above that this release gave itself.
    #[must_use]
    pub fn errors_of(&self, release: &str) -> u64 {
        let errors = self.errors_by_release.get(release);
        errors.map_or(0, |by_status| by_status.values().sum())
    }

    /// Visitors that this release answered last.
    #[must_use]
    pub fn visitors_of(&self, release: &str) -> BTreeSet<&str> {
        let last = |trail: &Trail| {
            trail
                .stays
                .last()
                .is_some_and(|stay| stay.release == release)
        };
        let visitors = self.trails.iter().filter(|(_, trail)| last(trail));
        visitors.map(|(name, _)| name.as_str()).collect()
    }

    /// `at`: since the load began.
    pub(super) fn note(&mut self, visitor: &str, at: Duration, ending: Ending) {
        self.requests += 1;
        let trail = self.trails.entry(visitor.to_owned()).or_default();
        let error = match ending {
            Ending::Release {
                release,
                color,
                instance,
                status,
            } => {
                let failed = status >= 500;
                let error = failed.then(|| format!("{release} answered {status}"));
                if failed {
                    let by_status = self.errors_by_release.entry(release.clone()).or_default();
                    *by_status.entry(status).or_default() += 1;
                } else {
                    *self.by_release.entry(release.clone()).or_default() += 1;
                }
                trail.answered(release, color, instance, failed, at);
                error
            }
            Ending::Baton { status, says } => {
                *self.by_baton.entry(status).or_default() += 1;
                trail.unanswered += 1;
                Some(format!("baton answered {status}: {says}"))
            }
            Ending::Transport(what) => {
                self.transport += 1;
                trail.unanswered += 1;
                Some(what)
            }
        };
        if let Some(error) = error
            && self.errors.len() < ERRORS
        {
            let seconds = at.as_secs_f32();
            self.errors
                .push(format!("{visitor} at {seconds:.3} s: {error}"));
        }
    }
}

impl Trail {
    fn answered(
        &mut self,
        release: String,
        color: String,
        instance: String,
        failed: bool,
        at: Duration,
    ) {
        if self.stays.last().is_none_or(|stay| stay.release != release) {
            self.stays.push(Stay {
                release,
                color,
                instances: BTreeSet::new(),
                requests: 0,
                errors: 0,
                first: at,
                last: at,
            });
        }
        if let Some(stay) = self.stays.last_mut() {
            stay.instances.insert(instance);
            stay.requests += 1;
            stay.errors += u64::from(failed);
            stay.last = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(release: &str, status: u16) -> Ending {
        Ending::Release {
            release: release.to_owned(),
            color: "blue".to_owned(),
            instance: format!("of-{release}"),
            status,
        }
    }

    fn visits(endings: impl IntoIterator<Item = (&'static str, Ending)>) -> Visits {
        let mut visits = Visits::default();
        for (number, (visitor, ending)) in endings.into_iter().enumerate() {
            visits.note(visitor, Duration::from_secs(number as u64), ending);
        }
        visits
    }

    #[test]
    fn a_trail_is_the_sequence_of_releases() {
        let visits = visits([
            ("a", by("r1", 200)),
            ("b", by("r2", 200)),
            ("a", by("r1", 500)),
            ("a", by("r2", 200)),
            ("a", by("r1", 404)),
        ]);
        assert_eq!(visits.trails["a"].releases(), ["r1", "r2", "r1"]);
        let stay = &visits.trails["a"].stays[0];
        assert_eq!((stay.requests, stay.errors), (2, 1));
        assert_eq!(stay.last, Duration::from_secs(2));
        assert_eq!(visits.visitors_of("r2"), ["b"].into());
    }

    #[test]
    fn errors_of_a_release_and_of_baton_are_told_apart() {
        let baton = Ending::Baton {
            status: 503,
            says: "nothing can serve this".to_owned(),
        };
        let visits = visits([
            ("a", by("r1", 200)),
            ("a", by("r1", 503)),
            ("a", by("r1", 500)),
            ("a", baton),
            ("a", Ending::Transport("reset".to_owned())),
        ]);
        assert_eq!((visits.requests, visits.failed()), (5, 4));
        assert_eq!((visits.errors_of("r1"), visits.errors_of("r2")), (2, 0));
        assert_eq!(visits.errors_by_release["r1"], [(500, 1), (503, 1)].into());
        assert_eq!(
            (visits.by_baton.clone(), visits.transport),
            ([(503, 1)].into(), 1)
        );
        assert_eq!(visits.trails["a"].unanswered, 2);
        let line = "a at 3.000 s: baton answered 503: nothing can serve this";
        assert_eq!(visits.errors[2], line);
    }
}
