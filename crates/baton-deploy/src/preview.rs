//! The test server in the idle color: what is staged runs there whenever nothing else needs the place.
//!
//! Which release is staged stands in the database (`staged`), apart from what runs: a deploy evicts the
//! preview and needs no memory of its own to bring it back, nor does a reboot. The app's keeper starts
//! what should be there and is not.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::{AppName, Color, Role};
use baton_engine::{Engine, Instance, InstanceState, Replicas, Slot, Start};

use crate::core::Core;
use crate::drain::{self, Leaving, Unrouted};
use crate::error::DeployError;
use crate::health::Check;
use crate::release::Release;
use crate::router::Page;
use crate::routes::Previewed;
use crate::running::Tail;
use crate::slots::SlotRole;

/// What the preview hosts say while the staged release makes room for a deploy.
const RETURNS: Duration = Duration::from_secs(30);

/// The page of preview hosts that reach nothing.
pub(crate) fn page(app: &AppName, text: &str, retry_after: Option<Duration>) -> Page {
    Page {
        status: 503,
        body: format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{app}: preview</title>\
             <style>body{{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1rem;color-scheme:light dark}}</style>\
             <h1>{text}</h1><p>This is the preview of <b>{app}</b>. <code>baton stage</code> puts a release here.</p></html>\n"
        )
        .into(),
        retry_after,
    }
}

fn nothing_staged(app: &AppName) -> Page {
    page(app, "Nothing is staged", None)
}

