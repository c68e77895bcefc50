//! What happens to a color after it is not live any more, beside the steps of a deploy.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::{AppName, Color};
use futures_util::future::BoxFuture;

use crate::core::{Core, ask};
use crate::drain::{self, Leaving, Settled, Successor, Unrouted};
use crate::error::DeployError;
use crate::launch::launch;
use crate::machine;
use crate::running::{Hurry, Tail};
use crate::slots::SlotRole;
use crate::work::Work;

/// Which warning of `status` says that a deploy was taken back.
pub(crate) const TAKEN_BACK: &str = "taken back";

/// How long a deploy that runs just then may keep a way back waiting.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What becomes of a color once it has drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    /// It stays up as long as its policy says.
    Warm,
    /// It was taken back: nobody wants it again.
    End,
    /// And something waits for its place.
    EndNow,
}

/// A color that has no deploy to end it: a warm one whose rollback was cancelled, or what a crash
/// left. Drains, stays warm as long as its policy says, is stopped; all in the background.
pub(crate) async fn linger(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    deploy: i64,
    after: After,
) -> Result<(), DeployError> {
    let slot = core.store.slot(app, color).await?;
    if matches!(
        slot.role,
        SlotRole::Live | SlotRole::Preview | SlotRole::Empty
    ) {
        return Ok(());
    }
    core.store
        .set_slot(app, color, SlotRole::Draining, slot.release)
        .await?;
    let tail = core.begin_tail(app, deploy, color);
    if after == After::EndNow {
        tail.shorten();
    }
    let (inner, app) = (Arc::clone(core), app.clone());
    core.spawn(async move {
        let mut pause = Duration::from_secs(1);
        loop {
            match end(&inner, &app, color, &tail, after).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%app, %color, "cannot stop the old color yet: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(30));
                }
            }
        }
        inner.end_tail(&app, &tail);
        // The place is free: a preview may come back.
        inner.wake(&app);
    });
    Ok(())
}

/// Boxed: a drain may begin a deploy, whose undo lingers.
fn end<'a>(
    core: &'a Arc<Core>,
    app: &'a AppName,
    color: Color,
    tail: &'a Arc<Tail>,
    after: After,
) -> BoxFuture<'a, Result<(), DeployError>> {
    Box::pin(end_now(core, app, color, tail, after))
}

async fn end_now(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    tail: &Arc<Tail>,
    after: After,
) -> Result<(), DeployError> {
    let slot = core.store.slot(app, color).await?;
    let Some(id) = slot.release else {
        return core.store.set_slot(app, color, SlotRole::Empty, None).await;
    };
    let Some(mut release) = core.store.release(app, id).await? else {
        return clear_unknown(core, app, color).await;
    };
    let instances = core.instances(&release, color).await?;
    let unrouted = Unrouted::new(core, app, color).await?;
    let live = core.live_release(app).await?;
    let leaving = Leaving {
        core: Arc::clone(core),
        release: release.clone(),
        color,
        tail: Arc::clone(tail),
        note: drain::to_log(app, color),
    };
    let settled = Settled {
        successor: live.as_ref().map(|(color, release)| Successor {
            release,
            color: *color,
        }),
        before: &Default::default(),
        may_fail: false,
    };
    let Some(mut drained) = leaving.drain(unrouted, settled).await? else {
        return Ok(());
    };
    let warm = crate::step::warm_for(&release);
    let warms = after == After::Warm && !drained.leaves_messages();
    if warms && !warm.is_zero() && !instances.is_empty() {
        core.store
            .set_slot(app, color, SlotRole::Warm, Some(id))
            .await?;
        tokio::select! {
            () = tokio::time::sleep(warm) => {}
            () = tail.asked(Hurry::Shorten) => {}
            () = machine::memory_short(release.engine()) => {}
        }
    }
    if !tail.begin_stop() {
        return Ok(());
    }
    let engine = core.engine(release.engine())?;
    if !release.adopted.is_empty() {
        drained.stop_adopted(&engine, &release).await?;
        release.adopted.clear();
        core.store.put_release(&release).await?;
    }
    drained.clear(&engine).await?;
    let mut moved = crate::redis::Moved::default();
    drained.carry_messages(&mut moved).await?;
    if moved.total() > 0 {
        let text = format!("{} messages of {id} ({color}) moved", moved.total());
        core.event(Some(app), "messages_moved", text).await;
    }
    core.store.set_slot(app, color, SlotRole::Empty, None).await
}

/// Messages are left on the old color and its policy says `fail`: a switch back is begun, which will
/// ask `tail` to leave the color alone.
pub(crate) async fn take_back(core: &Arc<Core>, app: &AppName, color: Color, tail: &Tail) {
    tail.set_taken_back();
    let work = Work::Switch { to: Some(color) };
    let by = Some("baton (leftover: fail)".to_owned());
    let text = match launch(core, app.clone(), work, Some(PATIENCE), by).await {
        Ok(back) => format!(
            "deploy {} is taken back by deploy {}: messages were left on {color}",
            tail.deploy, back.deploy
        ),
        Err(error) => format!("deploy {} cannot be taken back: {error}", tail.deploy),
    };
    core.warn(app, TAKEN_BACK, Some(text.clone()));
    core.event(Some(app), "taken_back", text).await;
}

/// A slot whose release has no record: every engine is asked to clear it.
async fn clear_unknown(core: &Core, app: &AppName, color: Color) -> Result<(), DeployError> {
    let slot = baton_engine::Slot {
        app: app.clone(),
        color,
    };
    for engine in core.engines.values() {
        let there = ask("list instances", engine.instances(&slot)).await?;
        if !there.is_empty() {
            drain::never_served(core, app, color, &there)
                .await?
                .clear(engine)
                .await?;
        }
    }
    core.store.set_slot(app, color, SlotRole::Empty, None).await
}
