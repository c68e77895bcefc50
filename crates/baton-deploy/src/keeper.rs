//! The keeper of one app: puts its live color right whenever it is woken.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::{AppName, Color, Role};
use baton_engine::{Engine, Instance, InstanceId, InstanceState, Replicas, Shield, Slot, Start};
use tokio::time::{Instant, sleep};

use crate::activate;
use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::health::{Check, History};
use crate::preview;
use crate::release::{Release, ReleaseId};
use crate::slots::SlotRole;
use crate::step::{self, attach_streams};
use crate::supervise::Kept;

/// How soon it looks again when the engine did not answer or something is not up yet.
const AGAIN: Duration = Duration::from_secs(2);

/// Looks at an instance that is waited for, beside its health check.
const INSPECT: Duration = Duration::from_secs(1);

/// What one look left to do.
struct Look {
    /// Look again after this, woken or not.
    again: Option<Duration>,
    warnings: Vec<String>,
}

/// Runs until the app is removed.
pub(crate) async fn keep(core: Arc<Core>, app: AppName, kept: Arc<Kept>) {
    let mut told = false;
    loop {
        kept.woken.notified().await;
        while core.supervision.keeps(&app, &kept) {
            let look = match put_right(&core, &app, &kept, &mut told).await {
                Ok(look) => look,
                Err(error) => Look {
                    again: Some(AGAIN),
                    warnings: vec![error.to_string()],
                },
            };
            kept.warn(look.warnings);
            let Some(pause) = look.again else { break };
            tokio::select! {
                () = sleep(pause) => {}
                () = kept.woken.notified() => {}
            }
        }
        if !core.supervision.keeps(&app, &kept) {
            return;
        }
    }
}

/// One look at the live color: what runs is routed, what does not is started. `told`: the engine knows
/// which color is live, since this daemon started.
async fn put_right(
    core: &Arc<Core>,
    app: &AppName,
    kept: &Arc<Kept>,
    told: &mut bool,
) -> Result<Look, DeployError> {
    let mut look = Look {
        again: None,
        warnings: Vec::new(),
    };
    let changing = kept.change().await;
    let Some((color, release)) = core.live_release(app).await? else {
        previewed(core, app, kept, &mut look).await;
        return Ok(look);
    };
    let engine = core.engine(release.engine())?;
    let found = latest(core.instances(&release, color).await?);
    let mut up = Vec::new();
    for instance in &found {
        if instance.state == InstanceState::Running {
            up.push(instance.clone());
            continue;
        }
        match restart(core, app, kept, &engine, instance, color).await {
            Ok(instance) => {
                // Docker may have given it another address and the alias back; the engine knows.
                *told = false;
                up.push(release.at_its_port(instance));
            }
            Err((wait, warning)) => {
                look.again = Some(look.again.map_or(wait, |again| again.min(wait)));
                look.warnings.push(warning);
            }
        }
    }
    let missing = missing(&release, &found);
    if !missing.is_empty() {
        *told = false;
        up.extend(start(core, app, &engine, &release, color, &missing).await?);
    }
    if !*told {
        let slot = slot(app, color);
        engine
            .set_live(&slot, &release.filled(color)?, true)
            .await?;
        shields(core, app, &engine, color).await;
        if let Err(reason) = activate::tell(core, &release, color, true).await {
            look.warnings.push(reason);
            look.again = Some(AGAIN);
        }
        *told = true;
    }
    previewed(core, app, kept, &mut look).await;
    drop(changing);
    for instance in up {
        route(core, app, kept, &engine, &release, color, instance).await;
    }
    // While an old color ends, what plain Compose runs may be `r0`.
    let old = match core.store.slot(app, color.other()).await?.release {
        Some(old) => core.store.release(app, old).await?,
        None => None,
    };
    let adopted: Vec<_> = [Some(&release), old.as_ref()]
        .into_iter()
        .flatten()
        .flat_map(|release| release.adopted.values().flatten())
        .collect();
    let stray = came_back(app, &engine, &release, &adopted).await;
    look.warnings.extend(stray);
    Ok(look)
}

