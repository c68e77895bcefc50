//! Images of releases that nobody will want any more (DESIGN.md §5.8).

use std::sync::Arc;

use baton_compose::{AppName, Project};
use baton_engine::Engine;

use crate::core::{Core, ask};
use crate::error::DeployError;
use crate::machine;
use crate::release::Release;

/// So many of the newest releases keep their images, whether they went live or not.
const KEEP: usize = 5;

/// Removes the images of old releases; returns their names. It never stops a deploy: what stays is
/// found the next time.
pub(crate) async fn prune(core: &Core, app: &AppName, engine: &Arc<dyn Engine>) -> Vec<String> {
    let kept = match kept(core, app).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(%app, "old images stay: {error}");
            return Vec::new();
        }
    };
    let releases = core.store.releases(app).await.unwrap_or_default();
    remove(app, engine, &releases, &kept).await
}

/// Removes every image name that Baton gave; the user's own names stay.
pub(crate) async fn remove_all(core: &Core, app: &AppName) {
    let releases = core.store.releases(app).await.unwrap_or_default();
    for engine in core.engines.values() {
        remove(app, engine, &releases, &[]).await;
    }
}

/// The newest releases, those that are in a color, and the one that a rollback goes to.
async fn kept(core: &Core, app: &AppName) -> Result<Vec<u64>, DeployError> {
    let newest = core.store.releases(app).await?;
    let mut kept: Vec<_> = newest.iter().take(KEEP).map(|release| release.id).collect();
    let slots = core.store.slots(app).await?;
    kept.extend(slots.iter().filter_map(|slot| slot.release));
    if let Some((_, live)) = core.live_release(app).await? {
        kept.extend(core.store.live_before(app, live.id).await?);
    }
    Ok(kept.into_iter().map(|id| id.0).collect())
}

async fn remove(
    app: &AppName,
    engine: &Arc<dyn Engine>,
    releases: &[Release],
    kept: &[u64],
) -> Vec<String> {
    let mut services: Vec<&str> = releases
        .iter()
        .flat_map(|release| &release.project.services)
        .map(|service| service.name.as_str())
        .collect();
    services.sort_unstable();
    services.dedup();
    let mut removed = Vec::new();
    for service in services {
        match engine.prune_images(app, service, kept).await {
            Ok(names) => removed.extend(names),
            Err(error) => tracing::warn!(%app, service, "old images stay: {error}"),
        }
    }
    removed
}

/// For preflight: what the kept images of the project's services take.
pub(crate) async fn figures(core: &Core, app: &AppName, project: &Project) -> Vec<String> {
    let Ok(engine) = core.engine(project.engine) else {
        return Vec::new();
    };
    let mut figures = Vec::new();
    for service in &project.services {
        let asked = ask("list images", engine.kept_images(app, &service.name));
        let Ok(kept) = asked.await else { continue };
        if kept.releases.is_empty() {
            continue;
        }
        let releases: Vec<String> = kept.releases.iter().map(|n| format!("r{n}")).collect();
        figures.push(format!(
            "disk: images of {} kept for a rollback ({}) take {}",
            releases.join(", "),
            kept.repository,
            machine::size(kept.bytes)
        ));
    }
    figures
}
