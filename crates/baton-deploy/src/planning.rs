//! From what was asked to a plan, with the app's lock held.

use std::sync::Arc;

use baton_compose::policy::{Overlap, Strategy};
use baton_compose::project::Notice;
use baton_compose::{AppName, Color, Project, Role};
use baton_engine::InstanceState;

use crate::certificates;
use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::hooks;
use crate::plan::{DeployKind, Plan, StepName};
use crate::release::{Release, ReleaseId};
use crate::router::Feature;
use crate::running::RunningDeploy;
use crate::step::{Walk, preflight};
use crate::store::DeployRow;
use crate::strategy::{self, Asks, Way};
use crate::telling;
use crate::work::Work;

mod back;

pub(crate) use back::give_back;

/// A plan, and what the walk needs beside it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) work: Work,
    pub(crate) plan: Plan,
    pub(crate) notices: Vec<Notice>,
    release: Option<Release>,
    previous: Option<Release>,
}

impl Planned {
    /// The deploy of `row`, ready to walk.
    pub(crate) fn walk(
        self,
        core: &Arc<Core>,
        deploy: &Arc<RunningDeploy>,
        row: &DeployRow,
    ) -> Walk {
        Walk {
            core: Arc::clone(core),
            deploy: Arc::clone(deploy),
            work: self.work,
            plan: self.plan,
            by: row.by.clone(),
            started_at: row.started_at,
            release: self.release,
            previous: self.previous,
            outputs: Default::default(),
            boot: None,
            keeper: None,
            served: false,
            switched: None,
            tail: None,
            drained: None,
            moved: Default::default(),
        }
    }
}

/// Writes the plan. A warm color that it wants back is taken from its tail.
pub(crate) async fn plan(core: &Core, app: &AppName, work: Work) -> Result<Planned, DeployError> {
    let planned = match work {
        Work::Deploy {
            project,
            force,
            strategy,
            ..
        } => deploy(core, app, project, force, strategy).await,
        Work::Stage { project, force } => stage(core, app, project, force).await,
        Work::Promote { project, staged } => promote(core, app, project, staged).await,
        Work::Rollback { to, current } => back::rollback(core, app, to, current).await,
        Work::Switch { to } => back::switch(core, app, to).await,
        Work::Over => Err(DeployError::Other("it has ended already".to_owned())),
    }?;
    if let Some(reason) = beyond_the_router(core, &planned.plan) {
        return Err(DeployError::Refused { reason });
    }
    Ok(planned)
}

/// Steps that what carries traffic cannot do.
pub(crate) fn beyond_the_router(core: &Core, plan: &Plan) -> Option<String> {
    let asks = [
        (StepName::Canary, Feature::Canary),
        (StepName::StopOld, Feature::Hold),
    ];
    let mut asked = asks.into_iter().filter(|(step, _)| plan.has(*step));
    let reason = asked.find_map(|(_, feature)| core.routes.router().lacks(feature));
    reason.map(str::to_owned)
}

/// The plan of a deploy; takes nothing from anyone, so `check` may ask for it too.
pub(crate) async fn deploy(
    core: &Core,
    app: &AppName,
    project: Project,
    force: bool,
    strategy: Option<Strategy>,
) -> Result<Planned, DeployError> {
    core.engine(project.engine)?;
    let release = core.store.next_release(app).await?;
    let live = core.live_release(app).await?;
    let mut notices = project.notices.clone();
    let adopt = live.is_none() && runs_plainly(core, app, &project).await;
    let (from, to) = match &live {
        Some((color, _)) => (Some(*color), color.other()),
        None if adopt => (Some(Color::Blue), Color::Green),
        None => (None, Color::Blue),
    };
    if adopt {
        notices.push(Notice {
            key: format!("apps.{app}"),
            text: "plain Compose runs it: its containers become r0 (blue), serve through Baton until the switch, and are drained and stopped then; a rollback to r0 after that starts its image again as plain Compose did (command, environment, mounts, limits), with the networks and logging of this file".to_owned(),
        });
    }
    notices.extend(telling::unaddressed(&project));
    notices.extend(sessions_at_risk(core, app, &project).map(|text| Notice {
        key: "x-baton.sessions".to_owned(),
        text,
    }));
    let previous = live.map(|(_, release)| release);
    let mut way = Way {
        release,
        to,
        from,
        strategy: strategy.unwrap_or(project.strategy()),
        stop_first: stops_first(core, app, &project, previous.as_ref()).await,
        asks: asks(&project, previous.as_ref()),
    };
    way.asks.fetch = true;
    way.asks.certify = lacks_certificates(core, &project, Role::Live);
    // What is adopted is drained by the rules of this file.
    way.asks.messages |= adopt && has_messages(&project);
    notices.extend(settle_strategy(&mut way, adopt, previous.as_ref())?);
    Ok(Planned {
        plan: strategy::plan(DeployKind::Deploy, way),
        work: Work::Deploy {
            project,
            force,
            adopt,
            strategy,
        },
        notices,
        release: None,
        previous,
    })
}

