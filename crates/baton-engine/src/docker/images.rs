//! Images of releases: named so that they stay, and pruned when they are old.

use std::collections::HashMap;

use baton_compose::AppName;
use baton_compose::rendering::{ColoredService, ComposeModel};
use bollard::Docker;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
    TagImageOptionsBuilder,
};

use crate::docker::client::{call, failed, is_gone, reason, status};
use crate::{EngineError, Start};

/// `baton/shop-api`, the name under which an app's releases keep their images.
fn repository(app: &AppName, service: &str) -> String {
    // A repository name is lower case; a service name need not be.
    format!("baton/{app}-{}", service.to_ascii_lowercase())
}

/// The image that the rendering names for this service. `image prune -a` takes everything but what a
/// container holds (Engines.md §1): said before anything is touched.
pub(super) async fn require(
    docker: &Docker,
    model: &ComposeModel,
    service: &ColoredService,
) -> Result<String, EngineError> {
    let definition = &model.model["services"][&service.colored_name];
    let Some(image) = definition["image"].as_str() else {
        return Err(EngineError::Start {
            what: service.name.clone(),
            reason: "its rendering names no image".to_owned(),
        });
    };
    match call(docker.inspect_image(image)).await {
        Ok(_) => Ok(image.to_owned()),
        Err(error) if is_gone(&error) => Err(EngineError::ImageGone {
            image: image.to_owned(),
        }),
        Err(error) => Err(failed(format!("looking for the image {image}"))(error)),
    }
}

/// `baton/<app>-<service>:rN`, so that a later pull or build of the same name does not leave this
/// release's image nameless.
pub(super) async fn tag(
    docker: &Docker,
    start: &Start<'_>,
    service: &str,
    image: &str,
) -> Result<(), EngineError> {
    let repository = repository(&start.slot.app, service);
    let release = format!("r{}", start.release);
    let options = TagImageOptionsBuilder::default()
        .repo(&repository)
        .tag(&release)
        .build();
    call(docker.tag_image(image, Some(options)))
        .await
        .map_err(failed(format!("tagging {image} as {repository}:{release}")))
}

/// See [`crate::Engine::prune_images`].
pub(super) async fn prune(
    docker: &Docker,
    app: &AppName,
    service: &str,
    keep: usize,
) -> Result<Vec<String>, EngineError> {
    let repository = repository(app, service);
    let mut releases = releases(docker, &repository).await?;
    releases.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut pruned = Vec::new();
    for (number, id) in releases.into_iter().skip(keep) {
        if held(docker, &id).await? {
            continue;
        }
        let name = format!("{repository}:r{number}");
        match remove(docker, &name).await? {
            true => pruned.push(name),
            false => continue,
        }
        // One that was pulled keeps its digest as a reference; without a tag nobody can want it.
        let tagged = call(docker.inspect_image(&id))
            .await
            .is_ok_and(|image| image.repo_tags.is_none_or(|tags| !tags.is_empty()));
        if !tagged {
            remove(docker, &id).await?;
        }
    }
    Ok(pruned)
}

/// Number and image id of each tag `rN`.
async fn releases(docker: &Docker, repository: &str) -> Result<Vec<(u64, String)>, EngineError> {
    let filters = HashMap::from([("reference", vec![repository])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = call(docker.list_images(Some(options)))
        .await
        .map_err(failed(format!("listing the images {repository}")))?;
    let prefix = format!("{repository}:r");
    Ok(images
        .into_iter()
        .flat_map(|image| {
            let prefix = &prefix;
            let id = image.id;
            image
                .repo_tags
                .into_iter()
                .filter_map(move |tag| Some((tag.strip_prefix(prefix)?.parse().ok()?, id.clone())))
                .collect::<Vec<_>>()
        })
        .collect())
}

/// Does any container, running or not, hold this image?
async fn held(docker: &Docker, id: &str) -> Result<bool, EngineError> {
    let filters = HashMap::from([("ancestor", vec![id])]);
    let options = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let containers = call(docker.list_containers(Some(options)))
        .await
        .map_err(failed("listing containers"))?;
    Ok(!containers.is_empty())
}

/// False when the engine says that it is in use, or gone already.
async fn remove(docker: &Docker, name: &str) -> Result<bool, EngineError> {
    match call(docker.remove_image(name, None::<RemoveImageOptions>, None)).await {
        Ok(_) => Ok(true),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) if status(&error) == Some(409) => {
            tracing::info!(image = name, why = reason(&error), "an old image stays");
            Ok(false)
        }
        Err(error) => Err(failed(format!("removing the image {name}"))(error)),
    }
}
