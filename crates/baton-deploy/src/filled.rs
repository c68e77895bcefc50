//! A stored rendering made ready for an engine: image IDs and the release's number filled in.

use baton_compose::project::FetchedImages;
use baton_compose::rendering::Rendering;
use baton_compose::{Color, Project, Role};
use serde_json::Value;

use crate::error::DeployError;
use crate::release::Release;

impl Release {
    /// The live rendering of `color`, ready to start.
    pub(crate) fn filled(&self, color: Color) -> Result<Rendering, DeployError> {
        self.filled_as(color, Role::Live)
    }

    /// The rendering of `color` in a role, ready to start.
    pub(crate) fn filled_as(&self, color: Color, role: Role) -> Result<Rendering, DeployError> {
        let rendering = self.rendering(color, role).ok_or_else(|| {
            DeployError::Other(format!(
                "{} of {} has no rendering for {color} as {role}; deploy again",
                self.id, self.app
            ))
        })?;
        let with_images = match rendering {
            Rendering::Docker(model) => Rendering::Docker(model.with_images(&self.images)),
            Rendering::Process(_) => rendering.clone(),
        };
        Ok(with_images.with_release(self.id.0))
    }

    /// Would the same run? What differs by nature is left out: the folder that the files were read
    /// from, the tag of an image whose ID is the same, notices.
    pub(crate) fn is_same_as(&self, project: &Project, images: &FetchedImages) -> bool {
        let ids = |images: &FetchedImages| {
            images
                .iter()
                .map(|(service, image)| (service.clone(), image.id.clone()))
                .collect::<Vec<_>>()
        };
        ids(&self.images) == ids(images) && essence(&self.project) == essence(project)
    }
}

/// What of a project decides what runs.
fn essence(project: &Project) -> Project {
    let mut project = project.clone();
    project.directory.clear();
    project.files.clear();
    project.notices.clear();
    project.origin = None;
    project.plain.clear();
    for service in &mut project.services {
        service.image = None;
    }
    for (_, _, rendering) in &mut project.renderings {
        if let Rendering::Docker(model) = rendering {
            model.directory.clear();
            for service in &model.services {
                let entry = model
                    .model
                    .get_mut("services")
                    .and_then(|services| services.get_mut(&service.colored_name))
                    .and_then(Value::as_object_mut);
                if let Some(entry) = entry {
                    for key in ["image", "build", "pull_policy"] {
                        entry.remove(key);
                    }
                }
            }
        }
    }
    project
}
