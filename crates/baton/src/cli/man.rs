//! `baton man`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::error::CliError;
use crate::show::Out;

/// Writes the manual pages, one a command: `baton man /usr/local/share/man/man1`
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write them to; it is made if need be
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Man {
    pub(super) fn run(&self, out: Out) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::other(self.folder.display(), error);
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        clap_mangen::generate_to(super::tree(), &self.folder).map_err(failed)?;
        out.text(&format!(
            "the manual pages are in {}",
            self.folder.display()
        ))?;
        out.result(&json!({ "folder": self.folder }))
    }
}
