//! From the user's files to a [`Project`].

mod app;
mod docker;
mod isolation;
mod preview;
mod process;
pub(crate) mod service;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::color::AppName;
use crate::compose::Compose;
use crate::error::{Collector, ComposeError};
use crate::files;
use crate::project::{EngineKind, Project};

/// What an app is read with: what the user typed, and where.
#[derive(Clone, Default)]
pub struct ReadOptions {
    /// `-f`, in order; empty: found as Compose finds them.
    pub files: Vec<PathBuf>,
    /// `-p`
    pub project_name: Option<String>,
    /// `--project-directory`
    pub project_directory: Option<PathBuf>,
    /// `--profile`
    pub profiles: Vec<String>,
    /// The caller's whole environment; nothing else of the process's own is used.
    pub environment: BTreeMap<String, String>,
    /// Absolute folder that the command runs in.
    pub cwd: PathBuf,
    /// `--image`: `REF` for the only service with `x-baton`, or `SERVICE=REF`.
    pub image_override: Option<String>,
    /// Only these services with `x-baton`; empty: all of them.
    pub services: Vec<String>,
}

/// Without the values of the environment: they are secrets.
impl std::fmt::Debug for ReadOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadOptions")
            .field("files", &self.files)
            .field("project_name", &self.project_name)
            .field("project_directory", &self.project_directory)
            .field("profiles", &self.profiles)
            .field("cwd", &self.cwd)
            .field("image_override", &self.image_override)
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl ReadOptions {
    /// Folder and environment of this process, everything else left to the defaults.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn from_here() -> std::io::Result<ReadOptions> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Ok(ReadOptions {
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            cwd: std::env::current_dir()?,
            ..ReadOptions::default()
        })
    }
}

/// Reads an app: its files, `x-baton`, and a rendering for each color.
///
/// # Errors
/// Every mistake of the files at once ([`ComposeError::Invalid`]), or why they could not be read.
pub async fn read(options: ReadOptions) -> Result<Project, ComposeError> {
    let located = files::locate(&options)?;
    let project = match located.engine() {
        EngineKind::Docker => docker::read(&options, &located).await,
        EngineKind::Process => process::read(&options, &located),
    }?;
    let mut problems = Collector::default();
    let mut project = isolation::settle(project, &mut problems);
    problems.finish(|key| located.place(key))?;
    let shared = preview::shared_mounts(&project);
    project.notices.extend(shared);
    Ok(project)
}

/// The name of the app that the files in this folder (or `-f`) belong to, for commands that need
/// nothing else. Blocks; Docker Compose is asked only about files that cannot be read plainly.
///
/// # Errors
/// There is no file, or none of Compose's rules gives a name.
pub fn find_app(options: &ReadOptions) -> Result<AppName, ComposeError> {
    let located = files::locate(options)?;
    if located.given_name(options).is_none()
        && located.files.iter().any(|file| file.parsed.is_err())
    {
        return Compose::new(options, &located).app();
    }
    located.app(options)
}