/// What stands against the strategy that was asked for: another one takes its place, with a word.
fn settle_strategy(
    way: &mut Way,
    adopt: bool,
    previous: Option<&Release>,
) -> Result<Option<Notice>, DeployError> {
    let adopted = adopt || previous.is_some_and(|release| !release.adopted.is_empty());
    let notice = |text: &str| {
        Some(Notice {
            key: "x-baton.strategy".to_owned(),
            text: text.to_owned(),
        })
    };
    if way.from.is_none() || way.strategy == Strategy::BlueGreen {
        return Ok(None);
    }
    if way.strategy == Strategy::Rolling && adopted {
        way.strategy = Strategy::BlueGreen;
        return Ok(notice(
            "what plain Compose started is exchanged as a whole: blue-green this time",
        ));
    }
    if way.strategy == Strategy::Canary && way.stop_first {
        return Err(DeployError::Refused {
            reason: "a canary needs the old and the new release at once, and `overlap` does not allow it now; use `--strategy blue-green`, or free memory".to_owned(),
        });
    }
    if way.strategy == Strategy::Rolling && way.stop_first {
        way.strategy = Strategy::BlueGreen;
        return Ok(notice(
            "two copies may not run at once (`overlap`): the old color ends first",
        ));
    }
    Ok(None)
}

/// `overlap`: may two copies run at once, and do they fit?
async fn stops_first(
    core: &Core,
    app: &AppName,
    project: &Project,
    live: Option<&Release>,
) -> bool {
    match project.overlap() {
        _ if live.is_none() => false,
        Overlap::Required => false,
        Overlap::Preferred => preflight::memory(core, app, project.engine, live)
            .await
            .1
            .is_some(),
        Overlap::Never => true,
    }
}

/// What a deploy of `project` goes through beside its strategy.
fn asks(project: &Project, old: Option<&Release>) -> Asks {
    Asks {
        fetch: false,
        certify: false,
        migrate: project.services.iter().any(|s| s.policy.migrate.is_some()),
        watch: !project.watch().is_zero(),
        messages: old.is_some_and(|old| has_messages(&old.project)),
        before_start: hooks::asked_for(project, StepName::BeforeStart),
        before_switch: hooks::asked_for(project, StepName::BeforeSwitch),
        after_switch: hooks::asked_for(project, StepName::AfterSwitch),
        after_deploy: hooks::asked_for(project, StepName::AfterDeploy),
    }
}

/// A rollback does not wait for that: what it goes back to has served without.
fn lacks_certificates(core: &Core, project: &Project, role: Role) -> bool {
    let hosts = certificates::hosts_of(project, role);
    let certificates = core.certificates.as_ref();
    certificates.is_some_and(|certificates| !certificates.missing(&hosts).is_empty())
}

