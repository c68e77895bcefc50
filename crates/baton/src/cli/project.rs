//! Reading the user's files, in the user's folder and environment.

use std::path::PathBuf;

use baton_compose::{Project, ReadOptions};
use clap::Args;

use super::origin;
use crate::error::CliError;

/// Which files.
#[derive(Debug, Clone, Default, Args)]
pub struct FileArgs {
    /// A compose file; several are merged as Compose does [default: as Compose finds it]
    #[arg(long = "file", short = 'f', value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also services of this Compose profile
    #[arg(long, value_name = "NAME")]
    profile: Vec<String>,
    /// Folder of relative paths [default: that of the first file]
    #[arg(long, value_name = "FOLDER")]
    project_directory: Option<PathBuf>,
}

/// What of them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub project_name: Option<String>,
    /// Empty: all with `x-baton`.
    pub services: Vec<String>,
    pub image: Option<String>,
}

impl FileArgs {
    /// What the files are read with, here and now.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn options(&self, selection: Selection) -> Result<ReadOptions, CliError> {
        Ok(ReadOptions {
            files: self.files.clone(),
            profiles: self.profile.clone(),
            project_directory: self.project_directory.clone(),
            project_name: selection.project_name,
            services: selection.services,
            image_override: selection.image,
            ..here()?
        })
    }
}

/// The app, rendered for both colors.
///
/// # Errors
/// Every mistake of the files at once (exit 2).
pub async fn read(options: ReadOptions) -> Result<Project, CliError> {
    let project = baton_compose::read(options)
        .await
        .map_err(|error| CliError::Usage(error.to_string()))?;
    Ok(Project {
        origin: origin::of_environment(),
        ..project
    })
}

/// The app of the compose file in this folder; None where there is no such file.
pub fn app_here() -> Option<String> {
    let options = here().ok()?;
    baton_compose::find_app(&options)
        .ok()
        .map(|app| app.to_string())
}

fn here() -> Result<ReadOptions, CliError> {
    ReadOptions::from_here().map_err(|error| CliError::other("the current folder", error))
}
