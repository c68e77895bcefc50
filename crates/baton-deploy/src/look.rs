//! What a person looks at: status, check, events, logs. Nothing here changes anything.

use std::sync::Arc;

use baton_compose::project::Notice;
use baton_compose::{AppName, Color, Project, Role};
use baton_engine::{Instance, InstanceState, LogLine};
use futures_util::future::{self, BoxFuture};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::admission;
use crate::certificates;
use crate::control::{Check, Event, Place};
use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::plan::StepName;
use crate::planning;
use crate::release::Release;
use crate::request::{DeployRequest, Intent};
use crate::router::StreamFigures;
use crate::slots::{SlotRole, SlotState, Weight};
use crate::status::{AppStatus, ColorStatus, Colors, InstanceStatus, RunningDeploy, Status};
use crate::step::preflight;

pub(crate) async fn status(core: &Core) -> Status {
    let apps = core.store.apps().await.unwrap_or_default();
    let apps = future::join_all(boxed(apps.iter(), |app| Box::pin(app_status(core, app)))).await;
    Status {
        apps: apps.into_iter().flatten().collect(),
    }
}

async fn app_status(core: &Core, app: &AppName) -> Option<AppStatus> {
    let slots = match core.store.slots(app).await {
        Ok(slots) => slots,
        Err(error) => {
            tracing::error!(%app, "{error}");
            return None;
        }
    };
    let live = slots.iter().find(|slot| slot.role == SlotRole::Live);
    let release = match live.and_then(|slot| slot.release) {
        Some(id) => core.store.release(app, id).await.ok().flatten(),
        None => None,
    };
    let deploy = core.locks.holder(app).filter(|deploy| deploy.id > 0);
    let canary = core.routes.live(app).await;
    let canary = canary.map_or(Weight::NONE, |live| live.canary_weight());
    let [blue, green] = slots;
    let colors = future::join(
        color(core, app, blue, canary),
        color(core, app, green, canary),
    );
    let (blue, green) = colors.await;
    let admission = admission::of(core, app).await.unwrap_or_default();
    Some(AppStatus {
        name: app.to_string(),
        strategy: release
            .as_ref()
            .map(|release| release.project.strategy())
            .unwrap_or_default(),
        live: live.map(|slot| slot.color),
        deploy: deploy.map(|deploy| RunningDeploy {
            id: deploy.id,
            step: deploy.step(),
            percent: deploy.percent(),
        }),
        colors: Colors { blue, green },
        hosts: release.as_ref().map(hosts).unwrap_or_default(),
        certificates: match &core.certificates {
            Some(certificates) => certificates.status(app),
            None => Vec::new(),
        },
        paused: admission.held,
        maintenance: admission.page.is_some(),
        warnings: warnings(core, app, release.as_ref()),
    })
}

fn warnings(core: &Core, app: &AppName, live: Option<&Release>) -> Vec<String> {
    let mut warnings = core.warnings(app);
    warnings.extend(live.and_then(|live| planning::sessions_at_risk(core, app, &live.project)));
    warnings
}

/// A list of futures of one type: their lifetimes are settled here, so that whoever awaits them may be
/// moved to another thread.
fn boxed<'a, T, R>(
    items: impl Iterator<Item = T>,
    each: impl Fn(T) -> BoxFuture<'a, R>,
) -> Vec<BoxFuture<'a, R>> {
    items.map(each).collect()
}

fn hosts(release: &Release) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in release.routed().flat_map(|service| &service.policy.hosts) {
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    hosts
}

async fn color(core: &Core, app: &AppName, slot: SlotState, canary: Weight) -> ColorStatus {
    let release = match slot.release {
        Some(id) => core.store.release(app, id).await.ok().flatten(),
        None => None,
    };
    let instances = match &release {
        Some(release) => core
            .instances(release, slot.color)
            .await
            .unwrap_or_default(),
        None => Vec::new(),
    };
    let release_of = release.as_ref();
    let router = core.routes.router();
    let figures = instances.iter().filter_map(|i| router.instance(&i.id));
    let streams = figures.map(|figures| figures.streams);
    let streams = streams.reduce(StreamFigures::and).unwrap_or_default();
    let instances = future::join_all(boxed(instances.iter(), |instance| {
        Box::pin(instance_status(core, release_of, instance))
    }))
    .await;
    ColorStatus {
        release: slot.release,
        image: release
            .map(|release| release.image())
            .filter(|image| !image.is_empty()),
        role: slot.role,
        weight: weight(slot.role, canary),
        streams,
        instances,
    }
}

