//! What each color answered in the last minutes, for charts: sampled from the router's counters, and
//! kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use baton_compose::{AppName, Color};
use baton_engine::{Instance, InstanceId};
use baton_proxy::Latency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::core::Core;
use crate::router::InstanceFigures;

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(2);
/// Samples that are kept of an app: five minutes.
const KEPT: usize = 150;

/// One color in one period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SideTraffic {
    /// Requests a second.
    pub requests: f64,
    /// Answers 500-599 and broken ones a second, at most one for a client in 10 s.
    pub errors: f64,
    /// Time to the head of an answer in milliseconds; None without one in this period.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Event streams and WebSockets that are open.
    pub streams: u64,
    pub in_flight: u64,
}

/// Both colors of an app at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    pub blue: SideTraffic,
    pub green: SideTraffic,
}

/// The samples of one app, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Traffic {
    pub app: String,
    pub samples: Vec<Sample>,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<BTreeMap<AppName, VecDeque<Sample>>>);

impl Samples {
    /// Of every app, or of its samples only those after `after_ms`.
    pub(crate) fn after(&self, after_ms: i64) -> Vec<Traffic> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter()
            .map(|(app, samples)| Traffic {
                app: app.to_string(),
                samples: samples
                    .iter()
                    .filter(|sample| sample.at_ms > after_ms)
                    .cloned()
                    .collect(),
            })
            .collect()
    }

    fn add(&self, new: BTreeMap<AppName, Sample>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|app, _| new.contains_key(app));
        for (app, sample) in new {
            let samples = kept.entry(app).or_default();
            if samples.len() == KEPT {
                samples.pop_front();
            }
            samples.push_back(sample);
        }
    }
}

/// Takes samples as long as the control plane lives.
pub(crate) async fn look_after(core: std::sync::Arc<Core>) {
    let mut before: BTreeMap<InstanceId, InstanceFigures> = BTreeMap::new();
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(PERIOD).await;
        let passed = last.elapsed().as_secs_f64();
        last = Instant::now();
        let mut now = BTreeMap::new();
        let mut samples = BTreeMap::new();
        for (app, instances) in core.routes.serving().await {
            let mut side = |color| {
                let of_color = instances.iter().filter(|i| of(i) == Some(color));
                let known = of_color.filter_map(|instance| {
                    let figures = core.routes.router().instance(&instance.id)?;
                    now.insert(instance.id.clone(), figures);
                    // One that was never seen counts from its first request on.
                    let earlier = before.get(&instance.id).copied().unwrap_or_default();
                    Some((earlier, figures))
                });
                sum(known, passed)
            };
            let sample = Sample {
                at_ms: milliseconds(OffsetDateTime::now_utc()),
                blue: side(Color::Blue),
                green: side(Color::Green),
            };
            samples.insert(app, sample);
        }
        core.traffic.add(samples);
        before = now;
    }
}

fn of(instance: &Instance) -> Option<Color> {
    instance.slot.as_ref().map(|slot| slot.color)
}

fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn sum(
    known: impl Iterator<Item = (InstanceFigures, InstanceFigures)>,
    seconds: f64,
) -> SideTraffic {
    let (mut requests, mut errors, mut latency) = (0, 0, Latency::default());
    let mut side = SideTraffic::default();
    for (before, now) in known {
        requests += now.requests.saturating_sub(before.requests);
        errors += now.errors.saturating_sub(before.errors);
        latency = latency.and(now.latency.since(before.latency));
        side.streams += now.sse + now.websockets;
        side.in_flight += now.in_flight;
    }
    let rate = |count: u64| count as f64 / seconds.max(0.001);
    let millis = |percent| {
        let took: Option<Duration> = latency.percentile(percent);
        took.filter(|_| latency.count() > 0)
            .map(|took| took.as_secs_f64() * 1000.0)
    };
    SideTraffic {
        requests: rate(requests),
        errors: rate(errors),
        p50_ms: millis(50),
        p99_ms: millis(99),
        ..side
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_what_came_since_the_sample_before() {
        let before = InstanceFigures {
            requests: 100,
            errors: 1,
            ..InstanceFigures::default()
        };
        let now = InstanceFigures {
            requests: 150,
            errors: 2,
            sse: 3,
            websockets: 1,
            ..before
        };
        let side = sum([(before, now)].into_iter(), 2.0);
        assert_eq!((side.requests, side.errors, side.streams), (25.0, 0.5, 4));
        assert_eq!(side.p50_ms, None);
    }

    #[test]
    fn an_app_that_went_away_is_forgotten() {
        let samples = Samples::default();
        let app: AppName = "shop".parse().expect("a name");
        let sample = |at_ms| Sample {
            at_ms,
            blue: SideTraffic::default(),
            green: SideTraffic::default(),
        };
        for at_ms in 0..200 {
            samples.add(BTreeMap::from([(app.clone(), sample(at_ms))]));
        }
        let all = samples.after(-1);
        assert_eq!(all[0].samples.len(), KEPT);
        assert_eq!(samples.after(198)[0].samples.len(), 1);
        samples.add(BTreeMap::new());
        assert!(samples.after(-1).is_empty());
    }
}