/// The test server is part of what runs, and must never hold up the live color.
async fn previewed(core: &Arc<Core>, app: &AppName, kept: &Kept, look: &mut Look) {
    let may_start = || kept.restart_wait("the preview", 0, Instant::now());
    let waits = match preview::put_right(core, app, &may_start).await {
        Ok(None) => return,
        Ok(Some(waits)) => waits,
        Err(error) => format!("preview: {error}"),
    };
    look.warnings.push(waits);
    look.again = Some(look.again.map_or(AGAIN, |again| again.min(AGAIN)));
}

/// As the daemon that has just started finds the colors: an engine forgets with it.
async fn shields(core: &Core, app: &AppName, engine: &Arc<dyn Engine>, live: Color) {
    step::shield(core, engine, &slot(app, live), Shield::None).await;
    let other = core.store.slot(app, live.other()).await.ok();
    let wanted = match other.map(|slot| slot.role) {
        Some(SlotRole::Preview | SlotRole::Warm) => Shield::Candidate,
        Some(SlotRole::Draining) => Shield::Leaving,
        // A candidate is its deploy's.
        _ => return,
    };
    step::shield(core, engine, &slot(app, live.other()), wanted).await;
}

fn slot(app: &AppName, color: Color) -> Slot {
    Slot {
        app: app.clone(),
        color,
    }
}

/// One per service and replica: a process that was started again has another id, and its former life
/// may still be listed.
fn latest(mut found: Vec<Instance>) -> Vec<Instance> {
    let rank = |instance: &Instance| {
        (
            instance.state == InstanceState::Running,
            instance.started_at,
        )
    };
    found.sort_by_key(|instance| std::cmp::Reverse(rank(instance)));
    let mut kept: Vec<Instance> = Vec::new();
    for instance in found {
        let known = kept
            .iter()
            .any(|k| (&k.service, k.replica) == (&instance.service, instance.replica));
        if !known {
            kept.push(instance);
        }
    }
    kept
}

/// Services of which nothing exists: after a reboot, or removed by hand. Also of `r0`, whose adopted
/// containers plain Compose may replace: it is started as it was.
fn missing(release: &Release, found: &[Instance]) -> Vec<String> {
    release
        .project
        .services
        .iter()
        .filter(|service| service.replicas > 0)
        .filter(|service| {
            found
                .iter()
                .all(|instance| instance.service != service.name)
        })
        .map(|service| service.name.clone())
        .collect()
}

/// Starts one again; the error says how long to wait, and what a person should know.
async fn restart(
    core: &Arc<Core>,
    app: &AppName,
    kept: &Kept,
    engine: &Arc<dyn Engine>,
    instance: &Instance,
    color: Color,
) -> Result<Instance, (Duration, String)> {
    let name = format!("{} {} ({color})", instance.service, instance.replica);
    let how = match &instance.state {
        InstanceState::Exited(exit) => exit.to_string(),
        InstanceState::Created | InstanceState::Running => "it does not run".to_owned(),
    };
    if let Err(error) = core.routes.unroute(app, &instance.id).await {
        tracing::error!(%app, "{error}");
    }
    let wait = kept.restart_wait(&instance.service, instance.replica, Instant::now());
    if !wait.is_zero() {
        let text = format!(
            "{name} ended: {how}; starting it again in {:.1} s",
            wait.as_secs_f32()
        );
        return Err((wait, text));
    }
    match engine.restart(&instance.id).await {
        Ok(restarted) => {
            let text = format!("{name} ended: {how}; started again");
            core.event(Some(app), "instance_restarted", text).await;
            Ok(restarted)
        }
        Err(error) => Err((AGAIN, format!("{name} ended: {how}; {error}"))),
    }
}

async fn start(
    core: &Arc<Core>,
    app: &AppName,
    engine: &Arc<dyn Engine>,
    release: &Release,
    color: Color,
    services: &[String],
) -> Result<Vec<Instance>, DeployError> {
    let rendering = release.filled(color)?;
    let started = engine
        .start(Start {
            slot: &slot(app, color),
            release: release.id.0,
            role: Role::Live,
            rendering: &rendering,
            services,
            replicas: Replicas::All,
            shielded: false,
        })
        .await?;
    let text = format!(
        "{} of {} ({color}) started again",
        services.join(", "),
        release.id
    );
    core.event(Some(app), "instance_restarted", text).await;
    Ok(started)
}