async fn instance_status(
    core: &Core,
    release: Option<&Release>,
    instance: &Instance,
) -> InstanceStatus {
    let figures = core
        .routes
        .router()
        .instance(&instance.id)
        .unwrap_or_default();
    let running = instance.state == InstanceState::Running;
    let mut memory = 0;
    if let (true, Some(release)) = (running, release)
        && let Ok(engine) = core.engine(release.engine())
    {
        memory = ask("measure", engine.usage(&instance.id))
            .await
            .map_or(0, |usage| usage.memory_bytes);
    }
    InstanceStatus {
        id: instance.id.to_string(),
        service: instance.service.clone(),
        address: instance.address.map(|address| address.to_string()),
        healthy: running && is_ready(core, release, instance).await,
        requests_in_flight: figures.in_flight,
        sse: figures.sse,
        websockets: figures.websockets,
        sessions: core.routes.router().sessions(&instance.id),
        memory_bytes: memory,
        restarts: instance.restarts,
    }
}

/// The live color: is it routed? Another one: it runs, and its deploy says whether it is healthy.
async fn is_ready(core: &Core, release: Option<&Release>, instance: &Instance) -> bool {
    let (Some(release), Some(slot)) = (release, &instance.slot) else {
        return true;
    };
    let takes_traffic = release.routed().any(|s| s.name == instance.service);
    match core.routes.live(&slot.app).await {
        Some(live) if takes_traffic && live.color == slot.color => live
            .instances()
            .iter()
            .any(|routed| routed.id == instance.id),
        _ => true,
    }
}

pub(crate) async fn places(core: &Core) -> Vec<Place> {
    let mut places = Vec::new();
    for app in core.store.apps().await.unwrap_or_default() {
        let Ok(slots) = core.store.slots(&app).await else {
            continue;
        };
        let canary = core.routes.live(&app).await;
        let canary = canary.map_or(Weight::NONE, |live| live.canary_weight());
        for slot in slots {
            let Some(id) = slot.release else { continue };
            let release = core.store.release(&app, id).await.ok().flatten();
            places.push(Place {
                app: app.clone(),
                color: slot.color,
                role: slot.role,
                weight: weight(slot.role, canary),
                release: id,
                image: release.map(|release| release.image()).unwrap_or_default(),
            });
        }
    }
    places
}

/// What a color has of the clients while the candidate has `canary`.
fn weight(role: SlotRole, canary: Weight) -> Weight {
    match role {
        SlotRole::Live => canary.rest(),
        SlotRole::Candidate => canary,
        _ => Weight::NONE,
    }
}

pub(crate) async fn check(core: &Core, request: &DeployRequest) -> Result<Check, DeployError> {
    let app = &request.project.app;
    let live = core.live_release(app).await?;
    let planned = match request.intent {
        Intent::Stage => planning::stage(core, app, request.project.clone(), request.force).await?,
        Intent::Deploy | Intent::Promote => {
            let project = request.project.clone();
            planning::deploy(core, app, project, request.force, request.strategy).await?
        }
    };
    let old = live.as_ref().map(|(color, release)| (*color, release));
    let mut findings = preflight::look(core, app, &request.project, old.map(|(_, r)| r)).await;
    preflight::look_at_redis(
        core,
        old,
        (planned.plan.to, &request.project),
        &mut findings,
    )
    .await;
    let live = live.map(|(_, release)| release);
    if !planned.plan.has(StepName::StopOld) {
        findings.refusals.extend(findings.short_of_memory.take());
    }
    let mut notices = planned.notices;
    notices.extend(plain_hosts(core, &request.project));
    let mut refusals = findings.refusals;
    refusals.extend(planning::beyond_the_router(core, &planned.plan));
    if let Some(holder) = core.locks.holder(app) {
        refusals.push(if holder.is_removal() {
            format!("{app} is being removed")
        } else {
            format!("another deploy of {app} is running: {}", holder.describe())
        });
    }
    // Which image it would be is known once it is fetched.
    let has_images = request.project.services.iter().any(|s| s.image.is_some());
    let nothing_to_do = !request.force
        && !has_images
        && live.is_some_and(|live| live.is_same_as(&request.project, &Default::default()));
    Ok(Check {
        plan: planned.plan,
        notices,
        nothing_to_do,
        figures: findings.figures,
        refusals,
        warnings: core.warnings(app),
    })
}

