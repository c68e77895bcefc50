//! Pulling and building, where the user's folder, environment and registry login are. A daemon on this
//! machine never sees any of them; one on another machine pulls with the login of this one call.

use baton_compose::Project;
use baton_compose::project::{FetchedImage, FetchedImages};
use baton_engine::WantedImage;
use baton_engine::docker::fetch::{Build, fetch};
use http::Method;
use tokio::sync::mpsc;

use super::follow::Fetch;
use super::registry;
use crate::client::Client;
use crate::error::CliError;
use crate::wire::FetchLine;

/// Brings every image of an app of the docker engine to this machine.
#[must_use]
pub fn of(project: Project) -> Fetch {
    Box::new(move |says| Box::pin(images(project, says)))
}

/// The same by the daemon, on its own machine.
#[must_use]
pub fn there(project: Project, client: Client) -> Fetch {
    Box::new(move |says| Box::pin(async move { remote_images(project, &client, says).await }))
}

async fn remote_images(
    project: Project,
    client: &Client,
    says: mpsc::UnboundedSender<String>,
) -> Result<FetchedImages, String> {
    let mut images = FetchedImages::new();
    for service in &project.services {
        let Some(image) = &service.image else {
            continue;
        };
        let policy = image.pull_policy.as_deref().unwrap_or("missing");
        let always =
            matches!(policy, "always" | "daily" | "weekly") || policy.starts_with("every_");
        // What is built is built in the pipeline, and loaded before.
        let never = policy == "never" || image.build;
        let wanted = WantedImage {
            reference: image.reference.clone(),
            always: always && !image.build,
            never,
            credentials: match never {
                true => None,
                false => registry::login(&image.reference).await,
            },
        };
        let fetched = ask(client, &service.name, &wanted, &says).await;
        let fetched = fetched.map_err(|reason| match image.build {
            true => format!(
                "{reason}\n  {} has `build:`, and a deploy from elsewhere builds nothing: build it here, then `docker save {} | baton load`",
                service.name, image.reference
            ),
            false => match registry::advice(&image.reference, wanted.credentials.as_ref(), &reason) {
                Some(advice) => format!("{reason}; {advice}"),
                None => reason,
            },
        })?;
        images.insert(service.name.clone(), fetched);
    }
    Ok(images)
}

async fn ask(
    client: &Client,
    service: &str,
    wanted: &WantedImage,
    says: &mpsc::UnboundedSender<String>,
) -> Result<FetchedImage, String> {
    let lost = |error: CliError| error.to_string();
    let lines = client.lines(Method::POST, "/v1/images/fetch", wanted).await;
    let mut lines = lines.map_err(lost)?;
    while let Some(line) = lines.next().await.map_err(lost)? {
        match serde_json::from_str(&line) {
            Ok(FetchLine::Note { text }) => drop(says.send(format!("{service}: {text}"))),
            Ok(FetchLine::Image(image)) => return Ok(image),
            Ok(FetchLine::Failed { message }) => return Err(message),
            Err(error) => return Err(format!("the daemon's answer is not understood: {error}")),
        }
    }
    Err("the daemon ended before the image was there".to_owned())
}

async fn images(
    project: Project,
    says: mpsc::UnboundedSender<String>,
) -> Result<FetchedImages, String> {
    let mut images = FetchedImages::new();
    let build = Build {
        project: project.app.as_str(),
        directory: &project.directory,
        files: &project.files,
        env_files: &[],
    };
    for service in &project.services {
        let Some(image) = &service.image else {
            continue;
        };
        let name = &service.name;
        // An error would say that nobody listens, and then nobody polls this either.
        let mut on_line = |line: &str| {
            if !line.trim().is_empty() {
                let _ = says.send(format!("{name}: {line}"));
            }
        };
        let fetched = fetch(name, image, build, &mut on_line)
            .await
            .map_err(|error| error.to_string())?;
        images.insert(name.clone(), fetched);
    }
    Ok(images)
}
