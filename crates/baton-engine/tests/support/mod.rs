//! An app of its own name per test on the real Docker Engine, taken away when the test ends.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use baton_compose::rendering::{ComposeModel, Rendering, SharedResource};
use baton_compose::{AppName, Color, Role};
use baton_engine::{
    DockerEngine, Engine, EngineError, EngineEvent, Instance, InstanceId, InstanceState, Slot,
    Start,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

/// Nothing in these tests takes longer than this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct TestApp {
    pub(crate) name: AppName,
    pub(crate) image: String,
    pub(crate) engine: DockerEngine,
}

impl TestApp {
    pub(crate) fn new(what: &str) -> TestApp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bt-{what}-{}-{number}", std::process::id());
        TestApp {
            name: name.parse().expect("an app name"),
            image: testapp::image::ensure_image(&testapp::image::binary()),
            engine: DockerEngine::open(),
        }
    }

    pub(crate) fn slot(&self, color: Color) -> Slot {
        Slot {
            app: self.name.clone(),
            color,
        }
    }

    /// The project of one color with these services (user's name → Compose definition), each on the
    /// shared network `shop`. Those with a `port` key take traffic there.
    pub(crate) fn rendering(&self, color: Color, services: &[(&str, Value)]) -> Rendering {
        let shop = format!("{}_shop", self.name);
        let mut definitions = serde_json::Map::new();
        let mut colored = Vec::new();
        for (name, definition) in services {
            let mut definition = definition.clone();
            let map = definition.as_object_mut().expect("a service");
            let port = map.remove("port");
            let replicas = map.get("scale").cloned().unwrap_or(json!(1));
            map.entry("image").or_insert_with(|| json!(self.image));
            map.entry("networks")
                .or_insert_with(|| json!({"shop": null}));
            map.entry("stop_grace_period")
                .or_insert_with(|| json!("5s"));
            let environment = map.entry("environment").or_insert_with(|| json!({}));
            environment["BATON_COLOR"] = json!(color.as_str());
            colored.push(json!({
                "name": name, "colored_name": format!("{name}-{color}"), "port": port,
                "replicas": replicas, "stop_signal": null,
                "stop_grace_period": {"secs": 5, "nanos": 0}, "restart": "unless-stopped",
                "live_aliases": [name],
            }));
            definitions.insert(format!("{name}-{color}"), definition);
        }
        let shared = SharedResource {
            key: "shop".to_owned(),
            project: Some(self.name.to_string()),
            definition: json!({}),
        };
        Rendering::Docker(ComposeModel {
            project: self.name.color_project(color),
            model: json!({
                "name": self.name.color_project(color),
                "services": definitions,
                "networks": {"shop": {"external": true, "name": shop}},
            }),
            services: serde_json::from_value(json!(colored)).expect("services"),
            networks: BTreeMap::from([(shop, shared)]),
            volumes: BTreeMap::new(),
            live_network: format!("{}_live", self.name),
            environment: BTreeMap::new(),
            directory: std::env::temp_dir(),
        })
    }

    pub(crate) async fn start(
        &self,
        color: Color,
        release: u64,
        rendering: &Rendering,
    ) -> Result<Vec<Instance>, EngineError> {
        let slot = self.slot(color);
        let start = Start {
            slot: &slot,
            release,
            role: Role::Live,
            rendering,
            services: &[],
            replicas: baton_engine::Replicas::All,
            shielded: false,
        };
        self.engine.start(start).await
    }

    /// Starts one color of `api` and waits until it answers.
    pub(crate) async fn serve(&self, color: Color, release: u64) -> (Rendering, Instance) {
        let rendering = self.rendering(color, &[("api", json!({"port": 8080}))]);
        let instances = self
            .start(color, release, &rendering)
            .await
            .expect("a start");
        let instance = instances.into_iter().next().expect("an instance");
        answers(&instance).await;
        (rendering, instance)
    }

    /// Runs plain Compose in the user's project, as the user would.
    pub(crate) fn compose(&self, file: &Value, args: &[&str]) -> String {
        use std::io::Write;
        let mut child = Command::new("docker")
            .args(["compose", "-p", self.name.as_str(), "-f", "-"])
            .args(args)
            .current_dir("/")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("docker compose");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(file.to_string().as_bytes()).expect("input");
        drop(stdin);
        let output = child.wait_with_output().expect("an end");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{stderr}");
        format!("{}{stderr}", String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let name = &self.name;
        for label in [
            format!("label=baton.app={name}"),
            format!("label=com.docker.compose.project={name}"),
            format!("label=com.docker.compose.project={name}-blue"),
        ] {
            remove_all(&["ps", "-aq", "--filter", &label], &["rm", "-fv"]);
        }
        for color in [Color::Blue, Color::Green] {
            remove_cgroups(&format!("baton-{}", self.slot(color)));
        }
        let named = format!("name=^{name}[_-]");
        remove_all(
            &["network", "ls", "-q", "--filter", &named],
            &["network", "rm"],
        );
        remove_all(
            &["volume", "ls", "-q", "--filter", &named],
            &["volume", "rm"],
        );
        let images = format!("reference=baton/{name}-*");
        let format = "{{.Repository}}:{{.Tag}}";
        remove_all(
            &["image", "ls", "--filter", &images, "--format", format],
            &["image", "rm"],
        );
    }
}

