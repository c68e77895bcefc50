//! Is the new release worse than the old one? A sequential test that may be looked at after every
//! request (DESIGN.md §7, of the family of Lindon & Malek, arXiv 2011.03567).
//!
//! Under the assumption that both make the same share of errors, an error is the canary's with the
//! probability `s`, its share of the requests. Each of the odds says how much more often it would be
//! the canary's if its errors were so many times as frequent. The product of the likelihood ratios is a
//! martingale, so it reaches 100 in at most 1 % of all canaries that are no worse, whenever one looks.

/// How many times as many errors a worse release makes; the mean over them is the evidence.
const ODDS: [f64; 5] = [2.0, 4.0, 8.0, 16.0, 32.0];

/// From here on the canary is taken back: at most 1 % false alarms.
const ENOUGH: f64 = 100.0;

/// What the time before a switch counts for at least: without it the first error after a quiet minute
/// would be proof.
const PRIOR: Side = Side {
    requests: 50,
    errors: 1,
};

/// Errors after a switch that are asked for at least.
const LEAST_ERRORS: u64 = 3;

/// One side of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Side {
    pub(crate) requests: u64,
    /// At most one for a client in 10 s.
    pub(crate) errors: u64,
}

impl Side {
    /// Of all requests, in percent.
    pub(crate) fn error_percent(self) -> f64 {
        if self.requests == 0 {
            return 0.0;
        }
        float(self.errors) * 100.0 / float(self.requests)
    }

    pub(crate) fn since(self, before: Side) -> Side {
        Side {
            requests: self.requests.saturating_sub(before.requests),
            errors: self.errors.saturating_sub(before.errors),
        }
    }

    pub(crate) fn and(self, other: Side) -> Side {
        Side {
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
        }
    }
}

/// The evidence so far against a canary that runs beside the old release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// Natural logarithms, by odds: the products leave the range of a float.
    evidence: [f64; 5],
}

impl Verdict {
    pub(crate) fn new() -> Verdict {
        Verdict { evidence: [0.0; 5] }
    }

    /// One error. `share`: the canary's of the requests while it has the weight that it has now, 0–1.
    pub(crate) fn error(&mut self, by_canary: bool, share: f64) {
        let share = share.clamp(0.0, 1.0);
        for (evidence, odds) in self.evidence.iter_mut().zip(ODDS) {
            let either = share * odds + 1.0 - share;
            let ratio = if by_canary {
                odds / either
            } else {
                1.0 / either
            };
            *evidence += ratio.ln();
        }
    }

    /// 1 where nothing is known, 100 where the canary is taken back.
    pub(crate) fn evidence(&self) -> f64 {
        mean(self.evidence)
    }

    pub(crate) fn is_against(&self) -> bool {
        self.evidence() >= ENOUGH
    }
}

/// After a switch there is no other side any more: the new release against the time before it. `before`
/// counts as if it went on as it was.
pub(crate) fn is_clearly_worse(before: Side, after: Side) -> bool {
    if after.errors < LEAST_ERRORS {
        return false;
    }
    let before = before.and(PRIOR);
    let (requests, errors) = (
        before.requests + after.requests,
        before.errors + after.errors,
    );
    let share = float(after.requests) / float(requests.max(1));
    let evidence = ODDS.map(|odds| {
        let either = share * odds + 1.0 - share;
        float(after.errors) * odds.ln() - float(errors) * either.ln()
    });
    mean(evidence) >= ENOUGH
}

