//! *preflight*: looks whether the deploy could succeed, and changes nothing.
//!
//! Hosts that another app claims, an engine that is not there, a full disk, memory for one copy only:
//! each is refused with its numbers and the next step.

use std::collections::BTreeMap;

use baton_compose::policy::Tls;
use baton_compose::{AppName, Color, EngineKind, Project, Role};
use baton_proxy::Certificate;
use serde_json::json;

use super::{StepError, StepResult, Walk, receipt};
use crate::certificates;
use crate::core::{Core, ask};
use crate::drain::redis;
use crate::error::DeployError;
use crate::images;
use crate::machine;
use crate::plan::{DeployKind, StepName};
use crate::redis::Before;
use crate::release::{Release, ReleaseId};
use crate::routes::{Live, Previewed};
use crate::tail::{self, After};
use crate::work::Work;

const STEP: StepName = StepName::Preflight;

/// What preflight saw.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// In sentences with their numbers.
    pub(crate) figures: Vec<String>,
    pub(crate) refusals: Vec<String>,
    /// Two copies at once do not fit, with the numbers: refused, or stop-first (`overlap`).
    pub(crate) short_of_memory: Option<String>,
}

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let core = &walk.core;
    let app = &walk.deploy.app;
    core.routes.router().reset_longest_held(app);
    let figures = core.routes.router().figures(app);
    if walk.plan.kind.boots() {
        let project = project(walk)?;
        let mut findings = look(core, app, project, walk.previous.as_ref()).await;
        if !walk.plan.has(StepName::StopOld) {
            findings.refusals.extend(findings.short_of_memory.take());
        }
        for figure in findings.figures {
            walk.note(STEP, figure);
        }
        if let Some(refusal) = findings.refusals.into_iter().next() {
            return Err(StepError::Refused(refusal));
        }
    }
    let before = messages(walk).await?;
    Ok(json!({
        "before": before,
        "streams": receipt::now(walk).await,
        "session": core.session,
        "requests": figures.requests,
        "failed": figures.failed,
        "held": figures.held,
    }))
}

/// The app's Redis must be there: after the switch nobody may stop a color whose messages cannot be
/// seen.
async fn messages(walk: &Walk) -> Result<BTreeMap<String, Before>, StepError> {
    let scratch;
    let next = match &walk.release {
        Some(release) => release,
        None => {
            scratch = not_yet(&walk.deploy.app, project(walk)?);
            &scratch
        }
    };
    let seen = redis::look(
        &walk.core,
        walk.live_before(),
        (walk.plan.to, next),
        walk.role(),
    )
    .await;
    for note in seen.notes {
        walk.note(STEP, note);
    }
    match seen.refusals.into_iter().next() {
        Some(refusal) => Err(StepError::Refused(refusal)),
        None => Ok(seen.before),
    }
}

/// Nothing was changed, but a warm color was taken from its tail: it gets another one.
pub(super) async fn undo(walk: &mut Walk) -> Result<(), DeployError> {
    if matches!(
        walk.plan.kind,
        DeployKind::RollbackWarm | DeployKind::Switch
    ) {
        let (core, app) = (&walk.core, &walk.deploy.app);
        tail::linger(core, app, walk.plan.to, walk.deploy.id, After::Warm).await?;
    }
    Ok(())
}

fn project(walk: &Walk) -> Result<&Project, DeployError> {
    match &walk.work {
        Work::Deploy { project, .. }
        | Work::Stage { project, .. }
        | Work::Promote { project, .. }
        | Work::Rollback {
            current: Some(project),
            ..
        } => Ok(project),
        _ => Ok(&walk.release()?.project),
    }
}

