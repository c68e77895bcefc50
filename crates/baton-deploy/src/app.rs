//! Commands about an app as a whole: pause, resume, remove; and which app a command means.

use std::sync::Arc;

use baton_compose::{AppName, Color};
use baton_engine::Slot;

use crate::core::{Core, ask};
use crate::drain::{self, Leaving, Settled, Unrouted};
use crate::error::DeployError;
use crate::images;
use crate::launch;
use crate::lock::Busy;
use crate::preview;
use crate::running::{RunningDeploy, Tail};
use crate::slots::SlotRole;
use crate::tail;

impl Core {
    /// # Errors
    /// No such app.
    pub(crate) async fn known(&self, app: &AppName) -> Result<(), DeployError> {
        let apps = self.store.apps().await?;
        if apps.contains(app) {
            return Ok(());
        }
        Err(no_such_app(app.as_str(), &apps))
    }

    /// An app's first deploy may run before it is known.
    pub(crate) async fn known_or_deploying(&self, app: &AppName) -> Result<(), DeployError> {
        if self.locks.holder(app).is_some() {
            return Ok(());
        }
        self.known(app).await
    }
}

fn no_such_app(name: &str, apps: &[AppName]) -> DeployError {
    let known: Vec<_> = apps.iter().map(AppName::as_str).collect();
    DeployError::NoSuchApp {
        app: name.to_owned(),
        known: if known.is_empty() {
            "none yet".to_owned()
        } else {
            known.join(", ")
        },
    }
}

pub(crate) async fn named(core: &Core, name: Option<&str>) -> Result<AppName, DeployError> {
    let apps = core.store.apps().await?;
    match (name, apps.as_slice()) {
        (Some(name), _) => apps
            .iter()
            .find(|app| app.as_str() == name)
            .cloned()
            .ok_or_else(|| no_such_app(name, &apps)),
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(DeployError::Usage(
            "no app has been deployed yet; `baton deploy` in the folder of its compose file"
                .to_owned(),
        )),
        (None, _) => Err(DeployError::Usage(format!(
            "several apps run here, say which with --app: {}",
            apps.iter()
                .map(AppName::as_str)
                .collect::<Vec<_>>()
                .join(", ")
        ))),
    }
}

pub(crate) async fn remove(core: &Arc<Core>, app: &AppName) -> Result<(), DeployError> {
    core.known(app).await?;
    launch::end_watch(core, app).await;
    // Not a deploy, but nobody may deploy meanwhile.
    let lock = core
        .locks
        .try_take(&RunningDeploy::removal(app.clone()))
        .map_err(|busy| match busy {
            Busy::Now(holder) => Busy::Now(holder).error(),
            other @ (Busy::DisplacedBy(_) | Busy::Frozen) => other.error(),
        })?;
    if let Some(tail) = core.tail(app) {
        // What it waited for is not waited for here: its color is drained below.
        tail.leave();
        tail.ended().await;
    }
    let keeper = core.hold_keeper(app).await;
    for color in Color::BOTH {
        preview::evict_held(core, app, color, &|text| tracing::info!(%app, "{text}")).await?;
    }
    core.routes.remove(app).await?;
    for color in Color::BOTH {
        end_color(core, app, color).await?;
    }
    for engine in core.engines.values() {
        if let Err(error) = ask("forget the app", engine.forget(app)).await {
            tracing::warn!(%app, "{error}");
        }
    }
    images::remove_all(core, app).await;
    core.store.remove_app(app).await?;
    core.supervision.forget(app);
    core.warn(app, tail::TAKEN_BACK, None);
    drop(keeper);
    core.event(Some(app), "removed", format!("{app} removed"))
        .await;
    drop(lock);
    Ok(())
}

/// Drains a color by its release's own rules and stops it. What was adopted runs on.
async fn end_color(core: &Arc<Core>, app: &AppName, color: Color) -> Result<(), DeployError> {
    let slot = core.store.slot(app, color).await?;
    let release = match slot.release {
        Some(id) => core.store.release(app, id).await?,
        None => None,
    };
    let Some(release) = release else {
        return Ok(());
    };
    let engine = core.engine(release.engine())?;
    let place = Slot {
        app: app.clone(),
        color,
    };
    // Streams do not hold it for minutes: whoever removes an app waits for it. Messages stay where
    // they are: nothing takes the place of what handled them.
    let alone = Tail::new(0, color);
    alone.shorten();
    let unrouted = Unrouted::removed(core, place.clone()).await?;
    let leaving = Leaving {
        core: Arc::clone(core),
        release: release.clone(),
        color,
        tail: alone,
        note: drain::to_log(app, color),
    };
    let settled = Settled {
        successor: None,
        before: &Default::default(),
        may_fail: false,
    };
    let drained = leaving.drain(unrouted, settled).await?;
    // Nobody can ask this tail to leave the color.
    if let Some(drained) = drained {
        engine
            .set_live(&place, &release.filled(color)?, false)
            .await?;
        drained.clear(&engine).await?;
    }
    core.store.set_slot(app, color, SlotRole::Empty, None).await
}
