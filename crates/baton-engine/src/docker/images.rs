//! Images of releases: named so that they stay, and pruned when they are old.

use std::collections::HashMap;

use baton_compose::AppName;
use baton_compose::rendering::{ColoredService, ComposeModel};
use bollard::Docker;
use bollard::query_parameters::{
    ListImagesOptionsBuilder, RemoveImageOptions, TagImageOptionsBuilder,
};

use crate::EngineError;
use crate::docker::client::{call, failed, is_gone, reason, status};
use crate::engine::KeptImages;

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
    (app, release): (&AppName, u64),
    service: &str,
    image: &str,
) -> Result<(), EngineError> {
    let repository = repository(app, service);
    let release = format!("r{release}");
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
    keep: &[u64],
) -> Result<Vec<String>, EngineError> {
    let repository = repository(app, service);
    let mut releases = releases(docker, &repository).await?;
    releases.retain(|release| !keep.contains(&release.number));
    releases.sort_unstable_by_key(|release| release.number);
    let mut pruned = Vec::new();
    for Tagged { number, id, .. } in releases {
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

/// See [`crate::Engine::kept_images`].
pub(super) async fn kept(
    docker: &Docker,
    app: &AppName,
    service: &str,
) -> Result<KeptImages, EngineError> {
    let repository = repository(app, service);
    let mut kept = KeptImages::default();
    let mut counted: Vec<String> = Vec::new();
    for release in releases(docker, &repository).await? {
        kept.releases.push(release.number);
        // Several releases may have one image.
        if !counted.contains(&release.id) {
            kept.bytes += release.bytes;
            counted.push(release.id);
        }
    }
    kept.releases.sort_unstable();
    kept.repository = repository;
    Ok(kept)
}

/// A tag `rN`.
struct Tagged {
    number: u64,
    id: String,
    bytes: u64,
}

async fn releases(docker: &Docker, repository: &str) -> Result<Vec<Tagged>, EngineError> {
    let filters = HashMap::from([("reference", vec![repository])]);
    let options = ListImagesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let images = call(docker.list_images(Some(options)))
        .await
        .map_err(failed(format!("listing the images {repository}")))?;
    let prefix = format!("{repository}:r");
    let mut releases = Vec::new();
    for image in images {
        for tag in &image.repo_tags {
            let number = tag.strip_prefix(&prefix).and_then(|n| n.parse().ok());
            releases.extend(number.map(|number| Tagged {
                number,
                id: image.id.clone(),
                bytes: u64::try_from(image.size).unwrap_or(0),
            }));
        }
    }
    Ok(releases)
}

/// False when the engine says that it is in use, or gone already: it takes a name away that is not an
/// image's last, and refuses the last one while a container, running or not, has the image.
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
