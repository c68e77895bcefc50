//! What happens to a color after it is not live any more, beside the steps of a deploy.

use std::sync::Arc;

use baton_compose::{AppName, Color};

use crate::core::{Core, ask};
use crate::drain::{self, Unrouted};
use crate::error::DeployError;
use crate::running::Hurry;
use crate::slots::SlotRole;

/// A color that has no deploy to end it: a warm one whose rollback was cancelled, or what a crash
/// left. Drains, stays warm as long as its policy says, is stopped; all in the background.
pub(crate) async fn linger(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    deploy: i64,
) -> Result<(), DeployError> {
    let slot = core.store.slot(app, color).await?;
    if matches!(slot.role, SlotRole::Live | SlotRole::Empty) {
        return Ok(());
    }
    core.store
        .set_slot(app, color, SlotRole::Draining, slot.release)
        .await?;
    let tail = core.begin_tail(app, deploy, color);
    let (inner, app) = (Arc::clone(core), app.clone());
    core.spawn(async move {
        let mut pause = std::time::Duration::from_secs(1);
        loop {
            match end(&inner, &app, color, &tail).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::warn!(%app, %color, "cannot stop the old color yet: {error}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(std::time::Duration::from_secs(30));
                }
            }
        }
        inner.end_tail(&app, &tail);
    });
    Ok(())
}

async fn end(
    core: &Arc<Core>,
    app: &AppName,
    color: Color,
    tail: &crate::running::Tail,
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
    let drained = unrouted
        .drain(&instances, &drain::rules(&release), tail, &|text| {
            tracing::info!(%app, %color, "{text}");
        })
        .await;
    let Some(drained) = drained else {
        return Ok(());
    };
    let warm = crate::step::warm_for(&release);
    if slot.role != SlotRole::Candidate && !warm.is_zero() && !instances.is_empty() {
        core.store
            .set_slot(app, color, SlotRole::Warm, Some(id))
            .await?;
        tokio::select! {
            () = tokio::time::sleep(warm) => {}
            () = tail.asked(Hurry::Shorten) => {}
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
    core.store.set_slot(app, color, SlotRole::Empty, None).await
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
