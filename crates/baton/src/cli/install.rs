//! `baton install`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::Global;
use crate::client::Client;
use crate::error::CliError;
use crate::install::{self, Place, unit};
use crate::wire::DaemonInfo;

/// The daemon is up in a fraction of a second; a machine that has just booted takes its time.
const STARTED: Duration = Duration::from_secs(30);

/// Makes Baton a service of this machine: binary, systemd unit, settings, group `baton`; and starts it.
///
/// Settings are written to /etc/baton/baton.toml, which is the user's from then on. Running it again
/// with a newer binary replaces binary and unit; `baton upgrade` then brings them into service.
#[derive(Debug, Args)]
pub struct Install {
    /// Setting `http`: listen here for plain HTTP, e.g. 127.0.0.1:7080 behind an nginx
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    http: Vec<String>,
    /// Setting `https`: listen here for HTTPS, or `off`
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    https: Vec<String>,
    /// Setting `acme-email`: whom the certificate authority writes to
    #[arg(long, value_name = "ADDRESS")]
    acme_email: Option<String>,
    /// Setting `dashboard`: listen here for the status page
    #[arg(long, value_name = "ADDRESS")]
    dashboard: Option<String>,
    /// Put everything there, enable and start nothing
    #[arg(long)]
    no_start: bool,
    /// Put the files below this folder instead of /, as a package or an image wants them; nothing is started
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Print the unit and do nothing
    #[arg(long)]
    print: bool,
}

impl Install {
    pub(super) async fn run(&self, global: &Global) -> Result<(), CliError> {
        let out = global.out();
        if self.print {
            let text = unit::text(Path::new("/usr/local/bin/baton"));
            out.text(text.trim_end())?;
            return out.result(&json!({ "unit": text }));
        }
        let place = Place::new(self.root.as_deref());
        let machine = place.is_machine();
        if machine {
            may_install()?;
        }
        place.put_settings(&self.settings())?;
        let binary = place.put_binary()?;
        place.put_unit(&binary)?;
        let tell = |what: &str, file: &Path| out.text(&format!("{what:9} {}", file.display()));
        tell("binary", &binary)?;
        tell("unit", &place.unit())?;
        tell("settings", &place.settings())?;
        let told = json!({
            "binary": binary, "unit": place.unit(), "settings": place.settings(),
        });
        if !machine {
            return out.result(&told);
        }
        install::make_group()?;
        install::systemctl(&["daemon-reload"])?;
        if install::is_active() {
            out.text("it runs already; `baton upgrade` brings this binary into service")?;
        } else if self.no_start {
            out.text("`systemctl enable --now baton` starts it")?;
        } else {
            install::systemctl(&["enable", "--now", install::UNIT])?;
            let daemon = started(&global.client()).await?;
            out.text(&format!(
                "baton {} serves on {}",
                daemon.version,
                addresses(&daemon)
            ))?;
        }
        out.text(
            "without sudo: `sudo usermod -aG baton $USER`, then log in again; next: `baton init` in the app's folder",
        )?;
        out.result(&told)
    }

    fn settings(&self) -> toml::Table {
        let mut table = toml::Table::new();
        for (key, list) in [("http", &self.http), ("https", &self.https)] {
            if !list.is_empty() {
                table.insert(key.to_owned(), list.clone().into());
            }
        }
        for (key, value) in [
            ("acme-email", &self.acme_email),
            ("dashboard", &self.dashboard),
        ] {
            if let Some(value) = value {
                table.insert(key.to_owned(), value.clone().into());
            }
        }
        table
    }
}

fn may_install() -> Result<(), CliError> {
    if !install::has_systemd() {
        return Err(CliError::Usage(
            "no systemd runs this machine: let what starts services here run `baton serve`\n  \
             `baton install --print` shows what the unit would be"
                .to_owned(),
        ));
    }
    super::needs_root("install")
}

async fn started(client: &Client) -> Result<DaemonInfo, CliError> {
    let until = Instant::now() + STARTED;
    loop {
        match client.get("/v1/daemon").await {
            Ok(info) => return Ok(info),
            Err(error) if Instant::now() > until => {
                return Err(CliError::Other(format!(
                    "the service was started and does not answer: {error}\n  \
                     `journalctl -u baton -n 30` says why"
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn addresses(daemon: &DaemonInfo) -> String {
    let all = daemon.http.iter().chain(&daemon.https);
    let all: Vec<String> = all.map(ToString::to_string).collect();
    if all.is_empty() {
        // `--router nginx`
        return "what nginx listens on".to_owned();
    }
    all.join(", ")
}
