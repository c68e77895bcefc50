//! What a deploy will do.

use baton_compose::project::Notice;
use baton_deploy::control::Check;
use baton_deploy::plan::{DeployKind, Plan, StepName, Strategy};

use super::Paint;

/// Plan and notices; lines without an end of the last one.
#[must_use]
pub fn render(app: Option<&str>, plan: &Plan, notices: &[Notice], paint: Paint) -> String {
    let mut lines = vec![headline(app, plan, paint), steps(plan)];
    lines.extend(self::notices(notices, paint));
    lines.join("\n")
}

/// What `baton check` and `--dry-run` print.
#[must_use]
pub fn render_check(app: &str, check: &Check, paint: Paint) -> String {
    let mut lines = vec![render(Some(app), &check.plan, &check.notices, paint)];
    for figure in &check.figures {
        lines.push(format!("  · {figure}"));
    }
    for warning in &check.warnings {
        lines.push(format!("  {} {warning}", paint.yellow("warning:")));
    }
    for refusal in &check.refusals {
        lines.push(format!("  {} {refusal}", paint.red("refused:")));
    }
    if check.nothing_to_do && check.refusals.is_empty() {
        lines.push(
            "  nothing to do: this image and configuration are live (--force deploys them again)"
                .to_owned(),
        );
    }
    lines.join("\n")
}

fn headline(app: Option<&str>, plan: &Plan, paint: Paint) -> String {
    let verb = match plan.kind {
        DeployKind::Deploy => "deploy",
        DeployKind::Stage => "stage",
        DeployKind::Promote => "promote",
        DeployKind::RollbackWarm => "roll back (still warm, nothing boots)",
        DeployKind::RollbackBoot => "roll back",
        DeployKind::Switch => "switch",
    };
    let app = match app {
        Some(app) => format!("{} ", paint.bold(app)),
        None => String::new(),
    };
    let from = match plan.from {
        Some(from) if plan.has(StepName::StopOld) => {
            format!("{} ends first, requests are held", paint.slot(from))
        }
        Some(from) => format!("{} is live until the switch", paint.slot(from)),
        None if !plan.switches() => "for its preview hosts; what is live stays".to_owned(),
        None => "nothing is live yet".to_owned(),
    };
    format!(
        "{app}{verb}{}: {} → {}; {from}",
        match plan.strategy {
            Strategy::BlueGreen => "",
            Strategy::Rolling => " (rolling)",
            Strategy::Canary => " (canary)",
        },
        paint.bold(&plan.release.to_string()),
        paint.slot(plan.to)
    )
}

/// The command's steps, and after the switch the daemon's.
fn steps(plan: &Plan) -> String {
    let names = |steps: &[StepName]| -> String {
        let names: Vec<&str> = steps.iter().map(|step| step.as_str()).collect();
        names.join(" → ")
    };
    let (head, tail) = plan.steps.split_at(plan.head());
    if tail.is_empty() {
        return format!("  {}", names(head));
    }
    format!(
        "  {}\n  then, in the background: {}",
        names(head),
        names(tail)
    )
}

/// One line for each key of the file that Baton changed or dropped.
#[must_use]
pub fn notices(notices: &[Notice], paint: Paint) -> Vec<String> {
    notices
        .iter()
        .map(|notice| format!("  {} {}: {}", paint.dim("note:"), notice.key, notice.text))
        .collect()
}

#[cfg(test)]
mod tests {
    use baton_compose::Color;
    use baton_deploy::plan::Strategy;
    use baton_deploy::release::ReleaseId;

    use super::*;

    fn plan() -> Plan {
        Plan {
            kind: DeployKind::Deploy,
            strategy: Strategy::BlueGreen,
            release: ReleaseId(7),
            to: Color::Green,
            from: Some(Color::Blue),
            steps: vec![
                StepName::Preflight,
                StepName::Fetch,
                StepName::Start,
                StepName::AwaitHealthy,
                StepName::Switch,
                StepName::DrainRequests,
                StepName::Retire,
            ],
        }
    }

    fn notice() -> Notice {
        Notice {
            key: "services.api.ports".into(),
            text: "dropped, traffic comes through Baton".into(),
        }
    }

    #[test]
    fn a_plan_names_steps_and_changed_keys() {
        insta::assert_snapshot!(render(Some("shop"), &plan(), &[notice()], Paint::NONE), @"
        shop deploy: r7 → green; blue is live until the switch
          preflight → fetch → start → await_healthy → switch
          then, in the background: drain_requests → retire
          note: services.api.ports: dropped, traffic comes through Baton
        ");
    }

    #[test]
    fn a_check_shows_figures_and_refusals() {
        let check = Check {
            plan: Plan {
                from: None,
                ..plan()
            },
            notices: vec![notice()],
            nothing_to_do: false,
            figures: vec!["memory: 412 MiB live, 300 MiB available".into()],
            refusals: vec!["memory: a second copy needs 412 MiB".into()],
            warnings: vec!["live-restore is off in the Docker Engine".into()],
        };
        insta::assert_snapshot!(render_check("shop", &check, Paint::NONE), @"
        shop deploy: r7 → green; nothing is live yet
          preflight → fetch → start → await_healthy → switch
          then, in the background: drain_requests → retire
          note: services.api.ports: dropped, traffic comes through Baton
          · memory: 412 MiB live, 300 MiB available
          warning: live-restore is off in the Docker Engine
          refused: memory: a second copy needs 412 MiB
        ");
    }
}
