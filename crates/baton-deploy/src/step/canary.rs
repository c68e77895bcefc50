//! *canary*: moves clients over to the new release, a share at a time, and takes it back as soon as the
//! verdict is against it (DESIGN.md §7).
//!
//! Its undo takes the clients back at once and lets the new release finish what it has: it drains in the
//! background like any old color.

use std::time::Duration;

use baton_compose::policy::{Canary, Gate};
use baton_engine::Instance;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::vigil::Vigil;
use super::{StepError, StepResult, Walk, switch};
use crate::error::DeployError;
use crate::figures::{self, Pair};
use crate::plan::StepName;
use crate::progress::{CanaryProgress, Progress};
use crate::router::Split;
use crate::slots::{SlotRole, Weight};
use crate::tail::{self, After};
use crate::verdict::Verdict;

const STEP: StepName = StepName::Canary;

const LOOK: Duration = Duration::from_millis(50);

/// How often the figures are told.
const TELL: Duration = Duration::from_secs(1);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    if walk.old().is_none() {
        return Ok(json!({}));
    }
    let rule = rule(walk)?;
    let engine = walk.engine()?;
    let instances = walk
        .core
        .running_instances(walk.release()?, walk.plan.to)
        .await?;
    // One that has ended since it was healthy would not be watched.
    switch::complete(walk, walk.release()?, &instances)?;
    walk.lift(&engine, walk.plan.to).await;
    walk.served = true;
    let vigil = Vigil::new(walk, &engine, &instances);
    let watching = Watching {
        walk,
        vigil: &vigil,
        rule: &rule,
        instances: &instances,
    };
    let passed = tokio::select! {
        end = watching.all_stages() => end,
        worse = vigil.until_worse() => Err(worse),
        () = walk.deploy.cancelled() => Err(StepError::Cancelled("cancelled".to_owned())),
    }?;
    Ok(json!({ "stages": passed }))
}

/// Nobody is sent there any more; it drains beside the live color, and ends.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    let Some(from) = walk.plan.from else {
        return Ok(());
    };
    let (core, app, to) = (&walk.core, &walk.deploy.app, walk.plan.to);
    core.routes.canary(app, from, None).await?;
    if core.store.slot(app, to).await?.role == SlotRole::Candidate {
        tail::linger(core, app, to, walk.deploy.id, After::End).await?;
    }
    Ok(())
}

/// Of the first service that takes traffic; the reader has seen to it that all say the same.
fn rule(walk: &Walk) -> Result<Canary, DeployError> {
    let rule = walk.release()?.routed().next();
    Ok(rule
        .map(|service| service.policy.canary.clone())
        .unwrap_or_default())
}

struct Watching<'a> {
    walk: &'a Walk,
    vigil: &'a Vigil<'a>,
    rule: &'a Canary,
    instances: &'a [Instance],
}

/// One stage of a canary that has passed, for the receipt.
type Stage = serde_json::Value;

