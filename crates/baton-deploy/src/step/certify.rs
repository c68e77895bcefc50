//! *certify*: gets the certificates that the release's hosts lack, before anything of it is started.
//!
//! An app that has never been live is not started without them: its first visitor would be turned away.
//! One that is live goes on as it is, with a word; the daemon tries again by itself.

use std::time::Duration;

use baton_compose::Role;
use serde_json::json;

use super::{StepError, StepResult, Walk};
use crate::certificates::{Uncertified, hosts_of};
use crate::plan::StepName;
use crate::work::Work;

const STEP: StepName = StepName::Certify;

/// How long users of a live app wait for the new release because an authority does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let hosts = hosts_of(&walk.release()?.project, walk.role());
    let failed = obtain(walk, &hosts).await?;
    if failed.is_empty() {
        return Ok(json!({ "hosts": hosts }));
    }
    let text = describe(&failed);
    if is_first(walk) {
        return Err(StepError::Uncertified(format!(
            "{text}; nothing was started. Make port 80 or 443 of this machine answer for that name, or say `tls: off` or `tls: {{cert: FILE, key: FILE}}` in x-baton, and deploy again"
        )));
    }
    let text = format!("{text}; the daemon tries again by itself, `baton status` says when");
    walk.note(STEP, format!("warning: {text}"));
    let core = &walk.core;
    core.event(Some(&walk.deploy.app), "warning", text).await;
    Ok(json!({ "hosts": hosts }))
}

/// Has nobody reached the app through Baton so far? What plain Compose runs is reached as ever.
fn is_first(walk: &Walk) -> bool {
    let adopts = matches!(walk.work, Work::Deploy { adopt: true, .. });
    walk.role() == Role::Live && (walk.plan.from.is_none() || adopts)
}

async fn obtain(walk: &Walk, hosts: &[String]) -> Result<Vec<Uncertified>, StepError> {
    let Some(certificates) = &walk.core.certificates else {
        return Ok(Vec::new());
    };
    let missing = certificates.missing(hosts);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    walk.note(STEP, format!("asking for {}", missing.join(", ")));
    let first = is_first(walk);
    let patience = async {
        if first {
            std::future::pending().await
        } else {
            tokio::time::sleep(PATIENCE).await;
        }
    };
    tokio::select! {
        failed = certificates.obtain(&walk.deploy.app, &missing) => Ok(failed),
        () = patience => Ok(late(certificates.missing(&missing))),
        () = walk.deploy.cancelled() => Err(StepError::Cancelled("cancelled".to_owned())),
    }
}

fn late(missing: Vec<String>) -> Vec<Uncertified> {
    let reason = format!("the authority takes longer than {} s", PATIENCE.as_secs());
    let late = |host| Uncertified {
        host,
        reason: reason.clone(),
    };
    missing.into_iter().map(late).collect()
}

fn describe(failed: &[Uncertified]) -> String {
    let each = failed
        .iter()
        .map(|failed| format!("no certificate for {}: {}", failed.host, failed.reason));
    each.collect::<Vec<_>>().join("; ")
}
