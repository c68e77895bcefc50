//! A machine with the process engine, the proxy and a control plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use baton_compose::policy::{Drain, Health};
use baton_compose::rendering::{ProcessModel, ProcessService};
use baton_compose::{Color, EngineKind, Policy, Project, Rendering, Role, Service};
use baton_deploy::ControlPlane;
use baton_deploy::control::{Running, Settings};
use baton_deploy::outcome::Outcome;
use baton_deploy::progress::Progress;
use baton_deploy::receipt::Receipt;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::{DeployRequest, RollbackRequest};
use baton_deploy::router::Embedded;
use baton_deploy::slots::SlotRole;
use baton_engine::process::{ProcessEngine, ShimProgram};
use baton_engine::{Engine, InstanceState, Slot};
use baton_proxy::Proxy;
use testapp::load::{Load, Mix, Plan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HOST: &str = "shop.test";

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    folder: tempfile::TempDir,
    proxy: Arc<Proxy>,
    engine: Option<Arc<dyn Engine>>,
    control: Option<Arc<ControlPlane>>,
}

impl Machine {
    pub(crate) async fn new() -> Machine {
        let proxy = Proxy::start(baton_proxy::Settings {
            http: vec![([127, 0, 0, 1], 0).into()],
            workers: 2,
            ..baton_proxy::Settings::default()
        })
        .unwrap();
        let mut machine = Machine {
            folder: tempfile::tempdir().unwrap(),
            proxy,
            engine: None,
            control: None,
        };
        machine.open().await;
        machine
    }

    async fn open(&mut self) {
        let shim = ShimProgram::at(std::env::current_exe().unwrap());
        let engine = ProcessEngine::open(self.folder.path(), shim).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let control = ControlPlane::open(Settings {
            data: self.folder.path().to_owned(),
            engines: BTreeMap::from([(EngineKind::Process, Arc::clone(&engine))]),
            certificates: None,
            router: Arc::new(Embedded::new(Arc::clone(&self.proxy))),
            session: None,
        })
        .await;
        self.control = Some(control.unwrap());
        self.engine = Some(engine);
    }

    /// Processes and proxy go on; everything else begins anew.
    pub(crate) async fn restart_control_plane(&mut self) {
        self.control = None;
        self.engine = None;
        self.open().await;
    }

    fn control(&self) -> &Arc<ControlPlane> {
        self.control.as_ref().unwrap()
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        self.engine.as_ref().unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.proxy.http_addrs()[0]
    }

    /// 16 keep-alive connections of HTTP/1.1 and of HTTP/2, small, slow and big requests.
    pub(crate) fn load(&self) -> Load {
        Load::start(Plan {
            http2: 16,
            mix: Mix {
                slow_every: 60,
                big_every: 40,
                big_bytes: 1 << 20,
            },
            pause: Duration::from_millis(10),
            ..Plan::small(self.address(), HOST)
        })
    }

    pub(crate) async fn deploy(&self, version: &str, environment: &[(&str, &str)]) -> Outcome {
        self.run(project(version, environment, Duration::ZERO))
            .await
    }

    pub(crate) async fn deploy_warm(&self, version: &str, keep_warm: Duration) -> Outcome {
        self.run(project(version, &[], keep_warm)).await
    }

    async fn run(&self, project: Project) -> Outcome {
        let request = DeployRequest {
            intent: Default::default(),
            project,
            strategy: None,
            force: false,
            wait_lock: None,
            by: None,
        };
        result(self.control().deploy(request).await.unwrap()).await
    }

    pub(crate) async fn rollback(&self, to: Option<u64>) -> Outcome {
        let request = RollbackRequest {
            app: "shop".parse().unwrap(),
            to: to.map(ReleaseId),
            current: None,
            wait_lock: None,
            by: None,
        };
        result(self.control().rollback(request).await.unwrap()).await
    }

