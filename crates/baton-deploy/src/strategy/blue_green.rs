//! Blue-green: all instances of the new release start in the other color, then traffic switches once.

use baton_compose::Color;

use crate::plan::{DeployKind, Plan, StepName, Strategy};
use crate::release::ReleaseId;

/// Where a deploy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) release: ReleaseId,
    pub(crate) to: Color,
    /// None for the first deploy of an app: nothing drains.
    pub(crate) from: Option<Color>,
    /// The command line has images to fetch, or the release has no record yet.
    pub(crate) fetch: bool,
    /// The old color has messages or a word of its own to wait for (`redis`, `drain.until`).
    pub(crate) messages: bool,
}

/// The steps of `kind`. What is still warm boots nothing.
pub(crate) fn plan(kind: DeployKind, way: Way) -> Plan {
    let mut steps = vec![StepName::Preflight];
    if way.fetch {
        steps.push(StepName::Fetch);
    }
    match kind {
        DeployKind::Deploy | DeployKind::RollbackBoot => {
            steps.extend([StepName::Start, StepName::AwaitHealthy, StepName::WarmUp]);
        }
        DeployKind::RollbackWarm | DeployKind::Switch => steps.push(StepName::AwaitHealthy),
    }
    if way.from.is_some() {
        steps.push(StepName::AttachStreams);
    }
    steps.push(StepName::Switch);
    if way.from.is_some() {
        steps.push(StepName::DrainRequests);
        if way.messages {
            steps.push(StepName::DrainMessages);
        }
        steps.extend([StepName::EndStreams, StepName::KeepWarm, StepName::Retire]);
    }
    steps.push(StepName::Receipt);
    Plan {
        kind,
        strategy: Strategy::BlueGreen,
        release: way.release,
        to: way.to,
        from: way.from,
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(kind: DeployKind, from: Option<Color>, fetch: bool) -> String {
        steps_of(kind, from, fetch, false)
    }

    fn steps_of(kind: DeployKind, from: Option<Color>, fetch: bool, messages: bool) -> String {
        let way = Way {
            release: ReleaseId(1),
            to: Color::Blue,
            from,
            fetch,
            messages,
        };
        let names: Vec<_> = plan(kind, way).steps.iter().map(|s| s.as_str()).collect();
        names.join(" ")
    }

    #[test]
    fn a_deploy_drains_before_it_stops() {
        assert_eq!(
            steps(DeployKind::Deploy, Some(Color::Green), true),
            "preflight fetch start await_healthy warm_up attach_streams switch drain_requests end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn messages_drain_between_requests_and_streams() {
        assert_eq!(
            steps_of(DeployKind::Switch, Some(Color::Green), false, true),
            "preflight await_healthy attach_streams switch drain_requests drain_messages end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn the_first_deploy_has_nothing_to_drain() {
        assert_eq!(
            steps(DeployKind::Deploy, None, true),
            "preflight fetch start await_healthy warm_up switch receipt"
        );
    }

    #[test]
    fn a_warm_rollback_boots_nothing() {
        assert_eq!(
            steps(DeployKind::RollbackWarm, Some(Color::Green), false),
            "preflight await_healthy attach_streams switch drain_requests end_streams keep_warm retire receipt"
        );
    }

    #[test]
    fn a_rollback_that_boots_fetches_nothing() {
        assert_eq!(
            steps(DeployKind::RollbackBoot, Some(Color::Green), false),
            "preflight start await_healthy warm_up attach_streams switch drain_requests end_streams keep_warm retire receipt"
        );
    }
}
