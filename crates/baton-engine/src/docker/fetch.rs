//! Pull and build, with the user's login, context and environment. For the command line only: the
//! daemon never sees a registry password.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use baton_compose::project::{FetchedImage, Image};
use serde::Deserialize;

use crate::EngineError;
use crate::docker::cli::Run;

/// A slow line and a large image; a person watches and can end it.
const PULL_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const BUILD_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Gets each line that Docker prints, as it comes.
pub type OnLine<'a> = &'a mut (dyn FnMut(&str) + Send);

/// Where `docker compose build` finds the service.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The user's project: what is built is the user's image.
    pub project: &'a str,
    /// Folder that relative paths count from.
    pub directory: &'a Path,
    /// The compose files, in order.
    pub files: &'a [std::path::PathBuf],
    /// `--env-file`s that the user gave, if any.
    pub env_files: &'a [std::path::PathBuf],
}

/// The image of one service, on this machine: built where the file has `build:`, else pulled as its
/// `pull_policy` says. What is here already needs no registry (policy `missing`, `never` or none, as
/// Compose has it).
///
/// # Errors
/// [`EngineError::ImageGone`] when policy `never` finds nothing; otherwise Docker's own words.
pub async fn fetch(
    service: &str,
    image: &Image,
    build: Build<'_>,
    on_line: OnLine<'_>,
) -> Result<FetchedImage, EngineError> {
    let policy = image.pull_policy.as_deref().unwrap_or("missing");
    if image.build && policy != "never" {
        return self::build(service, &image.reference, build, on_line).await;
    }
    let here = inspect(&image.reference).await?;
    match (policy, here) {
        ("missing" | "if_not_present" | "never" | "build", Some(here)) => Ok(here),
        ("never", None) => Err(EngineError::ImageGone {
            image: image.reference.clone(),
        }),
        _ => pull(&image.reference, on_line).await,
    }
}

/// The image that this name means on this machine now; None when there is none. Asks no registry.
///
/// # Errors
/// When Docker does not answer.
pub async fn inspect(reference: &str) -> Result<Option<FetchedImage>, EngineError> {
    let output = docker(
        "docker image inspect",
        ["image", "inspect", "--format", "{{json .}}", reference].map(OsString::from),
        LOOK_TIMEOUT,
    )
    .quiet()
    .await?;
    if !output.success {
        let complaint = output.complaint();
        // "No such image", or, of newer command lines, "No such object".
        if complaint.to_ascii_lowercase().contains("no such") {
            return Ok(None);
        }
        return Err(failed("docker image inspect", complaint));
    }
    let seen: Seen = serde_json::from_str(output.stdout.trim())
        .map_err(|error| failed("docker image inspect", error.to_string()))?;
    Ok(Some(FetchedImage {
        repo_digest: digest_of(reference, seen.repo_digests),
        id: seen.id,
        reference: reference.to_owned(),
    }))
}

/// `docker pull`, always asking the registry.
///
/// # Errors
/// [`EngineError::Other`] with the registry's answer.
pub async fn pull(reference: &str, on_line: OnLine<'_>) -> Result<FetchedImage, EngineError> {
    let output = docker(
        "docker pull",
        ["pull", reference].map(OsString::from),
        PULL_TIMEOUT,
    )
    .run(on_line)
    .await?;
    if !output.success {
        return Err(failed(
            format!("docker pull {reference}"),
            output.complaint(),
        ));
    }
    present(reference).await
}

/// `docker compose build` under the user's own project; works without buildx (Engines.md §1).
///
/// # Errors
/// [`EngineError::Other`] with the last lines of the build.
pub async fn build(
    service: &str,
    reference: &str,
    build: Build<'_>,
    on_line: OnLine<'_>,
) -> Result<FetchedImage, EngineError> {
    let mut args: Vec<OsString> = ["compose", "-p", build.project]
        .map(OsString::from)
        .to_vec();
    for file in build.files {
        args.extend(["-f".into(), file.into()]);
    }
    for file in build.env_files {
        args.extend(["--env-file".into(), file.into()]);
    }
    args.extend(["--project-directory".into(), build.directory.into()]);
    args.extend(["--progress", "plain", "build", service].map(OsString::from));
    let mut run = docker("docker compose build", args, BUILD_TIMEOUT);
    run.directory = Some(build.directory.to_path_buf());
    let output = run.run(on_line).await?;
    if !output.success {
        return Err(failed(
            format!("docker compose build {service}"),
            output.complaint(),
        ));
    }
    present(reference).await
}

async fn present(reference: &str) -> Result<FetchedImage, EngineError> {
    inspect(reference)
        .await?
        .ok_or_else(|| EngineError::ImageGone {
            image: reference.to_owned(),
        })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    id: String,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// The digest under the name that was asked for; an image may have been pulled from several places.
pub(super) fn digest_of(reference: &str, digests: Option<Vec<String>>) -> Option<String> {
    let name = reference.split('@').next().unwrap_or(reference);
    // A colon after the last slash begins the tag; one before it belongs to the registry's port.
    let name = match name.rfind(':') {
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    };
    let digests = digests?;
    let exact = digests
        .iter()
        .find(|digest| digest.split('@').next() == Some(name));
    exact.or(digests.first()).cloned()
}

fn docker(action: &str, args: impl IntoIterator<Item = OsString>, timeout: Duration) -> Run<'_> {
    Run {
        action,
        args: args.into_iter().collect(),
        environment: None,
        directory: None,
        input: None,
        timeout,
    }
}

fn failed(action: impl Into<String>, reason: String) -> EngineError {
    EngineError::Other {
        action: action.into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_the_name_that_was_asked_for() {
        let digests = Some(vec![
            "other/api@sha256:1".to_owned(),
            "registry.example:5000/shop/api@sha256:2".to_owned(),
        ]);
        let found = digest_of("registry.example:5000/shop/api:1.4", digests.clone());
        assert_eq!(
            found.as_deref(),
            Some("registry.example:5000/shop/api@sha256:2")
        );
        assert_eq!(
            digest_of("local:1", digests).as_deref(),
            Some("other/api@sha256:1")
        );
        assert_eq!(digest_of("local:1", None), None);
    }
}