/// Nothing is said of TLS, and this daemon gets no certificates.
fn plain_hosts(core: &Core, project: &Project) -> Option<Notice> {
    let hosts = certificates::hosts_of(project, Role::Live);
    let first = hosts.first()?;
    let plain = core.certificates.is_none() && certificates::asked_for(project).is_none();
    plain.then(|| Notice {
        key: "x-baton.tls".to_owned(),
        text: format!(
            "off for {first}: this daemon gets no certificates (`baton serve --acme-email ADDRESS`); `tls: off` says that this is meant"
        ),
    })
}

pub(crate) async fn events(
    core: &Arc<Core>,
    app: Option<&AppName>,
    tail: usize,
    follow: bool,
) -> Result<mpsc::Receiver<Event>, DeployError> {
    // Before the list, so that none falls between.
    let mut new = core.new_events();
    let past = core.store.events(app, tail).await?;
    let (sender, receiver) = mpsc::channel(64);
    let app = app.cloned();
    core.spawn(async move {
        let mut last = 0;
        for event in past {
            last = event.id;
            if sender.send(event).await.is_err() {
                return;
            }
        }
        if !follow {
            return;
        }
        loop {
            let event = tokio::select! {
                event = new.recv() => event,
                () = sender.closed() => return,
            };
            match event {
                Ok(event) if event.id > last && (app.is_none() || event.app == app) => {
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
                // A slow reader misses some; the list has them all.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    Ok(receiver)
}

pub(crate) async fn logs(
    core: &Arc<Core>,
    app: &AppName,
    color: Option<Color>,
    tail: usize,
    follow: bool,
) -> Result<mpsc::Receiver<LogLine>, DeployError> {
    core.known(app).await?;
    let slots = core.store.slots(app).await?;
    let slot = slots
        .into_iter()
        .find(|slot| match color {
            Some(color) => slot.color == color,
            None => slot.role == SlotRole::Live,
        })
        .filter(|slot| slot.release.is_some());
    let release = match slot.and_then(|slot| slot.release) {
        Some(id) => core.store.release(app, id).await?,
        None => None,
    };
    let (Some(slot), Some(release)) = (slot, release) else {
        let place = color.map_or_else(
            || "nothing".to_owned(),
            |color| format!("nothing in {color}"),
        );
        return Err(DeployError::Usage(format!("{place} of {app} runs")));
    };
    let engine = core.engine(release.engine())?;
    let (sender, receiver) = mpsc::channel(256);
    let mut past = Vec::new();
    let mut coming = Vec::new();
    for instance in core.instances(&release, slot.color).await? {
        let mut lines = ask("logs", engine.logs(&instance.id, tail, follow)).await?;
        if follow {
            coming.push(lines);
        } else {
            while let Some(line) = lines.recv().await {
                past.push(line);
            }
        }
    }
    core.spawn(async move {
        // Several instances: in the order of time, as far as it is known.
        past.sort_by_key(|line| line.at);
        for line in past {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        future::join_all(
            coming
                .into_iter()
                .map(|lines| pass_on(lines, sender.clone())),
        )
        .await;
    });
    Ok(receiver)
}

async fn pass_on(mut lines: mpsc::Receiver<LogLine>, sender: mpsc::Sender<LogLine>) {
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => if sender.send(line).await.is_err() { return },
                None => return,
            },
            () = sender.closed() => return,
        }
    }
}