impl Watching<'_> {
    /// Ends when the next stage is all clients: that is the switch.
    async fn all_stages(&self) -> Result<Vec<Stage>, StepError> {
        let mut verdict = Verdict::new();
        let mut passed = Vec::new();
        let mut stages = self
            .rule
            .steps
            .iter()
            .copied()
            .filter(|p| *p < 100)
            .peekable();
        while let Some(percent) = stages.next() {
            let stage = self.stage(percent, &mut verdict).await?;
            passed.push(stage.told);
            match stage.goes_on {
                GoesOn::Next => {}
                GoesOn::At(weight) if weight == Weight::ALL => break,
                // By hand: what lies below is behind.
                GoesOn::At(weight) => {
                    while stages.next_if(|next| *next <= weight.percent()).is_some() {}
                }
            }
        }
        Ok(passed)
    }

    async fn publish(&self, weight: Weight) -> Result<(), StepError> {
        let walk = self.walk;
        let Some((from, _)) = walk.old() else {
            return Ok(());
        };
        let split = Split {
            instances: self.instances.to_vec(),
            weight,
            release: walk.plan.release,
            header: self.rule.header,
        };
        let (core, app) = (&walk.core, &walk.deploy.app);
        core.routes.canary(app, from, Some(split)).await?;
        let text = format!(
            "{} ({}) has {}% of the clients",
            walk.plan.release,
            walk.plan.to,
            weight.percent()
        );
        walk.note(STEP, text.clone());
        core.event(Some(app), "canary", text).await;
        Ok(())
    }

    /// One weight after the other, from `percent` on, until the stage is passed.
    async fn stage(&self, percent: u8, verdict: &mut Verdict) -> Result<Passed, StepError> {
        let deploy = &self.walk.deploy;
        let mut weight = Weight::new(percent).unwrap_or(Weight::NONE);
        let mut resumed = deploy.steering().resumed;
        let mut by_hand = false;
        self.publish(weight).await?;
        let mut begun = Instant::now();
        let mut start = self.pair().await;
        let mut seen = start;
        let mut told: Option<(Instant, Option<Waits>)> = None;
        loop {
            let steering = deploy.steering();
            if steering.aborted {
                return Err(self.worse("taken back by `baton canary abort`", seen.since(start)));
            }
            if let Some(wanted) = steering.weight {
                deploy.steer(|steering| steering.weight = None);
                if wanted == Weight::ALL {
                    let told = self.told(weight, seen.since(start), begun);
                    return Ok(Passed {
                        told,
                        goes_on: GoesOn::At(wanted),
                    });
                }
                weight = wanted;
                by_hand = true;
                self.publish(weight).await?;
                begun = Instant::now();
                start = self.pair().await;
                seen = start;
            }
            let now = self.pair().await;
            self.judge(verdict, seen.since(start), now.since(start), weight);
            seen = now;
            let figures = seen.since(start);
            if verdict.is_against() {
                let errors = self.worse("the canary makes more errors", figures);
                return Err(self.vigil.why(errors).await);
            }
            let waits = self.waits_for(figures, begun, steering.held || by_hand);
            let goes_on = steering.resumed != resumed && waits.is_some();
            resumed = steering.resumed;
            if goes_on || (waits.is_none() && begun.elapsed() >= self.rule.hold) {
                let told = self.told(weight, figures, begun);
                let goes_on = if by_hand {
                    GoesOn::At(weight)
                } else {
                    GoesOn::Next
                };
                return Ok(Passed { told, goes_on });
            }
            if told
                .as_ref()
                .is_none_or(|(at, said)| at.elapsed() >= TELL || *said != waits)
            {
                let text = waits.map(|waits| self.text(waits, figures));
                deploy.feed.tell_latest(Progress::Canary(
                    self.progress(weight, figures, verdict, text),
                ));
                told = Some((Instant::now(), waits));
            }
            sleep(LOOK).await;
        }
    }

    /// Errors that came since the last look, as the verdict wants them: with the share of the requests
    /// under this very weight. A weight that has just been set is the share until there are requests.
    fn judge(&self, verdict: &mut Verdict, before: Pair, now: Pair, weight: Weight) {
        const FIRST: f64 = 20.0;
        let count = |n: u64| u32::try_from(n).map_or(f64::from(u32::MAX), f64::from);
        let all = count(now.old.side.requests + now.new.side.requests) + FIRST;
        let share =
            (count(now.new.side.requests) + FIRST * f64::from(weight.percent()) / 100.0) / all;
        let new = now.new.side.errors.saturating_sub(before.new.side.errors);
        let old = now.old.side.errors.saturating_sub(before.old.side.errors);
        for _ in 0..old {
            verdict.error(false, share);
        }
        for _ in 0..new {
            verdict.error(true, share);
        }
    }

    /// What a person has to do before the next stage; None: only time.
    fn waits_for(&self, figures: Pair, begun: Instant, by_hand: bool) -> Option<Waits> {
        let over = begun.elapsed() >= self.rule.hold;
        if by_hand {
            Some(Waits::Held)
        } else if over && figures.new.side.requests < self.rule.min_requests {
            Some(Waits::Requests)
        } else if over && self.rule.gate == Gate::Manual {
            Some(Waits::Gate)
        } else {
            None
        }
    }

    /// The same in words, with the figures of now.
    fn text(&self, waits: Waits, figures: Pair) -> String {
        match waits {
            Waits::Held => "held by hand; `baton canary resume` goes on".to_owned(),
            Waits::Requests => format!(
                "{} of {} requests came in {} s; `baton canary resume` goes on all the same",
                figures.new.side.requests,
                self.rule.min_requests,
                self.rule.hold.as_secs()
            ),
            Waits::Gate => "the gate is manual; `baton canary resume` goes on".to_owned(),
        }
    }

    async fn pair(&self) -> Pair {
        let walk = self.walk;
        let old = match walk.old() {
            Some((color, old)) => walk.core.instances(old, color).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let router = walk.core.routes.router();
        Pair {
            old: figures::of(router, &old),
            new: figures::of(router, self.instances),
        }
    }

    fn told(&self, weight: Weight, figures: Pair, begun: Instant) -> Stage {
        json!({
            "weight": weight,
            "seconds": begun.elapsed().as_secs(),
            "requests": figures.new.side.requests,
            "errors": figures.new.side.errors,
            "old_requests": figures.old.side.requests,
            "old_errors": figures.old.side.errors,
        })
    }

    fn progress(
        &self,
        weight: Weight,
        figures: Pair,
        verdict: &Verdict,
        waits_for: Option<String>,
    ) -> CanaryProgress {
        CanaryProgress {
            weight,
            steps: self.rule.steps.clone(),
            old: figures.old.into(),
            new: figures.new.into(),
            evidence: verdict.evidence(),
            waits_for,
        }
    }

    fn worse(&self, why: &str, figures: Pair) -> StepError {
        let plan = &self.walk.plan;
        StepError::Worse {
            message: format!(
                "{why}: {} of {} requests of {} failed ({:.1} %), {} of {} of the old release ({:.1} %)",
                figures.new.side.errors,
                figures.new.side.requests,
                plan.release,
                figures.new.side.error_percent(),
                figures.old.side.errors,
                figures.old.side.requests,
                figures.old.side.error_percent(),
            ),
            failure: None,
        }
    }
}

/// Why time alone does not lead on: another reason is told at once, other figures of the same in their
/// turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// By hand.
    Held,
    /// There were too few of them.
    Requests,
    Gate,
}

struct Passed {
    told: Stage,
    goes_on: GoesOn,
}

enum GoesOn {
    Next,
    /// A person has set the weight.
    At(Weight),
}
