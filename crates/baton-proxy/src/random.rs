//! Numbers that nobody can guess, for masks and for spreading what would happen all at once.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Another one each time: the keys of a `RandomState` come from the system and differ for each.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Any moment of `span`.
pub(crate) fn within(span: Duration) -> Duration {
    let share = f64::from((random() >> 32) as u32) / f64::from(u32::MAX);
    span.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    #[test]
    fn moments_are_spread_over_the_whole_span() {
        let span = Duration::from_secs(10);
        let moments: Vec<_> = (0..400).map(|_| super::within(span)).collect();
        assert!(moments.iter().all(|moment| *moment <= span));
        for tenth in 0..10 {
            let from = span * tenth / 10;
            let to = span * (tenth + 1) / 10;
            let here = moments.iter().filter(|m| (from..to).contains(*m)).count();
            assert!(here > 5, "{here} of 400 in tenth {tenth}");
        }
    }
}