/// Into the idle color, for the preview hosts.
pub(crate) async fn stage(
    core: &Core,
    app: &AppName,
    project: Project,
    force: bool,
) -> Result<Planned, DeployError> {
    core.engine(project.engine)?;
    let hosts = |service: &baton_compose::Service| {
        let preview = service.policy.preview.as_ref();
        preview.is_some_and(|preview| !preview.hosts.is_empty())
    };
    if !project.services.iter().any(hosts) {
        return Err(DeployError::Usage(format!(
            "{app} has no preview hosts: add `preview: {{ hosts: [test.example.com], environment: {{ … }} }}` to x-baton"
        )));
    }
    let live = core.live_release(app).await?;
    let mut way = Way {
        release: core.store.next_release(app).await?,
        to: live
            .as_ref()
            .map_or(Color::Blue, |(color, _)| color.other()),
        from: None,
        strategy: Strategy::BlueGreen,
        stop_first: false,
        asks: asks(&project, None),
    };
    way.asks.fetch = true;
    way.asks.certify = lacks_certificates(core, &project, Role::Preview);
    Ok(Planned {
        plan: strategy::plan(DeployKind::Stage, way),
        notices: project.notices.clone(),
        work: Work::Stage { project, force },
        release: None,
        previous: live.map(|(_, release)| release),
    })
}

/// What is staged goes live: its images, with today's configuration.
async fn promote(
    core: &Core,
    app: &AppName,
    project: Project,
    staged: ReleaseId,
) -> Result<Planned, DeployError> {
    let mut planned = deploy(core, app, project, true, None).await?;
    let Work::Deploy { project, .. } = planned.work else {
        return Err(DeployError::Other(
            "a promotion is planned as a deploy".to_owned(),
        ));
    };
    planned.work = Work::Promote { project, staged };
    planned.plan.kind = DeployKind::Promote;
    planned.notices.push(Notice {
        key: staged.to_string(),
        text: format!(
            "its images, which are staged now, become {}",
            planned.plan.release
        ),
    });
    Ok(planned)
}

/// The app gives out a cookie that is known to name sessions in an app's memory, and its file says
/// nothing about them.
pub(crate) fn sessions_at_risk(core: &Core, app: &AppName, project: &Project) -> Option<String> {
    let policies = project.services.iter().map(|service| &service.policy);
    if policies.clone().any(|policy| policy.sessions.is_some()) {
        return None;
    }
    let cookie = core.routes.router().session_cookie(app)?;
    Some(format!(
        "{app} sets the session cookie {cookie}: where its sessions live in memory, a deploy ends them; `sessions: {{ cookie: {cookie} }}` in x-baton keeps their clients on their release until they are idle"
    ))
}

/// Does the old color of such a deploy have more to finish than requests?
fn has_messages(project: &Project) -> bool {
    project.services.iter().any(|service| {
        let policy = &service.policy;
        policy.redis.is_some() || policy.sessions.is_some() || policy.drain.until.is_some()
    })
}

/// Does plain Compose run a service of the project? Unknown counts as no.
async fn runs_plainly(core: &Core, app: &AppName, project: &Project) -> bool {
    let Ok(engine) = core.engine(project.engine) else {
        return false;
    };
    for service in &project.services {
        let plain = engine.plain_instances(app, &service.name);
        let found = ask("list plain instances", plain).await.unwrap_or_default();
        if found.iter().any(|i| i.state == InstanceState::Running) {
            return true;
        }
    }
    false
}

/// Reads a deploy that was planned before the daemon was restarted.
pub(crate) async fn planned_before(
    core: &Core,
    row: &DeployRow,
) -> Result<Option<Planned>, DeployError> {
    let Some(plan) = row.plan.clone() else {
        return Ok(None);
    };
    let release = core.store.release(&row.app, plan.release).await?;
    let mut previous = None;
    // A stage takes nothing from what is live.
    if let Some(from) = plan.from.or((!plan.switches()).then(|| plan.to.other())) {
        let slot = core.store.slot(&row.app, from).await?;
        if let Some(id) = slot.release {
            previous = core.store.release(&row.app, id).await?;
        }
    }
    Ok(Some(Planned {
        work: row.work.clone(),
        plan,
        notices: Vec::new(),
        release,
        previous,
    }))
}
