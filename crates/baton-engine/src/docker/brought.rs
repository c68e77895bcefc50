//! Images that come through the API: an archive of `docker save`, and a pull for a command that runs on
//! another machine. A login at a registry is handed to the engine with the one call, and kept nowhere.

use std::time::Duration;

use baton_compose::project::FetchedImage;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::models::{BuildInfo, CreateImageInfo};
use bollard::query_parameters::{CreateImageOptionsBuilder, ImportImageOptions};
use futures_util::StreamExt;

use super::client::{call, failed, is_gone, reason};
use super::fetch::digest_of;
use crate::EngineError;
use crate::engine::{ImageTar, WantedImage};

/// A slow line and a large image.
const LONG: Duration = Duration::from_secs(60 * 60);
/// What the engine says before the name or the ID of an image that it has taken.
const LOADED: [&str; 2] = ["Loaded image: ", "Loaded image ID: "];

/// See [`crate::Engine::load_images`].
pub(super) async fn load(docker: &Docker, archive: ImageTar) -> Result<Vec<String>, EngineError> {
    let docker = docker.clone().with_timeout(LONG);
    let options = ImportImageOptions {
        quiet: true,
        ..ImportImageOptions::default()
    };
    let mut said = std::pin::pin!(docker.import_image_stream(options, archive, None));
    let mut images = Vec::new();
    while let Some(line) = said.next().await {
        let line: BuildInfo = line.map_err(failed("loading images"))?;
        if let Some(error) = line.error_detail {
            return Err(words("loading images", error.message.unwrap_or_default()));
        }
        for text in line.stream.iter().flat_map(|text| text.lines()) {
            let name = LOADED.iter().find_map(|prefix| text.strip_prefix(prefix));
            images.extend(name.map(|name| name.trim().to_owned()));
        }
    }
    if images.is_empty() {
        return Err(words(
            "loading images",
            "the archive holds none; `docker save IMAGE` writes one".to_owned(),
        ));
    }
    Ok(images)
}

/// See [`crate::Engine::fetch_image`].
pub(super) async fn fetch(
    docker: &Docker,
    wanted: WantedImage,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<FetchedImage, EngineError> {
    let reference = &wanted.reference;
    if !wanted.always
        && let Some(here) = inspect(docker, reference).await?
    {
        return Ok(here);
    }
    if !wanted.never {
        pull(docker, &wanted, line).await?;
    }
    let here = inspect(docker, reference).await?;
    here.ok_or_else(|| EngineError::ImageGone {
        image: reference.clone(),
    })
}

async fn inspect(docker: &Docker, reference: &str) -> Result<Option<FetchedImage>, EngineError> {
    match call(docker.inspect_image(reference)).await {
        Ok(seen) => Ok(Some(FetchedImage {
            id: seen.id.unwrap_or_default(),
            repo_digest: digest_of(reference, seen.repo_digests),
            reference: reference.to_owned(),
        })),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(failed(format!("looking for the image {reference}"))(error)),
    }
}

async fn pull(
    docker: &Docker,
    wanted: &WantedImage,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<(), EngineError> {
    let action = format!("pulling {}", wanted.reference);
    let docker = docker.clone().with_timeout(LONG);
    // Without a tag the engine would pull every one that there is.
    let (from, tag) = match tagged(&wanted.reference) {
        true => (wanted.reference.clone(), None),
        false => (wanted.reference.clone(), Some("latest")),
    };
    let mut options = CreateImageOptionsBuilder::default().from_image(&from);
    if let Some(tag) = tag {
        options = options.tag(tag);
    }
    let credentials = wanted.credentials.as_ref().map(|login| DockerCredentials {
        username: Some(login.username.clone()).filter(|name| !name.is_empty()),
        password: Some(login.password.clone()).filter(|password| !password.is_empty()),
        identitytoken: login.identity_token.clone(),
        ..DockerCredentials::default()
    });
    let mut said = std::pin::pin!(docker.create_image(Some(options.build()), None, credentials));
    while let Some(info) = said.next().await {
        let info: CreateImageInfo = info.map_err(|error| words(&action, reason(&error)))?;
        if let Some(error) = info.error_detail {
            return Err(words(&action, error.message.unwrap_or_default()));
        }
        // How far each layer is comes many times a second, and says nothing that matters here.
        if let (Some(status), None) = (info.status, info.progress_detail.and_then(|p| p.current)) {
            line(match info.id {
                Some(layer) => format!("{layer}: {status}"),
                None => status,
            });
        }
    }
    Ok(())
}

/// A colon after the last slash begins a tag; one before it belongs to the registry's port.
fn tagged(reference: &str) -> bool {
    let name = reference.rsplit('/').next().unwrap_or(reference);
    reference.contains('@') || name.contains(':')
}

fn words(action: &str, reason: String) -> EngineError {
    EngineError::Other {
        action: action.to_owned(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert!(tagged("registry.example:5000/shop/api:1.4"));
        assert!(tagged("api@sha256:00"));
        assert!(!tagged("registry.example:5000/shop/api"));
    }
}
