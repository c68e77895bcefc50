//! An app in a folder: a compose file for either engine, written anew for each release.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;

use super::machine::{baton, testapp};
use super::redis::Redis;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Docker,
    Process,
}

pub(crate) struct App {
    folder: TempDir,
    name: String,
    engine: Engine,
    /// Lines of `x-baton`, each `key: value` (flow style).
    policy: Vec<String>,
    /// More lines of the service, likewise.
    service: Vec<String>,
    /// Environment of the app.
    variables: Vec<(String, String)>,
    /// Environment of the command line.
    environment: Vec<(String, String)>,
    /// The app has a folder on this machine.
    shares: bool,
}

impl App {
    /// One service `api` that takes every host; a short health interval, no `keep_warm`, no
    /// `watch`.
    pub(crate) fn new(engine: Engine, name: &str) -> App {
        let app = App {
            folder: tempfile::Builder::new()
                .prefix("baton-app-")
                .tempdir()
                .unwrap(),
            // Unique on the machine: tests run side by side on one Docker Engine.
            name: format!("{name}-{}-{:04x}", std::process::id(), rand16()),
            engine,
            policy: vec![
                "hosts: [\"*\"]".to_owned(),
                "health: { path: /healthz, interval: 50ms, timeout: 2s, startup_timeout: 30s }"
                    .to_owned(),
                "keep_warm: 0s".to_owned(),
                "watch: 0s".to_owned(),
            ],
            service: Vec::new(),
            variables: vec![("VERSION".to_owned(), "v1".to_owned())],
            environment: Vec::new(),
            shares: false,
        };
        app.write();
        app
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        self.environment.clone()
    }

    /// A host that its routes take.
    pub(crate) fn host(&self) -> &str {
        "app.test"
    }

    /// Sets (or replaces) one line of `x-baton`, e.g. `("keep_warm", "1m")`.
    pub(crate) fn policy(&mut self, key: &str, value: &str) -> &mut App {
        self.policy
            .retain(|line| !line.starts_with(&format!("{key}:")));
        self.policy.push(format!("{key}: {value}"));
        self.write();
        self
    }

    /// Sets (or replaces) one line of the service beside `x-baton`, e.g. `("mem_limit", "64m")`.
    pub(crate) fn service(&mut self, key: &str, value: &str) -> &mut App {
        self.service
            .retain(|line| !line.starts_with(&format!("{key}:")));
        self.service.push(format!("{key}: {value}"));
        self.write();
        self
    }

    /// Sets (or replaces) one environment variable of the app.
    pub(crate) fn variable(&mut self, name: &str, value: &str) -> &mut App {
        self.variables.retain(|(key, _)| key != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self.write();
        self
    }

    pub(crate) fn has_variable(&self, name: &str) -> bool {
        self.variables.iter().any(|(key, _)| key == name)
    }

    pub(crate) fn without_variable(&mut self, name: &str) -> &mut App {
        self.variables.retain(|(key, _)| key != name);
        self.write();
        self
    }

    /// Orders through a Redis Stream of each color's own.
    pub(crate) fn orders(&mut self, redis: &Redis, leftover: &str) -> &mut App {
        self.policy(
            "redis",
            &format!(
                "{{ url_env: REDIS_URL, streams: [{{ key_env: REDIS_STREAM_KEY, group_env: REDIS_CONSUMER_GROUP }}], leftover: {leftover} }}"
            ),
        );
        self.variable("REDIS_URL", &redis.url());
        self.variable("REDIS_STREAM_KEY", "orders-${BATON_COLOR:-blue}");
        self.variable("REDIS_CONSUMER_GROUP", "api-${BATON_COLOR:-blue}")
    }

    /// Gives the app a folder to write to: where it is here, and how the app calls it.
    pub(crate) fn share(&mut self) -> (PathBuf, String) {
        let here = self.folder.path().join("shared");
        std::fs::create_dir_all(&here).unwrap();
        self.shares = true;
        self.write();
        let there = match self.engine {
            Engine::Docker => "/shared".to_owned(),
            Engine::Process => here.display().to_string(),
        };
        (here, there)
    }

    /// `testapp ARGUMENT` as the app's engine runs it, for `x-baton`.
    pub(crate) fn words(&self, argument: &str) -> String {
        match self.engine {
            Engine::Docker => format!("[/testapp, {argument}]"),
            Engine::Process => format!("[{:?}, __testapp, {argument}]", baton()),
        }
    }

    /// Another release: another `VERSION`.
    pub(crate) fn version(&mut self, version: &str) -> &mut App {
        self.variable("VERSION", version)
    }

    /// Sets one environment variable of the command line.
    pub(crate) fn command_environment(&mut self, name: &str, value: &str) -> &mut App {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the compose file by hand.
    pub(crate) fn write_file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn write(&self) {
        self.write_file("compose.yaml", &self.compose());
    }

    /// The compose file as it stands.
    pub(crate) fn compose(&self) -> String {
        let mut text = format!("name: {}\nservices:\n  api:\n", self.name);
        match self.engine {
            Engine::Docker => {
                text.push_str(&format!(
                    "    image: {}\n    command: [serve]\n    stop_grace_period: 10s\n",
                    image()
                ));
            }
            Engine::Process => {
                text.push_str(&format!(
                    "    command: [{:?}, __testapp, serve]\n    stop_grace_period: 10s\n",
                    baton()
                ));
            }
        }
        if self.shares && self.engine == Engine::Docker {
            let here = self.folder.path().join("shared");
            text.push_str(&format!("    volumes: [\"{}:/shared\"]\n", here.display()));
        }
        for line in &self.service {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str("    environment:\n");
        for (key, value) in &self.variables {
            text.push_str(&format!("      {key}: {value:?}\n"));
        }
        text.push_str("    x-baton:\n");
        match self.engine {
            Engine::Docker => text.push_str("      port: 8080\n"),
            Engine::Process => text.push_str("      engine: process\n"),
        }
        for line in &self.policy {
            text.push_str(&format!("      {line}\n"));
        }
        text
    }
}

/// Containers and networks of the app's Compose projects, whatever state a failed test left them in.
pub(crate) fn remove_from_docker(app: &str) {
    for project in [
        app.to_owned(),
        format!("{app}-blue"),
        format!("{app}-green"),
        format!("{app}-blue-once"),
        format!("{app}-green-once"),
    ] {
        let filter = format!("label=com.docker.compose.project={project}");
        let ids = docker(&["ps", "-aq", "--filter", &filter]);
        for id in ids.split_whitespace() {
            docker(&["rm", "-fv", id]);
        }
        let ids = docker(&["network", "ls", "-q", "--filter", &filter]);
        for id in ids.split_whitespace() {
            docker(&["network", "rm", id]);
        }
    }
    docker(&["network", "rm", &format!("{app}_live")]);
}

/// `docker ARGS…`; its output, empty when it failed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker")
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The `FROM scratch` image of the test app, built once a process.
pub(crate) fn image() -> &'static str {
    static IMAGE: OnceLock<String> = OnceLock::new();
    IMAGE.get_or_init(|| testapp::image::ensure_image(&testapp()))
}

fn rand16() -> u16 {
    let nanos = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .map_or(0, |time| time.as_nanos());
    (nanos / 1_000) as u16
}
