//! `baton uninstall`.

use std::path::PathBuf;

use baton_deploy::status::Status;
use clap::Args;
use serde_json::json;

use super::Global;
use crate::error::CliError;
use crate::install::{self, Place};

/// Takes the service away: stops the daemon, removes unit and binary. Settings and state stay, unless
/// --purge. Apps are to be removed first (`baton remove`), since nothing would carry their traffic.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// Settings and state as well: releases, receipts, certificates
    #[arg(long)]
    purge: bool,
    /// Even though apps run; their containers and processes go on without traffic
    #[arg(long)]
    force: bool,
    /// Take the files away below this folder instead of /; nothing is stopped
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
}

impl Uninstall {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let out = global.out();
        let place = Place::new(self.root.as_deref());
        if place.is_machine() {
            super::needs_root("uninstall")?;
            if !self.force {
                refuse_with_apps(global).await?;
            }
            if install::has_systemd() && place.unit().exists() {
                install::systemctl(&["disable", "--now", install::UNIT])?;
            }
        }
        let mut removed = Vec::new();
        let mut files = vec![place.unit(), place.binary()];
        if self.purge {
            files.push(place.settings());
        }
        for file in files {
            if install::remove(&file)? {
                out.text(&format!("removed {}", file.display()))?;
                removed.push(file);
            }
        }
        if self.purge && place.state().exists() {
            let state = place.state();
            std::fs::remove_dir_all(&state)
                .map_err(|error| CliError::other(state.display(), error))?;
            out.text(&format!("removed {}", state.display()))?;
            removed.push(state);
        }
        if removed.is_empty() {
            out.text("nothing of Baton was installed here")?;
        }
        if place.is_machine() && install::has_systemd() {
            install::systemctl(&["daemon-reload"])?;
        }
        out.result(&json!({ "removed": removed }))
    }
}

async fn refuse_with_apps(global: &Global) -> Result<(), CliError> {
    // Without a daemon nothing carries traffic already.
    let Ok(status) = global.client().get::<Status>("/v1/status").await else {
        return Ok(());
    };
    if status.apps.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = status.apps.iter().map(|app| app.name.as_str()).collect();
    Err(CliError::Usage(format!(
        "Baton carries the traffic of {}\n  \
         move it elsewhere and `baton remove` each, or say --force",
        names.join(", ")
    )))
}
