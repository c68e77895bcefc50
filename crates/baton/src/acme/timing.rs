//! When to renew, and when to try again. Nothing here looks at the clock.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// No more than this between two attempts.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// No less than this, however short a certificate lives.
const SHORTEST: Duration = Duration::from_secs(1);

/// Why an attempt failed, as far as it says when to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blame {
    /// The authority was not reached: asking costs nobody anything.
    Network,
    /// It has looked, and said no; it counts such attempts (five an hour for a host).
    Authority,
    /// It has said that there were too many.
    RateLimit,
}

/// Two thirds of a certificate's life, a little earlier for some than for others: those that were got
/// together are not renewed together. The same after a restart.
pub(super) fn renewal(begins: SystemTime, expires: SystemTime, host: &str) -> SystemTime {
    let life = expires.duration_since(begins).unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    (host, expires).hash(&mut hasher);
    let early = (hasher.finish() % 1000) as f64 / 1000.0 * 0.04;
    begins + life.mul_f64(2.0 / 3.0 - early)
}

/// How long to wait after the `failures`th failure in a row. `left` and `life` are of the certificate that
/// is served meanwhile: the less is left, the sooner.
pub(super) fn pause(
    blame: Blame,
    failures: u32,
    served: Option<(Duration, Duration)>,
    host: &str,
) -> Duration {
    let first = Duration::from_secs(match blame {
        Blame::Network => 30,
        Blame::Authority => 10 * 60,
        Blame::RateLimit => 3600,
    });
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let mut pause = doubled.min(LONGEST);
    if let Some((left, life)) = served.filter(|(left, _)| !left.is_zero()) {
        pause = pause.min(left / 8).max(life / 1000);
    }
    let mut hasher = DefaultHasher::new();
    (host, failures).hash(&mut hasher);
    let jitter = 0.9 + (hasher.finish() % 1000) as f64 / 1000.0 * 0.2;
    pause.mul_f64(jitter).max(SHORTEST)
}

/// `2026-12-01T10:00:00Z`.
pub(super) fn text(at: SystemTime) -> String {
    let at = seconds(at);
    at.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

/// To the second: nobody needs more of a certificate.
pub(super) fn seconds(at: SystemTime) -> OffsetDateTime {
    let at = OffsetDateTime::from(at);
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life() {
        let begins = SystemTime::UNIX_EPOCH + DAY * 1000;
        let expires = begins + DAY * 90;
        let mut seen = std::collections::BTreeSet::new();
        for host in ["a.test", "b.test", "c.test", "d.test"] {
            let at = renewal(begins, expires, host);
            let after = at.duration_since(begins).unwrap();
            assert!(after <= DAY * 60 && after >= DAY * 56, "{after:?}");
            assert_eq!(at, renewal(begins, expires, host));
            seen.insert(at);
        }
        assert_eq!(seen.len(), 4, "each has its own time");
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let pauses = |blame| [1, 2, 3, 20].map(|n| pause(blame, n, None, "a.test"));
        for blame in [Blame::Network, Blame::Authority, Blame::RateLimit] {
            let pauses = pauses(blame);
            assert!(pauses.is_sorted(), "{pauses:?}");
            assert!(pauses[3] <= LONGEST.mul_f64(1.1), "{pauses:?}");
        }
        assert!(pauses(Blame::Authority)[0] >= Duration::from_secs(9 * 60));
    }

    #[test]
    fn what_is_about_to_expire_is_tried_more_often_but_never_without_end() {
        let life = DAY * 90;
        let tired = pause(Blame::Authority, 9, Some((DAY * 30, life)), "a.test");
        let urgent = pause(Blame::Authority, 9, Some((DAY, life)), "a.test");
        assert!(urgent < tired, "{urgent:?} {tired:?}");
        let last = pause(
            Blame::Authority,
            9,
            Some((Duration::from_secs(1), life)),
            "a",
        );
        assert!(last >= Duration::from_secs(3600), "{last:?}");
        let short = (Duration::from_secs(10), Duration::from_secs(30));
        assert!(pause(Blame::Network, 3, Some(short), "a") < Duration::from_secs(2));
    }
}
