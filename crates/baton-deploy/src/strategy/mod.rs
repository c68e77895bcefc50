//! Strategies: each only says which steps there are, and in which order; the steps are the same code.
//!
//! | | before the switch | after it |
//! | --- | --- | --- |
//! | blue-green | all instances start in the other color | the old color drains, stays warm, ends |
//! | rolling | one instance starts, then *roll* exchanges them one by one | the last old one drains and ends |
//! | canary | as blue-green, then *canary* moves clients over | as blue-green |
//!
//! Stop-first (`overlap`) is blue-green with *stop_old* before *start*.

use baton_compose::Color;

use crate::plan::{DeployKind, Plan, StepName, Strategy};
use crate::release::ReleaseId;

/// Where a deploy goes, and what it meets on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) release: ReleaseId,
    pub(crate) to: Color,
    /// None for the first deploy of an app, and for a stage: nothing drains.
    pub(crate) from: Option<Color>,
    pub(crate) strategy: Strategy,
    /// Two copies do not fit, or may not run at once.
    pub(crate) stop_first: bool,
    pub(crate) asks: Asks,
}

/// What the files ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each adds one step")]
pub(crate) struct Asks {
    /// The command line has images to fetch, or the release has no record yet.
    pub(crate) fetch: bool,
    /// A host has no certificate yet, and the daemon gets them.
    pub(crate) certify: bool,
    pub(crate) migrate: bool,
    /// Nothing is compared where `watch` is 0.
    pub(crate) watch: bool,
    /// The old color has messages or a word of its own to wait for (`redis`, `drain.until`).
    pub(crate) messages: bool,
    pub(crate) before_start: bool,
    pub(crate) before_switch: bool,
    pub(crate) after_switch: bool,
    pub(crate) after_deploy: bool,
}

/// The steps of `kind`.
pub(crate) fn plan(kind: DeployKind, way: Way) -> Plan {
    let steps = match kind {
        DeployKind::Stage => stage(way.asks),
        _ => live(kind, way),
    };
    Plan {
        kind,
        strategy: way.strategy,
        release: way.release,
        to: way.to,
        from: way.from,
        steps,
    }
}

/// Steps in a row, each where it is asked for.
fn chosen<const N: usize>(steps: [(bool, StepName); N]) -> impl Iterator<Item = StepName> {
    let asked = steps.into_iter().filter(|(asked, _)| *asked);
    asked.map(|(_, step)| step)
}

fn stage(asks: Asks) -> Vec<StepName> {
    chosen([
        (true, StepName::Preflight),
        (asks.fetch, StepName::Fetch),
        (asks.certify, StepName::Certify),
        (asks.migrate, StepName::Migrate),
        (true, StepName::Start),
        (true, StepName::AwaitHealthy),
        (true, StepName::WarmUp),
        (true, StepName::ServePreview),
    ])
    .collect()
}

