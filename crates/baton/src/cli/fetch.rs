//! Pulling and building, where the user's folder, environment and registry login are. The daemon never
//! sees any of them.

use baton_compose::Project;
use baton_compose::project::FetchedImages;
use baton_engine::docker::fetch::{Build, fetch};
use tokio::sync::mpsc;

use super::follow::Fetch;

/// Brings every image of an app of the docker engine to this machine.
#[must_use]
pub fn of(project: Project) -> Fetch {
    Box::new(move |says| Box::pin(images(project, says)))
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
