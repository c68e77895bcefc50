//! A daemon and an app for one test, in a folder that goes with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// More than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const BATON: &str = env!("CARGO_BIN_EXE_baton");

/// `baton`, free of this machine's own settings.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(BATON);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BATON_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(folder)
        .env("BATON_SOCKET", folder.join("baton.sock"))
        .env_remove("SUDO_USER")
        .stdin(Stdio::null());
    command
}

/// Waits on a condition.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Every line of standard output, each a JSON object.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let read = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{self:?}"))
        };
        self.out.lines().map(read).collect()
    }

    /// The last one.
    pub(crate) fn result(&self) -> Value {
        self.lines()
            .pop()
            .unwrap_or_else(|| panic!("no line: {self:?}"))
    }
}

/// A daemon in a folder of its own; the folder is also the app's.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    /// More arguments of `baton serve`.
    arguments: Vec<String>,
}

impl Stage {
    /// A folder, and nothing runs.
    pub(crate) fn bare() -> Stage {
        Stage {
            folder: tempfile::Builder::new()
                .prefix("baton-cli-")
                .tempdir()
                .unwrap(),
            daemon: None,
            arguments: Vec::new(),
        }
    }

    /// A daemon that answers, started with more arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Stage {
        let mut stage = Stage::bare();
        stage.arguments = arguments.iter().map(ToString::to_string).collect();
        stage.start_daemon();
        stage
    }

    /// A daemon that answers.
    pub(crate) fn start() -> Stage {
        let mut stage = Stage::bare();
        stage.start_daemon();
        stage
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn log_path(&self) -> PathBuf {
        self.folder().join("daemon.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `baton serve` as this stage runs it, not yet started.
    pub(crate) fn serve(&self) -> Command {
        let mut command = command(self.folder());
        command
            .args(["serve", "--http", "127.0.0.1:0", "--config", "/dev/null"])
            .arg("--data")
            .arg(self.folder().join("data"))
            .args(&self.arguments);
        command
    }

    pub(crate) fn start_daemon(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let child = self.serve().stderr(log).spawn().unwrap();
        self.daemon = Some(child);
        wait_for("the daemon", || {
            let ended = self.daemon.as_mut()?.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {}", self.log());
            (self.baton(&["status"]).code == 0).then_some(())
        });
    }

    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop_daemon(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take()?;
        signal(daemon.id(), rustix::process::Signal::TERM);
        daemon.wait().unwrap().code()
    }

    /// Where the daemon serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.announced("http")
    }

    /// Where its page is.
    pub(crate) fn dashboard(&self) -> SocketAddr {
        self.announced("dashboard")
    }

    fn announced(&self, what: &str) -> SocketAddr {
        let log = self.log();
        let line = log.lines().rfind(|line| line.contains("ready")).unwrap();
        let (_, rest) = line.split_once(&format!(" {what}=\"")).unwrap();
        rest.split_once('"').unwrap().0.parse().unwrap()
    }

    /// A new token of this scope.
    pub(crate) fn token(&self, scope: &str) -> String {
        let said = self.ok(&["token", "create", "--scope", scope]);
        said.out.trim().to_owned()
    }

    /// Runs a command in the app's folder against the page's address, as from another machine.
    pub(crate) fn remote(&self, host: &str, token: &str, arguments: &[&str]) -> Said {
        let output = command(self.folder())
            .env_remove("BATON_SOCKET")
            .env("BATON_HOST", host)
            .env("BATON_TOKEN", token)
            .env("BATON_CA", self.folder().join("ca.pem"))
            .args(arguments)
            .output()
            .unwrap();
        Said::from(output)
    }

    /// Runs a command in the app's folder.
    pub(crate) fn baton(&self, arguments: &[&str]) -> Said {
        let output = command(self.folder()).args(arguments).output().unwrap();
        Said::from(output)
    }

    /// The same, and it must end well.
    pub(crate) fn ok(&self, arguments: &[&str]) -> Said {
        let said = self.baton(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}\n{}", self.log());
        said
    }

    /// Starts a command in the app's folder.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        command(self.folder())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Writes the compose file of an app: `environment` is the release.
    pub(crate) fn write(&self, environment: &[(&str, &str)]) {
        self.write_policy(environment, "hosts: [\"*\"]");
    }

    /// With lines of `x-baton` of its own.
    pub(crate) fn write_policy(&self, environment: &[(&str, &str)], policy: &str) {
        let mut text = format!(
            "name: shop
services:
  api:
    command: [{BATON:?}, __testapp, serve]
    stop_grace_period: 5s
    x-baton:
      engine: process
      {policy}
      health: {{ path: /healthz, interval: 50ms }}
      keep_warm: 1m
      watch: 0s
    environment:
      BIND: 127.0.0.1
"
        );
        for (name, value) in environment {
            text.push_str(&format!("      {name}: {value:?}\n"));
        }
        std::fs::write(self.folder().join("compose.yaml"), text).unwrap();
    }

    /// `GET path` through the proxy: the head and the body.
    pub(crate) fn get(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    /// `VERSION` of the release that answers.
    pub(crate) fn version(&self) -> String {
        let answer = self.get("/");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: Value = serde_json::from_str(body).unwrap_or_else(|error| {
            panic!("{error}: {answer}\n{}", self.log());
        });
        body["version"].as_str().unwrap().to_owned()
    }

    /// The only app's part of `baton status --json`.
    pub(crate) fn app(&self) -> Value {
        self.ok(&["status", "--json"]).result()["apps"][0].clone()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
        if self.daemon.is_some() {
            // Instances outlive the daemon: they go first.
            self.baton(&["cancel", "--app", "shop"]);
            let remove = || self.baton(&["remove", "--yes", "--app", "shop"]);
            let mut removed = remove();
            // A deploy that has just switched cannot be cancelled, and holds the app for a moment more.
            for _ in 0..100 {
                if removed.code != 5 {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
                removed = remove();
            }
            if !std::thread::panicking() && removed.code != 0 {
                assert!(removed.err.contains("no app"), "{removed:?}");
            }
            self.stop_daemon();
        }
    }
}

pub(crate) fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
