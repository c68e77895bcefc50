//! *fetch*: the command line pulls or builds while nothing else changes; this step waits for the image
//! IDs and makes the release's record.

use std::time::Duration;

use baton_compose::project::FetchedImages;
use baton_compose::{Project, Role};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{StepError, StepResult, Walk};
use crate::error::DeployError;
use crate::plan::StepName;
use crate::release::{Release, ReleaseId};
use crate::work::Work;

const STEP: StepName = StepName::Fetch;

/// Nobody follows any more: the command line, which fetches, is gone.
const ABANDONED: Duration = Duration::from_secs(10);

pub(super) async fn run(walk: &mut Walk) -> StepResult {
    let (project, images, force) = match &walk.work {
        Work::Deploy { project, force, .. } | Work::Stage { project, force } => {
            (project.clone(), images(walk, project).await?, *force)
        }
        Work::Promote { project, staged } => {
            (project.clone(), images_of(walk, *staged).await?, true)
        }
        // `--env current`: today's configuration, the old images.
        Work::Rollback {
            current: Some(project),
            to: Some(to),
        } => (project.clone(), images_of(walk, *to).await?, true),
        _ => return Ok(json!({})),
    };
    for image in images.values() {
        walk.note(STEP, format!("{} is {}", image.reference, image.id));
    }
    if !force
        && let Some((same, what)) = there_already(walk).await?
        && same.is_same_as(&project, &images)
    {
        return Err(StepError::NothingToDo(format!(
            "nothing to do: image and configuration are those of {}, which is {what}; --force does it again",
            same.id
        )));
    }
    let release = Release {
        id: walk.plan.release,
        app: walk.deploy.app.clone(),
        project,
        images,
        adopted: Default::default(),
        created_at: time::OffsetDateTime::now_utc(),
    };
    walk.core.store.put_release(&release).await?;
    walk.release = Some(release);
    Ok(json!({ "release": walk.plan.release }))
}

/// What it would only repeat: what is live, or of a stage what is staged.
async fn there_already(walk: &Walk) -> Result<Option<(Release, &'static str)>, DeployError> {
    let (core, app) = (&walk.core, &walk.deploy.app);
    match walk.role() {
        Role::Live => Ok(walk.previous.clone().map(|live| (live, "live"))),
        Role::Preview => {
            let staged = match core.store.staged(app).await? {
                Some(id) => core.store.release(app, id).await?,
                None => None,
            };
            Ok(staged.map(|staged| (staged, "staged")))
        }
    }
}

/// Those of an earlier release.
async fn images_of(walk: &Walk, id: ReleaseId) -> Result<FetchedImages, DeployError> {
    let app = &walk.deploy.app;
    let old = walk.core.store.release(app, id).await?;
    old.map(|old| old.images)
        .ok_or_else(|| DeployError::Usage(format!("{app} has no release {id} any more")))
}

/// What the command line hands in. A project without images (process engine) has nothing to fetch.
async fn images(walk: &Walk, project: &Project) -> Result<FetchedImages, StepError> {
    if project
        .services
        .iter()
        .all(|service| service.image.is_none())
    {
        return Ok(FetchedImages::new());
    }
    let deploy = &walk.deploy;
    let fetched = tokio::select! {
        fetched = deploy.images() => fetched,
        () = deploy.cancelled() => return Err(StepError::Cancelled("cancelled".to_owned())),
        () = abandoned(walk) => return Err(StepError::Cancelled(format!(
            "the command that fetches the image went away; cancelled after {} s",
            ABANDONED.as_secs()
        ))),
    };
    let images = fetched.map_err(|reason| StepError::Release {
        message: format!(
            "the image could not be fetched: {reason}; {}",
            walk.untouched()
        ),
        failure: None,
    })?;
    let missing = project
        .services
        .iter()
        .find(|service| service.image.is_some() && !images.contains_key(&service.name));
    match missing {
        Some(service) => Err(StepError::Error(DeployError::Usage(format!(
            "no image was handed in for service {}",
            service.name
        )))),
        None => Ok(images),
    }
}

/// Ends when nobody has followed for a while.
async fn abandoned(walk: &Walk) {
    let mut alone_since = Instant::now();
    loop {
        if walk.deploy.feed.followers() > 0 {
            alone_since = Instant::now();
        } else if alone_since.elapsed() >= ABANDONED {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}
