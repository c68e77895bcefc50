//! How a deploy ended, as its command is told.

use crate::outcome::{ExitCode, Outcome};
use crate::step::{self, StepError, Walk, receipt};

/// The new release serves, or what was staged is there.
pub(crate) async fn live_outcome(walk: &Walk) -> Outcome {
    Outcome {
        ok: true,
        exit_code: ExitCode::Done,
        app: walk.deploy.app.to_string(),
        deploy: Some(walk.deploy.id),
        release: Some(walk.plan.release),
        live: if walk.plan.switches() {
            Some(walk.plan.to)
        } else {
            walk.core
                .routes
                .live(&walk.deploy.app)
                .await
                .map(|live| live.color)
        },
        message: match (walk.old(), &walk.release) {
            (_, Some(release)) if !walk.plan.switches() => format!(
                "{} is staged ({}) at {}",
                walk.plan.release,
                walk.plan.to,
                step::serve_preview::hosts(release).join(", ")
            ),
            (Some((color, old)), _) => format!(
                "{} is live ({}); {} ({color}) drains",
                walk.plan.release, walk.plan.to, old.id
            ),
            (None, _) => format!("{} is live ({})", walk.plan.release, walk.plan.to),
        },
        failure: None,
        receipt: if walk.plan.switches() {
            receipt::build(walk, "live").await.ok()
        } else {
            None
        },
    }
}

/// The old release serves.
pub(super) async fn failed_outcome(walk: &Walk, error: StepError) -> Outcome {
    let text = error.text();
    let (exit_code, word, failure) = match error {
        StepError::NothingToDo(_) => (ExitCode::Done, "nothing to do", None),
        StepError::Cancelled(_) if walk.served => (ExitCode::TakenBack, "cancelled", None),
        StepError::Cancelled(_) => (ExitCode::Error, "cancelled", None),
        StepError::Refused(_) => (ExitCode::Refused, "refused", None),
        StepError::Uncertified(_) => (ExitCode::Refused, "failed", None),
        StepError::Release { failure, .. } | StepError::Worse { failure, .. } => {
            let (exit_code, word) = if walk.served {
                (ExitCode::TakenBack, "taken back")
            } else {
                (ExitCode::ReleaseFailed, "failed")
            };
            (exit_code, word, failure.map(|failure| *failure))
        }
        StepError::Error(error) => (error.exit_code(), "failed", None),
    };
    let message = match word {
        "cancelled" => format!("{text}; {}", walk.untouched()),
        "refused" => format!("preflight refused: {text}"),
        "taken back" => match walk.old() {
            Some((color, old)) => format!(
                "{text}; {} was taken back, {} ({color}) serves",
                walk.plan.release, old.id
            ),
            None => text,
        },
        _ => text,
    };
    // With nothing to do there was no deploy: its release never is.
    let mut receipt = match exit_code {
        ExitCode::Done => None,
        _ => receipt::build(walk, word).await.ok(),
    };
    if let Some(receipt) = &mut receipt {
        receipt.reason = Some(message.clone());
    }
    if let Some(receipt) = &receipt
        && let Err(error) = walk.core.store.put_receipt(receipt).await
    {
        tracing::error!(deploy = walk.deploy.id, "{error}");
    }
    let live = walk.core.routes.live(&walk.deploy.app).await;
    let release = match (exit_code, &live) {
        (ExitCode::Done, Some(live)) => live.release,
        _ => walk.plan.release,
    };
    Outcome {
        ok: exit_code == ExitCode::Done,
        exit_code,
        app: walk.deploy.app.to_string(),
        deploy: Some(walk.deploy.id),
        release: Some(release),
        live: live.map(|live| live.color),
        message,
        failure,
        receipt,
    }
}
