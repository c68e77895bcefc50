//! Where the demo plays: a temporary folder, a daemon in it, an app of one compose file.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::error::CliError;
use crate::show::Out;
use crate::wire::{DaemonInfo, Done};

/// The demo's app.
const APP: &str = "demo";
/// A daemon starts in a fraction of a second, on a slow machine too.
const STARTED: Duration = Duration::from_secs(10);
/// Longer than an instance's `stop_grace_period` here.
const ENDED: Duration = Duration::from_secs(10);
/// Between two tries to take the app away.
const AGAIN: Duration = Duration::from_millis(50);
/// The exit code of a command that another deploy kept out (DESIGN.md §4).
const LOCKED: u8 = 5;

/// A release as the demo's compose file says it.
#[derive(Debug, Clone, Copy)]
pub struct Release {
    version: u32,
    crashes: bool,
}

impl Release {
    /// One that serves.
    pub fn good(version: u32) -> Release {
        Release {
            version,
            crashes: false,
        }
    }

    /// One that ends with exit code 3 before it listens.
    pub fn crashing(version: u32) -> Release {
        Release {
            version,
            crashes: true,
        }
    }
}

/// The temporary folder and what runs in it.
#[derive(Debug)]
pub struct Stage {
    out: Out,
    folder: PathBuf,
    program: PathBuf,
    daemon: Mutex<Option<Child>>,
}

impl Stage {
    /// Makes the folder (0700).
    pub fn new(out: Out) -> Result<Stage, CliError> {
        let program =
            std::env::current_exe().map_err(|error| CliError::other("this program", error))?;
        let folder = std::env::temp_dir().join(format!("baton-demo-{}", std::process::id()));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| CliError::other(folder.display(), error))?;
        Ok(Stage {
            out,
            folder,
            program,
            daemon: Mutex::new(None),
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("baton.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("daemon.log")
    }

    pub fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// What the daemon wrote, for the case that something went wrong.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Starts it on a free port of loopback, which is returned.
    pub async fn start_daemon(&self) -> Result<SocketAddr, CliError> {
        let log = std::fs::File::create(self.log_file())
            .map_err(|error| CliError::other("the daemon's log", error))?;
        let mut command = self.command();
        command
            .args(["serve", "--http", "127.0.0.1:0", "--https", "off", "--data"])
            .arg(self.folder.join("data"))
            .args(["--config", "/dev/null"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is for the demo, which then ends the daemon in good order.
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| CliError::other("cannot start the daemon", error))?;
        self.keep(Some(child));
        let look = async {
            loop {
                match self.client().get::<DaemonInfo>("/v1/daemon").await {
                    Ok(info) => return info.http.first().copied(),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let address = tokio::time::timeout(STARTED, look).await.ok().flatten();
        let address =
            address.ok_or_else(|| CliError::Other("the daemon did not start".to_owned()))?;
        self.out
            .text(&format!("baton serves on http://{address}"))?;
        Ok(address)
    }

    fn keep(&self, child: Option<Child>) -> Option<Child> {
        let mut daemon = self
            .daemon
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut daemon, child)
    }

    /// Runs a command of Baton's in the app's folder, showing what it says.
    ///
    /// # Errors
    /// It ended with another exit code than this one.
    pub async fn baton(&self, arguments: &[&str], expected: i32) -> Result<(), CliError> {
        let shown = format!("$ baton {}", arguments.join(" "));
        self.out.text(&self.out.paint.dim(&shown))?;
        let mut command = self.command();
        command
            .args(arguments)
            // Ctrl-C ends the demo, and with it this; it has nothing to say of its own then.
            .process_group(0)
            .kill_on_drop(true);
        if self.out.is_json() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let status = command
            .status()
            .await
            .map_err(|error| CliError::other(&shown, error))?;
        if status.code() == Some(expected) {
            return Ok(());
        }
        Err(CliError::Other(format!(
            "`baton {}` ended with {status}, expected exit code {expected}",
            arguments.join(" ")
        )))
    }

    /// This program, in the stage's folder, with the stage's daemon and none of the settings of
    /// another one.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        for name in [
            "BATON_HTTP",
            "BATON_HTTPS",
            "BATON_DATA",
            "BATON_WORKERS",
            "BATON_TRUSTED_PROXY",
            "BATON_ROUTER",
            "BATON_CONFIG",
            "COMPOSE_FILE",
            "COMPOSE_PROJECT_NAME",
        ] {
            command.env_remove(name);
        }
        command
            .current_dir(&self.folder)
            .env("BATON_SOCKET", self.socket())
            .env_remove("BATON_HOST");
        command
    }

    /// Writes the compose file of a release.
    pub fn write(&self, release: Release) -> Result<(), CliError> {
        let file = self.folder.join("compose.yaml");
        std::fs::write(&file, compose_file(&self.program, release))
            .map_err(|error| CliError::other(file.display(), error))
    }

    /// Takes the app away. A deploy of it may be under way, even one that has just switched and can
    /// neither be cancelled nor interrupted for a moment: then again.
    async fn remove_app(&self) {
        let client = self.client();
        let app = format!("/v1/apps/{APP}");
        let cancel = format!("{app}/cancel");
        loop {
            let removed = client.call::<Done>(Method::DELETE, &app, &()).await;
            let Err(error) = removed else { return };
            let cancelled = client
                .call::<serde_json::Value>(Method::POST, &cancel, &())
                .await;
            if cancelled.is_err() && error.exit_code() != LOCKED {
                return; // It was never there.
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Takes everything away: the app, the daemon, the folder.
    pub async fn strike(self) {
        let _ = tokio::time::timeout(ENDED, self.remove_app()).await;
        if let Some(mut daemon) = self.keep(None) {
            if let Some(pid) = daemon.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _ = kill_process(pid, Signal::TERM);
            }
            if tokio::time::timeout(ENDED, daemon.wait()).await.is_err() {
                let _ = daemon.kill().await;
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Quoted as JSON, which is YAML, with Compose's `$` escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace('$', "$$")).to_string()
}

fn compose_file(program: &Path, release: Release) -> String {
    let crash = if release.crashes {
        "\n      CRASH_AT_START: \"3\""
    } else {
        ""
    };
    format!(
        "name: {APP}
services:
  web:
    command: [{}, __testapp, serve]
    environment:
      BIND: 127.0.0.1
      BOOT_MS: \"300\"
      VERSION: \"{}\"{crash}
    stop_grace_period: 5s
    x-baton:
      engine: process
      hosts: [\"*\"]
      health: {{ path: /healthz, interval: 100ms }}
      warmup: [\"GET / x20\"]
      keep_warm: 2s
      watch: 1s
      sse: [{{ path: /sse, mode: union }}]
",
        quoted(&program.to_string_lossy()),
        release.version
    )
}