/// Ends what is previewed in `color`, so that a deploy may have the place. It stays staged.
pub(crate) async fn evict(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<(), DeployError> {
    // Neither while the keeper starts it, nor again after this.
    let _keeper = core.hold_keeper(app).await;
    evict_held(core, app, color, note).await
}

/// The same for whoever holds the keeper's lock.
pub(crate) async fn evict_held(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    note: &(dyn Fn(String) + Send + Sync),
) -> Result<(), DeployError> {
    let slot = core.store.slot(app, color).await?;
    if slot.role != SlotRole::Preview {
        return Ok(());
    }
    let Some(release) = release(core, app, slot.release).await? else {
        return core.store.set_slot(app, color, SlotRole::Empty, None).await;
    };
    note(format!("the preview of {} makes room", release.id));
    let text = page(
        app,
        "The preview makes room for a deploy and comes back",
        Some(RETURNS),
    );
    let away = Previewed::nothing(&release, text);
    core.routes
        .preview(app, away, Box::pin(async { Ok(()) }))
        .await?;
    let place = Slot {
        app: app.clone(),
        color,
    };
    let alone = Tail::new(0, color);
    // Nobody waits minutes for a test server's streams.
    alone.shorten();
    let leaving = Leaving {
        core: Arc::clone(core),
        release: release.clone(),
        color,
        tail: alone,
        note: drain::to_log(app, color),
    };
    let unrouted = Unrouted::evicted(core, place).await?;
    if let Some(requests) = unrouted.requests(&leaving).await?
        && let Some(drained) = requests.preview(&leaving).await?
    {
        drained.clear(&core.engine(release.engine())?).await?;
    }
    core.store.set_slot(app, color, SlotRole::Empty, None).await
}

async fn release(
    core: &Core,
    app: &AppName,
    id: Option<crate::release::ReleaseId>,
) -> Result<Option<Release>, DeployError> {
    match id {
        Some(id) => core.store.release(app, id).await,
        None => Ok(None),
    }
}

/// Looks whether the preview hosts reach what they should, and puts it right: started if it is not
/// there and the place is free, routed if it is ready. Called with the keeper's lock held. The error,
/// or what is waited for, is a warning of the app.
pub(crate) async fn put_right(
    core: &Arc<Core>,
    app: &AppName,
    may_start: &(dyn Fn() -> Duration + Send + Sync),
) -> Result<Option<String>, DeployError> {
    let live = core.live_release(app).await?;
    let staged = release(core, app, core.store.staged(app).await?).await?;
    let Some(staged) = staged else {
        if let Some((_, live)) = live {
            say(core, app, &live, nothing_staged(app)).await?;
        }
        return Ok(None);
    };
    let color = live
        .as_ref()
        .map_or(Color::Blue, |(color, _)| color.other());
    let slot = core.store.slot(app, color).await?;
    let here = slot.role == SlotRole::Preview && slot.release == Some(staged.id);
    let free = slot.role == SlotRole::Empty
        && core.locks.holder(app).is_none()
        && core.tail(app).is_none();
    if !here && !free {
        let text = page(
            app,
            "The preview makes room for a deploy and comes back",
            Some(RETURNS),
        );
        say(core, app, &staged, text).await?;
        return Ok(None);
    }
    let engine = core.engine(staged.engine())?;
    let mut running = core.running_instances(&staged, color).await?;
    let services = staged.before_switch(Role::Preview);
    let complete = services
        .iter()
        .all(|name| running.iter().any(|instance| instance.service == *name));
    if !complete {
        let wait = may_start();
        // One boots at a time on a machine.
        let Ok(_turn) = Arc::clone(&core.boots).try_acquire_owned() else {
            return Ok(Some(format!(
                "{} is previewed once nothing else starts",
                staged.id
            )));
        };
        if !wait.is_zero() {
            return Ok(Some(format!(
                "the preview of {} ended; it is started again in {:.1} s",
                staged.id,
                wait.as_secs_f32()
            )));
        }
        core.store
            .set_slot(app, color, SlotRole::Preview, Some(staged.id))
            .await?;
        running = start(&engine, &staged, color, &services).await?;
        let text = format!("{} ({color}) is previewed again", staged.id);
        core.event(Some(app), "preview_started", text).await;
    }
    let waits = ready(&engine, &staged, &running).await;
    let previewed = Previewed::new(&staged, &waits.ready);
    let routed = core.routes.previewed(app).await;
    if routed.is_none_or(|routed| routed.differs(&previewed)) {
        core.routes
            .preview(app, previewed, Box::pin(async { Ok(()) }))
            .await?;
    }
    Ok((!waits.missing.is_empty())
        .then(|| format!("the preview of {}: {}", staged.id, waits.missing.join("; "))))
}

async fn say(core: &Core, app: &AppName, release: &Release, page: Page) -> Result<(), DeployError> {
    let previewed = Previewed::nothing(release, page);
    let now = core.routes.previewed(app).await;
    if now.is_none_or(|now| now.differs(&previewed)) {
        core.routes
            .preview(app, previewed, Box::pin(async { Ok(()) }))
            .await?;
    }
    Ok(())
}

async fn start(
    engine: &Arc<dyn Engine>,
    staged: &Release,
    color: Color,
    services: &[String],
) -> Result<Vec<Instance>, DeployError> {
    let rendering = staged.filled_as(color, Role::Preview)?;
    let slot = Slot {
        app: staged.app.clone(),
        color,
    };
    let started = engine
        .start(Start {
            slot: &slot,
            release: staged.id.0,
            role: Role::Preview,
            rendering: &rendering,
            services,
            replicas: Replicas::All,
            shielded: true,
        })
        .await?;
    let running = started
        .into_iter()
        .filter(|i| i.state == InstanceState::Running);
    Ok(running.collect())
}

struct Waits {
    ready: Vec<Instance>,
    missing: Vec<String>,
}

/// One look at each: what is not ready now is looked at again by the keeper.
async fn ready(engine: &Arc<dyn Engine>, staged: &Release, running: &[Instance]) -> Waits {
    let mut waits = Waits {
        ready: Vec::new(),
        missing: Vec::new(),
    };
    for instance in running {
        let Some(service) = staged.service(&instance.service) else {
            continue;
        };
        let check = Check {
            engine,
            service,
            instance,
        };
        let look = check.look().await;
        if look.healthy {
            waits.ready.push(instance.clone());
        } else {
            let name = format!("{} {}", instance.service, instance.replica);
            waits.missing.push(format!("{name}: {}", look.result));
        }
    }
    waits
}