fn live(kind: DeployKind, way: Way) -> Vec<StepName> {
    let (asks, boots, old) = (way.asks, kind.boots(), way.from.is_some());
    // Where nothing boots there is one copy of each already.
    let strategy = if boots && old && !way.stop_first {
        way.strategy
    } else {
        Strategy::BlueGreen
    };
    let stays_warm = strategy != Strategy::Rolling && !way.stop_first;
    let head = chosen([
        (true, StepName::Preflight),
        (asks.fetch, StepName::Fetch),
        (asks.certify, StepName::Certify),
        (boots && asks.before_start, StepName::BeforeStart),
        (boots && asks.migrate, StepName::Migrate),
        (boots && old && way.stop_first, StepName::StopOld),
        (boots, StepName::Start),
        (true, StepName::AwaitHealthy),
        (boots, StepName::WarmUp),
        (old, StepName::AttachStreams),
        (strategy == Strategy::Rolling, StepName::Roll),
        (strategy == Strategy::Canary, StepName::Canary),
        (asks.before_switch, StepName::BeforeSwitch),
        (true, StepName::Switch),
        (asks.after_switch, StepName::AfterSwitch),
        (old && asks.watch, StepName::Watch),
        (asks.after_deploy, StepName::AfterDeploy),
    ]);
    let tail = chosen([
        (old, StepName::DrainRequests),
        (old && asks.messages, StepName::DrainMessages),
        (old, StepName::EndStreams),
        (old && stays_warm, StepName::KeepWarm),
        (old, StepName::Retire),
        (true, StepName::Receipt),
    ]);
    head.chain(tail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Way {
        Way {
            release: ReleaseId(1),
            to: Color::Blue,
            from: Some(Color::Green),
            strategy: Strategy::BlueGreen,
            stop_first: false,
            asks: Asks {
                fetch: true,
                watch: true,
                ..Asks::default()
            },
        }
    }

    fn steps(kind: DeployKind, way: Way) -> String {
        let names: Vec<_> = plan(kind, way).steps.iter().map(|s| s.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn a_deploy_drains_before_it_stops() {
        assert_eq!(
            steps(DeployKind::Deploy, way()),
            "preflight fetch start await_healthy warm_up attach_streams switch watch drain_requests end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn messages_drain_between_requests_and_streams() {
        let mut way = way();
        way.asks = Asks {
            messages: true,
            ..Asks::default()
        };
        assert_eq!(
            steps(DeployKind::Switch, way),
            "preflight await_healthy attach_streams switch drain_requests drain_messages end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn the_first_deploy_has_nothing_to_drain_and_nothing_to_go_back_to() {
        for strategy in [Strategy::BlueGreen, Strategy::Rolling, Strategy::Canary] {
            let first = Way {
                from: None,
                strategy,
                ..way()
            };
            assert_eq!(
                steps(DeployKind::Deploy, first),
                "preflight fetch start await_healthy warm_up switch receipt"
            );
        }
    }

    #[test]
    fn a_warm_rollback_boots_nothing() {
        let mut way = way();
        way.asks.fetch = false;
        way.strategy = Strategy::Rolling;
        assert_eq!(
            steps(DeployKind::RollbackWarm, way),
            "preflight await_healthy attach_streams switch watch drain_requests end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn a_rolling_deploy_keeps_nothing_warm() {
        let mut way = way();
        way.strategy = Strategy::Rolling;
        assert_eq!(
            steps(DeployKind::Deploy, way),
            "preflight fetch start await_healthy warm_up attach_streams roll switch watch drain_requests end_streams retire receipt"
        );
    }

    #[test]
    fn a_canary_comes_before_the_switch_and_hooks_around_it() {
        let mut way = way();
        way.strategy = Strategy::Canary;
        way.asks = Asks {
            fetch: true,
            migrate: true,
            watch: true,
            certify: true,
            messages: false,
            before_start: true,
            before_switch: true,
            after_switch: true,
            after_deploy: true,
        };
        assert_eq!(
            steps(DeployKind::Deploy, way),
            "preflight fetch certify before_start migrate start await_healthy warm_up attach_streams canary before_switch switch after_switch watch after_deploy drain_requests end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn stop_first_ends_the_old_color_before_the_new_one_starts() {
        let mut way = way();
        way.stop_first = true;
        assert_eq!(
            steps(DeployKind::Deploy, way),
            "preflight fetch stop_old start await_healthy warm_up attach_streams switch watch drain_requests end_streams retire receipt"
        );
    }

    #[test]
    fn a_stage_touches_nothing_that_is_live() {
        let mut way = way();
        way.from = None;
        assert_eq!(
            steps(DeployKind::Stage, way),
            "preflight fetch start await_healthy warm_up serve_preview"
        );
        assert_eq!(plan(DeployKind::Stage, way).head(), 6);
    }

    #[test]
    fn the_command_waits_for_the_watch() {
        let plan = plan(DeployKind::Deploy, way());
        assert_eq!(plan.steps[plan.head() - 1], StepName::Watch);
    }
}