/// Looks at everything that could refuse a deploy of `project`.
pub(crate) async fn look(
    core: &Core,
    app: &AppName,
    project: &Project,
    live: Option<&Release>,
) -> Findings {
    let mut findings = Findings::default();
    if let Err(refusal) = check_routes(core, app, project).await {
        findings.refusals.push(refusal.to_string());
    }
    let adopted = live.is_some_and(|release| !release.adopted.is_empty());
    if let Err(reason) = core.routes.router().reaches(app, adopted).await {
        findings.refusals.push(reason.to_string());
    }
    for service in &project.services {
        if let Tls::Files { cert, key } = &service.policy.tls
            && let Err(error) = Certificate::load(cert, key)
        {
            findings.refusals.push(format!("{}: {error}", service.name));
        }
    }
    if let (Some(service), None) = (certificates::asked_for(project), &core.certificates) {
        findings.refusals.push(format!(
            "{service}: `tls: auto` needs a daemon that gets certificates: start `baton serve` with an HTTPS listener and --acme-email ADDRESS, or say `tls: {{cert: FILE, key: FILE}}`"
        ));
    }
    match core.engine(project.engine) {
        Ok(engine) => {
            if let Err(error) = ask("check the engine", engine.check()).await {
                findings.refusals.push(error.to_string());
            }
        }
        Err(error) => findings.refusals.push(error.to_string()),
    }
    findings.figures = images::figures(core, app, project).await;
    for (figure, refusal) in machine::disks(project.engine, &core.data) {
        findings.figures.push(figure);
        findings.refusals.extend(refusal);
    }
    let (figure, short) = memory(core, app, project.engine, live).await;
    findings.figures.push(figure);
    findings.short_of_memory = short;
    findings
}

/// The same for the app's Redis, which *preflight* asks apart: it keeps what it saw.
pub(crate) async fn look_at_redis(
    core: &Core,
    live: Option<(Color, &Release)>,
    next: (Color, &Project),
    findings: &mut Findings,
) {
    let Some((_, release)) = live else { return };
    let project = not_yet(&release.app, next.1);
    let seen = redis::look(core, live, (next.0, &project), Role::Live).await;
    findings.figures.extend(seen.notes);
    findings.refusals.extend(seen.refusals);
}

/// Two apps cannot claim one host and path.
async fn check_routes(core: &Core, app: &AppName, project: &Project) -> Result<(), DeployError> {
    let release = not_yet(app, project);
    let live = Live::new(&release, Color::Blue, &[]);
    let previewed = Previewed::new(&release, &[]);
    Ok(core.routes.check(app, live, previewed).await?)
}

/// A release that has no record yet.
fn not_yet(app: &AppName, project: &Project) -> Release {
    Release {
        id: ReleaseId(0),
        app: app.clone(),
        project: project.clone(),
        images: Default::default(),
        adopted: Default::default(),
        created_at: time::OffsetDateTime::UNIX_EPOCH,
    }
}

/// The figures, and why two copies at once do not fit.
pub(crate) async fn memory(
    core: &Core,
    app: &AppName,
    engine: EngineKind,
    live: Option<&Release>,
) -> (String, Option<String>) {
    let mut used = None;
    let mut memory = machine::Memory::read(engine);
    if let (Some(release), Some(routed)) = (live, core.routes.live(app).await) {
        let instances = core
            .running_instances(release, routed.color)
            .await
            .unwrap_or_default();
        let (now, peak) = core.memory(release.engine(), &instances).await;
        used = Some(machine::LiveUse { now, peak });
        memory.freed = ends_before_start(core, app, routed.color.other()).await;
    }
    machine::memory_verdict(memory, used)
}

/// What a warm old color uses: it ends before the new one starts.
async fn ends_before_start(core: &Core, app: &AppName, color: Color) -> u64 {
    let slot = core.store.slot(app, color).await.ok();
    let Some(id) = slot.and_then(|slot| slot.release) else {
        return 0;
    };
    let Some(release) = core.store.release(app, id).await.ok().flatten() else {
        return 0;
    };
    let instances = core
        .running_instances(&release, color)
        .await
        .unwrap_or_default();
    core.memory(release.engine(), &instances).await.0
}