fn mean(logarithms: [f64; 5]) -> f64 {
    logarithms.iter().map(|ln| ln.exp()).sum::<f64>() / 5.0
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64: the simulation is the same in every run.
    struct Dice(u64);

    impl Dice {
        fn throw(&mut self, probability: f64) -> bool {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            float((z ^ (z >> 31)) >> 11) / float(1 << 53) < probability
        }
    }

    /// After how many of its own requests the canary is taken back; None within `requests` of both.
    fn canary(dice: &mut Dice, share: f64, old: f64, new: f64, requests: u64) -> Option<u64> {
        let mut verdict = Verdict::new();
        let mut of_canary = 0;
        for all in 1..=requests {
            let by_canary = dice.throw(share);
            of_canary += u64::from(by_canary);
            if dice.throw(if by_canary { new } else { old }) {
                verdict.error(by_canary, float(of_canary) / float(all));
                if verdict.is_against() {
                    return Some(of_canary);
                }
            }
        }
        None
    }

    #[test]
    fn at_equal_rates_at_most_one_canary_in_a_hundred_is_taken_back() {
        let mut dice = Dice(1);
        for (rate, requests) in [(0.001, 20_000), (0.02, 4_000), (0.1, 2_000)] {
            for share in [0.05, 0.5] {
                let runs = 500;
                let alarms = (0..runs)
                    .filter(|_| canary(&mut dice, share, rate, rate, requests).is_some())
                    .count();
                assert!(
                    alarms * 100 <= runs,
                    "{alarms} of {runs} at {rate}, {share}"
                );
            }
        }
    }

    fn percentile(share: f64, new: f64, at: usize) -> u64 {
        let mut dice = Dice(2);
        let mut needed: Vec<_> = (0..400)
            .map(|_| canary(&mut dice, share, 0.005, new, 50_000).unwrap_or(u64::MAX))
            .collect();
        needed.sort_unstable();
        needed[needed.len() * at / 100]
    }

    #[test]
    fn a_canary_that_fails_is_taken_back_soon() {
        assert!(
            percentile(0.1, 0.2, 90) <= 60,
            "{}",
            percentile(0.1, 0.2, 90)
        );
        assert!(
            percentile(0.1, 0.2, 50) <= 20,
            "{}",
            percentile(0.1, 0.2, 50)
        );
        assert!(
            percentile(0.1, 1.0, 90) <= 5,
            "{}",
            percentile(0.1, 1.0, 90)
        );
        assert!(
            percentile(0.5, 0.2, 90) <= 100,
            "{}",
            percentile(0.5, 0.2, 90)
        );
    }

    #[test]
    fn errors_of_the_old_release_speak_for_the_canary() {
        let mut verdict = Verdict::new();
        for _ in 0..50 {
            verdict.error(false, 0.5);
        }
        assert!(verdict.evidence() < 0.01);
    }

    #[test]
    fn evidence_does_not_overflow() {
        let mut verdict = Verdict::new();
        for _ in 0..10_000 {
            verdict.error(true, 0.01);
        }
        assert!(verdict.is_against());
    }

    fn worse(before: (u64, u64), after: (u64, u64)) -> bool {
        let side = |(requests, errors)| Side { requests, errors };
        is_clearly_worse(side(before), side(after))
    }

    #[test]
    fn after_a_switch_clearly_more_errors_than_before_are_seen() {
        assert!(worse((10_000, 3), (40, 8)));
        assert!(worse((0, 0), (50, 25)));
        assert!(worse((500, 0), (20, 20)));
    }

    #[test]
    fn after_a_switch_what_was_there_before_is_no_reason() {
        assert!(!worse((10_000, 100), (1_000, 12)));
        assert!(!worse((10_000, 0), (10_000, 2)));
        assert!(!worse((0, 0), (10, 3)));
        assert!(!worse((1_000, 200), (300, 75)));
    }

    #[test]
    fn watching_raises_few_false_alarms() {
        let mut dice = Dice(3);
        for rate in [0.001, 0.02, 0.1] {
            let mut alarms = 0;
            for _ in 0..300 {
                let errors =
                    |dice: &mut Dice, n: u64| (0..n).filter(|_| dice.throw(rate)).count() as u64;
                let before = Side {
                    requests: 3_000,
                    errors: errors(&mut dice, 3_000),
                };
                let mut after = Side::default();
                for _ in 0..1_000 {
                    after.requests += 1;
                    after.errors += u64::from(dice.throw(rate));
                    if is_clearly_worse(before, after) {
                        alarms += 1;
                        break;
                    }
                }
            }
            assert!(alarms <= 6, "{alarms} of 300 at {rate}");
        }
    }
}
