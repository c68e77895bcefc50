//! `baton doctor`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Global;
use crate::daemon::settings::{self, Machine, Typed};
use crate::doctor::{self, Finding, State};
use crate::error::CliError;
use crate::show::Paint;

/// Looks at what Baton needs on this machine: the daemon, its ports, Docker and Compose, memory, disk,
/// the clock; and says what to do about what is wrong. Changes nothing.
///
/// Exit code 1 when something keeps Baton from working.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Configuration file of the daemon [default: /etc/baton/baton.toml where it exists]
    #[arg(
        long,
        env = "BATON_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

impl Doctor {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let out = global.out();
        let settings =
            settings::resolve(Typed::default(), self.config.as_deref(), &Machine::this())?;
        let findings = doctor::examine(&global.client(), &settings).await;
        for finding in &findings {
            out.text(&line(finding, out.paint))?;
            out.line(finding)?;
        }
        let wrong = findings
            .iter()
            .filter(|one| one.state == State::Wrong)
            .count();
        if wrong > 0 {
            return Err(CliError::Other(format!(
                "{wrong} of {} things keep Baton from working here",
                findings.len()
            )));
        }
        out.result(&json!({ "checks": findings.len() }))
    }
}

fn line(finding: &Finding, paint: Paint) -> String {
    let mark = match finding.state {
        State::Well => paint.green("✓"),
        State::Warning => paint.yellow("!"),
        State::Wrong => paint.red("✗"),
    };
    let mut text = format!("{mark} {:8} {}", finding.check, finding.text);
    if let Some(next) = finding.next.as_ref().filter(|next| !next.is_empty()) {
        text.push_str(&format!("\n           {next}"));
    }
    text
}
