//! `baton init`.

use std::io::Write;
use std::path::Path;

use baton_compose::glance;
use clap::Args;
use serde_json::json;

use super::Global;
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
        let mut text = glance.text.clone();
        for draft in &drafts {
            text = glance::insert(&text, &draft.service, &draft.lines).ok_or_else(|| {
                CliError::Usage(format!(
                    "{}: services.{} is not written as a block of lines; add this to it by hand:\n{}",
                    glance.file.display(),
                    draft.service,
                    draft.lines.trim_end()
                ))
            })?;
        }
        if !self.print {
            replace(&glance.file, &text)?;
        }
        for draft in &drafts {
            let verb = if self.print { "would get" } else { "has" };
            out.text(&format!("services.{} {verb}", draft.service))?;
            for line in draft.lines.lines() {
                out.text(&format!("  {}", out.paint.green(&format!("+ {line}"))))?;
            }
            for remark in &draft.remarks {
                out.text(&format!("{} {remark}", out.paint.yellow("!")))?;
            }
        }
        out.text("next: `baton check` shows the plan, `baton deploy` carries it out")?;
        let services: Vec<_> = drafts
            .iter()
            .map(|draft| json!({"service": draft.service, "x_baton": draft.lines, "remarks": draft.remarks}))
            .collect();
        out.result(&json!({ "file": glance.file, "services": services }))
    }
}

/// Whole or not at all, with the permissions it had.
pub(super) fn replace(file: &Path, text: &str) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::other(file.display(), error);
    // What a link leads to is changed, not the link.
    let file = &file.canonicalize().map_err(failed)?;
    let permissions = std::fs::metadata(file).map_err(failed)?.permissions();
    let beside = file.with_extension(format!("baton-{}", std::process::id()));
    let written = (|| {
        let mut new = std::fs::File::create(&beside)?;
        new.set_permissions(permissions)?;
        new.write_all(text.as_bytes())?;
        new.sync_all()?;
        std::fs::rename(&beside, file)
    })();
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(failed)
}
