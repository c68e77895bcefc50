//! Deploys that have ended since the daemon started.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use baton_deploy::outcome::{ExitCode, Outcome};
use baton_deploy::telling::{Listener, News, What};

use super::encode::Buckets;

/// Upper bounds of the histogram, in seconds.
const BOUNDS: [u64; 11] = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800];

/// Counts them as they end.
#[derive(Debug, Default)]
pub struct Deploys(Mutex<Counted>);

#[derive(Debug, Default, Clone)]
struct Counted {
    /// By app, kind, outcome.
    ended: BTreeMap<(String, &'static str, &'static str), u64>,
    /// By app and outcome.
    took: BTreeMap<(String, &'static str), Took>,
}

#[derive(Debug, Default, Clone)]
struct Took {
    below: [u64; BOUNDS.len()],
    count: u64,
    sum: Duration,
}

/// How many deploys of an app, and of one kind, have ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub app: String,
    pub kind: &'static str,
    pub outcome: &'static str,
    pub count: u64,
}

impl Deploys {
    pub fn ended(&self) -> Vec<Ended> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = counted.ended.iter();
        ended
            .map(|((app, kind, outcome), count)| Ended {
                app: app.clone(),
                kind,
                outcome,
                count: *count,
            })
            .collect()
    }

    /// By app and outcome.
    pub fn took(&self) -> Vec<(String, &'static str, Buckets)> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let took = counted.took.iter();
        took.map(|((app, outcome), took)| {
            let below = BOUNDS.into_iter().zip(took.below);
            let buckets = Buckets {
                below: below.map(|(s, n)| (Duration::from_secs(s), n)).collect(),
                count: took.count,
                sum: took.sum,
            };
            (app.clone(), *outcome, buckets)
        })
        .collect()
    }

    fn count(&self, app: &str, kind: &'static str, outcome: &'static str, took: Duration) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (app.to_owned(), kind, outcome);
        *counted.ended.entry(key).or_default() += 1;
        if outcome == NOTHING_TO_DO {
            return;
        }
        let entry = counted.took.entry((app.to_owned(), outcome)).or_default();
        for (below, bound) in entry.below.iter_mut().zip(BOUNDS) {
            *below += u64::from(took <= Duration::from_secs(bound));
        }
        entry.count += 1;
        entry.sum += took;
    }
}

const NOTHING_TO_DO: &str = "nothing_to_do";

impl Listener for Deploys {
    fn told(&self, news: &News) {
        if let What::Ended { outcome, changed } = &news.what {
            let kind = news
                .plan
                .as_ref()
                .map_or("unplanned", |plan| plan.kind.as_str());
            let took = (news.at - news.started_at).unsigned_abs();
            self.count(news.app.as_str(), kind, word(outcome, *changed), took);
        }
    }
}

fn word(outcome: &Outcome, changed: bool) -> &'static str {
    match outcome.exit_code {
        ExitCode::Done if outcome.ok && !changed => NOTHING_TO_DO,
        ExitCode::Done => "done",
        ExitCode::ReleaseFailed => "failed",
        ExitCode::TakenBack => "taken_back",
        ExitCode::Refused => "refused",
        ExitCode::Error | ExitCode::Usage | ExitCode::Locked => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_long_is_in_the_upper_buckets_alone() {
        let deploys = Deploys::default();
        deploys.count("shop", "deploy", "done", Duration::from_millis(1_500));
        deploys.count("shop", "deploy", "done", Duration::from_secs(40));
        deploys.count("shop", "deploy", NOTHING_TO_DO, Duration::from_secs(1));
        let took = deploys.took();
        let [(app, outcome, buckets)] = &took[..] else {
            panic!("{took:?}");
        };
        assert_eq!((app.as_str(), *outcome, buckets.count), ("shop", "done", 2));
        let below: Vec<u64> = buckets.below.iter().map(|(_, n)| *n).collect();
        assert_eq!(below, [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2]);
        assert_eq!(deploys.ended().len(), 2);
    }
}