    pub(crate) async fn role(&self, color: Color, role: SlotRole) {
        let begun = Instant::now();
        loop {
            let status = self.control().status().await;
            let colors = &status.apps[0].colors;
            let now = match color {
                Color::Blue => &colors.blue,
                Color::Green => &colors.green,
            };
            if now.role == role {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{color} never {role:?}: {status:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until no color is on its way out.
    pub(crate) async fn settled(&self) {
        let status = self.control().status().await;
        let live = status.apps[0].live.unwrap();
        self.role(live.other(), SlotRole::Empty).await;
    }

    /// How many instances run, in both colors.
    pub(crate) async fn processes(&self) -> usize {
        let mut running = 0;
        for color in Color::BOTH {
            let slot = Slot {
                app: "shop".parse().unwrap(),
                color,
            };
            let found = self.engine().instances(&slot).await.unwrap();
            running += found
                .iter()
                .filter(|i| i.state == InstanceState::Running)
                .count();
        }
        running
    }

    pub(crate) async fn last_receipt(&self) -> Receipt {
        let app = "shop".parse().unwrap();
        let begun = Instant::now();
        loop {
            let mut receipts = self.control().receipts(&app, 1).await.unwrap();
            let last = receipts.pop().unwrap();
            if last.release == ReleaseId(11) {
                return last;
            }
            assert!(begun.elapsed() < PATIENCE, "no receipt");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `kill -9` from outside.
    pub(crate) async fn kill_live(&self) {
        let answer = self.get("/").await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        let pid = i32::try_from(answer["pid"].as_i64().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }

    /// The body of a 200, else the whole answer as an error.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let mut stream = tokio::net::TcpStream::connect(self.address())
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
            _ => Err(answer),
        }
    }
}

impl Drop for Machine {
    /// Only what this machine started.
    fn drop(&mut self) {
        let engine = self.engine.take();
        self.control = None;
        let Some(engine) = engine else { return };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                for color in Color::BOTH {
                    let slot = Slot {
                        app: "shop".parse().unwrap(),
                        color,
                    };
                    let _ = runtime.block_on(engine.clear(&slot, &[]));
                }
            });
        });
    }
}

fn project(version: &str, environment: &[(&str, &str)], keep_warm: Duration) -> Project {
    let policy = Policy {
        hosts: vec![HOST.to_owned()],
        health: Some(Health {
            path: "/healthz".to_owned(),
            port: None,
            headers: BTreeMap::new(),
            expect: Health::EXPECT.to_vec(),
            interval: Duration::from_millis(100),
            timeout: Health::TIMEOUT,
            passes: 2,
        }),
        startup_timeout: Duration::from_secs(if environment.is_empty() { 60 } else { 5 }),
        keep_warm,
        watch: Duration::ZERO,
        drain: Drain::default(),
        ..Policy::default()
    };
    let service = Service {
        name: "api".to_owned(),
        policy,
        image: None,
        replicas: 1,
        has_compose_healthcheck: false,
    };
    Project {
        app: "shop".parse().unwrap(),
        engine: EngineKind::Process,
        directory: "/".into(),
        files: Vec::new(),
        services: vec![service],
        plain: Vec::new(),
        renderings: Color::BOTH
            .into_iter()
            .map(|color| (color, Role::Live, rendering(color, version, environment)))
            .collect(),
        notices: Vec::new(),
        origin: None,
    }
}

fn rendering(color: Color, version: &str, environment: &[(&str, &str)]) -> Rendering {
    let own = [
        ("BATON_APP", "shop"),
        ("BATON_COLOR", color.as_str()),
        (
            "BATON_RELEASE",
            baton_compose::rendering::RELEASE_PLACEHOLDER,
        ),
        ("BATON_ROLE", "live"),
        ("BIND", "127.0.0.1"),
        ("VERSION", version),
    ];
    let environment = own
        .iter()
        .chain(environment)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Rendering::Process(ProcessModel {
        services: vec![ProcessService {
            name: "api".to_owned(),
            command: vec![
                testapp::image::binary().display().to_string(),
                "serve".to_owned(),
            ],
            environment,
            working_dir: "/".into(),
            user: None,
            replicas: 1,
            listens: true,
            port: None,
            stop_signal: None,
            stop_grace_period: Duration::from_secs(10),
        }],
    })
}

async fn result(mut running: Running) -> Outcome {
    loop {
        let progress = tokio::time::timeout(PATIENCE, running.progress.recv()).await;
        if let Progress::Result(outcome) = progress.expect("in time").expect("more") {
            return outcome;
        }
    }
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