/// Routes an instance of the live color: at once when it was routed there before, else when it is ready.
async fn route(
    core: &Arc<Core>,
    app: &AppName,
    kept: &Arc<Kept>,
    engine: &Arc<dyn Engine>,
    release: &Release,
    color: Color,
    instance: Instance,
) {
    let Some(live) = core.routes.live(app).await else {
        return;
    };
    let serves = release.routed().any(|s| s.name == instance.service);
    let routed = live
        .instances()
        .iter()
        .any(|known| (&known.id, known.address) == (&instance.id, instance.address));
    if !serves || routed || !kept.await_once(&instance.id) {
        return;
    }
    let wait = Wait {
        core: Arc::clone(core),
        app: app.clone(),
        kept: Arc::clone(kept),
        engine: Arc::clone(engine),
        release: release.clone(),
        color,
    };
    core.spawn(async move {
        let id = instance.id.clone();
        let routed = wait.until_ready(instance).await;
        wait.kept.awaited(&id);
        if !routed {
            wait.core.wake(&wait.app);
        }
    });
}

/// Waits for one instance that is to be routed.
struct Wait {
    core: Arc<Core>,
    app: AppName,
    kept: Arc<Kept>,
    engine: Arc<dyn Engine>,
    release: Release,
    color: Color,
}

impl Wait {
    /// False when it ended, moved or was overtaken by a switch first.
    async fn until_ready(&self, instance: Instance) -> bool {
        let Some(service) = self.release.service(&instance.service) else {
            return true;
        };
        let history = History::new();
        let check = Check {
            engine: &self.engine,
            service,
            instance: &instance,
        };
        tokio::select! {
            () = check.until_healthy(&history, &|_| {}) => {}
            () = self.until_changed(&instance) => return false,
        }
        // Not under the switch's feet: the color may have been left in this moment.
        let _changing = self.kept.change().await;
        if !self.is_live(self.release.id).await {
            return true;
        }
        if self.core.routes.is_stopped(&self.app).await
            && let Err(error) =
                attach_streams::reopen(&self.core, &self.release, self.color, &instance).await
        {
            tracing::error!(app = %self.app, "{error}");
        }
        match self
            .core
            .routes
            .route(&self.app, self.color, &instance)
            .await
        {
            Ok(true) => {
                // It knows nothing of what its former life was told.
                let told = std::slice::from_ref(&instance);
                if let Err(reason) =
                    activate::tell_these(&self.core, &self.release, told, true).await
                {
                    self.core.event(Some(&self.app), "warning", reason).await;
                }
                let text = format!(
                    "{} {} ({}) serves again",
                    instance.service, instance.replica, self.color
                );
                self.core
                    .event(Some(&self.app), "instance_back", text)
                    .await;
                self.core.remember(&self.app).await;
                true
            }
            Ok(false) => true,
            Err(error) => {
                tracing::error!(app = %self.app, "{error}");
                true
            }
        }
    }

    async fn is_live(&self, release: ReleaseId) -> bool {
        let live = self.core.routes.live(&self.app).await;
        live.is_some_and(|live| (live.color, live.release) == (self.color, release))
    }

    async fn until_changed(&self, instance: &Instance) {
        loop {
            sleep(INSPECT).await;
            if !self.is_live(self.release.id).await {
                return;
            }
            match self.core.inspect(&self.release, &instance.id).await {
                Ok(Some(now))
                    if now.state == InstanceState::Running && now.address == instance.address => {}
                Ok(_) => return,
                Err(_) => {}
            }
        }
    }
}

/// Someone started a service again with plain `docker compose up`: it gets no traffic of Baton's, but
/// it answers to the same name inside the machine and holds memory.
async fn came_back(
    app: &AppName,
    engine: &Arc<dyn Engine>,
    release: &Release,
    adopted: &[&InstanceId],
) -> Option<String> {
    let mut names = Vec::new();
    for service in &release.project.services {
        let plain = engine.plain_instances(app, &service.name);
        let found = ask("list plain instances", plain).await.ok()?;
        let stray = found.iter().any(|instance| {
            instance.state == InstanceState::Running && !adopted.contains(&&instance.id)
        });
        if stray {
            names.push(service.name.as_str());
        }
    }
    (!names.is_empty()).then(|| {
        let names = names.join(" ");
        format!(
            "plain Compose runs {names} of {app} beside Baton; stop it with `docker compose -p {app} stop {names}`"
        )
    })
}
