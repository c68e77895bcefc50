//! `baton import`.

use std::path::{Path, PathBuf};

use baton_compose::glance;
use baton_engine::whole_file;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Global;
use super::drafts::Drafts;
use super::project::{FileArgs, Selection};
use crate::error::CliError;
use crate::import::{self, Imported};

/// Writes what another proxy's configuration says as an `x-baton` and as settings of the daemon.
#[derive(Debug, Args)]
pub struct Import {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, Subcommand)]
enum Source {
    /// From nginx: a `server` block, or a whole nginx.conf
    Nginx(FromNginx),
}

/// Each `server` block that leads to a port that a service publishes becomes the `x-baton` of that
/// service. What Baton has nothing for is listed with its line. Nothing is changed without `--apply`
/// or `--output`.
#[derive(Debug, Args)]
struct FromNginx {
    /// A file of nginx; `include` is followed
    #[arg(value_name = "FILE")]
    nginx: PathBuf,
    #[command(flatten)]
    files: FileArgs,
    /// Write the x-baton into the compose file
    #[arg(long)]
    apply: bool,
    /// Write the daemon's settings here, such as /etc/baton/baton.toml
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Import {
    pub(super) fn run(&self, global: &Global) -> Result<(), CliError> {
        match &self.source {
            Source::Nginx(command) => command.run(global),
        }
    }
}

impl FromNginx {
    fn run(&self, global: &Global) -> Result<(), CliError> {
        let options = self.files.options(Selection::default())?;
        let glance =
            glance::glance(&options).map_err(|error| CliError::Usage(error.to_string()))?;
        let imported = import::nginx(&self.nginx, &glance).map_err(CliError::Usage)?;
        let drafts = Drafts::insert(&glance, &imported.drafts)?;
        if let Some(output) = &self.output {
            settings(output, &imported.settings)?;
        }
        if self.apply {
            drafts.write()?;
        }
        drafts.show(global, self.apply)?;
        self.show_rest(global, &imported)?;
        let left: Vec<_> = imported
            .left
            .iter()
            .map(|(at, what, why)| json!({"at": at, "what": what, "why": why}))
            .collect();
        global.out().result(&json!({
            "file": glance.file,
            "applied": self.apply,
            "services": drafts.json(),
            "settings": imported.settings,
            "left": left,
        }))
    }

    /// What is not of the compose file.
    fn show_rest(&self, global: &Global, imported: &Imported) -> Result<(), CliError> {
        let out = global.out();
        match &self.output {
            Some(file) => out.text(&format!("{} has", file.display()))?,
            None => out.text("/etc/baton/baton.toml would get (--output writes it)")?,
        }
        for line in imported.settings.lines() {
            out.text(&format!("  {}", out.paint.green(&format!("+ {line}"))))?;
        }
        if !imported.left.is_empty() {
            out.text("not carried over")?;
        }
        for (at, what, why) in &imported.left {
            out.text(&format!("{} {at}: {what}: {why}", out.paint.yellow("!")))?;
        }
        out.text(if self.apply {
            "next: `baton check` shows the plan, `baton deploy` carries it out"
        } else {
            "nothing was changed; with --apply the compose file is"
        })
    }
}

/// Somebody's settings are not overwritten.
fn settings(file: &Path, text: &str) -> Result<(), CliError> {
    let written = whole_file::write_new(file, text.as_bytes(), 0o644);
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::Usage(format!(
            "{}: it is there already; add these lines to it by hand:\n{text}",
            file.display()
        )),
        _ => CliError::other(file.display(), error),
    })
}
