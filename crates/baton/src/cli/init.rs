//! `baton init`.

use baton_compose::glance;
use clap::Args;
use serde_json::json;

use super::Global;
use super::drafts::Drafts;
use super::project::{FileArgs, Selection};
use crate::error::CliError;
use crate::init::{self, Draft, Said};

/// Writes a first `x-baton` into the compose file, from what the file shows. Nothing else of the file is
/// changed, and nothing is started.
#[derive(Debug, Args)]
pub struct Init {
    /// The services to deploy [default: the only one that takes traffic and is no database, cache or proxy]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Hosts that reach it [default: what VIRTUAL_HOST or a Traefik label says, else every host]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    host: Vec<String>,
    /// Path that answers 2xx or 3xx when the app is ready
    #[arg(long, value_name = "PATH")]
    health: Option<String>,
    /// Print what would be written, change nothing
    #[arg(long)]
    print: bool,
}

impl Init {
    pub(super) fn run(&self, global: &Global) -> Result<(), CliError> {
        let out = global.out();
        let options = self.files.options(Selection::default())?;
        let glance =
            glance::glance(&options).map_err(|error| CliError::Usage(error.to_string()))?;
        let said = Said {
            services: self.services.clone(),
            hosts: self.host.clone(),
            health: self.health.clone(),
        };
        let chosen = init::choose(&glance, &said).map_err(CliError::Usage)?;
        let drafts: Vec<Draft> = chosen.iter().map(|seen| init::draft(seen, &said)).collect();
        let drafts = Drafts::insert(&glance, &drafts)?;
        if !self.print {
            drafts.write()?;
        }
        drafts.show(global, !self.print)?;
        out.text("next: `baton check` shows the plan, `baton deploy` carries it out")?;
        out.result(&json!({ "file": glance.file, "services": drafts.json() }))
    }
}