/// What `clear` does for those that call it.
pub(crate) fn remove_cgroups(name: &str) {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    for hierarchy in hierarchies.flatten() {
        // Not there in most of them.
        let _ = std::fs::remove_dir(hierarchy.path().join(name));
    }
    let _ = std::fs::remove_dir(std::path::Path::new("/sys/fs/cgroup").join(name));
}

fn remove_all(list: &[&str], remove: &[&str]) {
    let listed = docker(list);
    let found: Vec<&str> = listed.split_whitespace().collect();
    if !found.is_empty() {
        let all: Vec<&str> = remove.iter().copied().chain(found).collect();
        docker(&all);
    }
}

/// Standard output of one `docker` command, whatever its outcome.
pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().expect("docker");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// One field of one container, by a Go template.
pub(crate) fn look(id: &InstanceId, template: &str) -> String {
    docker(&["inspect", "--format", template, &id.0])
}

/// Body of one GET on a connection of its own.
pub(crate) async fn get(address: &str, path: &str) -> std::io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if head.starts_with("HTTP/1.1 200") {
            Ok(body.to_owned())
        } else {
            Err(std::io::Error::other(head.to_owned()))
        }
    };
    timeout(PATIENCE, exchange)
        .await
        .map_err(std::io::Error::other)?
}

pub(crate) async fn json_of(address: &str, path: &str) -> Value {
    let body = get(address, path).await.expect("an answer");
    serde_json::from_str(&body).expect("JSON")
}

/// Waits until the instance answers, and returns its address.
pub(crate) async fn answers(instance: &Instance) -> String {
    let address = instance.address.expect("an address").to_string();
    eventually("it answers", || async {
        get(&address, "/healthz").await.is_ok()
    })
    .await;
    address
}

pub(crate) async fn eventually<F, R>(what: &str, mut condition: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never came true: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The next event that is about this instance.
pub(crate) async fn event_of(
    events: &mut broadcast::Receiver<EngineEvent>,
    id: &InstanceId,
) -> EngineEvent {
    let wait = async {
        loop {
            let event = events.recv().await.expect("an event");
            match &event {
                EngineEvent::Started { id: about, .. } | EngineEvent::Exited { id: about, .. }
                    if about == id =>
                {
                    return event;
                }
                _ => {}
            }
        }
    };
    timeout(PATIENCE, wait).await.expect("an event in time")
}

pub(crate) async fn state(app: &TestApp, id: &InstanceId) -> Option<InstanceState> {
    let instance = app.engine.inspect(id).await.expect("a look");
    instance.map(|instance| instance.state)
}
