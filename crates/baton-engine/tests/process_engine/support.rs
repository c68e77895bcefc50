//! What the tests share: a state folder, an engine over it, services to run, and waiting.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use baton_compose::rendering::{ProcessModel, ProcessService, Rendering};
use baton_compose::{Color, Role};
use baton_engine::process::{ProcessEngine, ShimProgram};
use baton_engine::{
    Engine, EngineError, EngineEvent, Exit, Instance, InstanceId, InstanceState, Slot, Start,
};
use libtest_mimic::Trial;
use tokio::sync::broadcast;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A test that runs in a tokio runtime of its own.
pub(crate) fn test<F: Future<Output = ()> + 'static>(name: &str, body: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(body());
        Ok(())
    })
}

/// A state folder and an engine. What still runs when it is dropped is killed.
pub(crate) struct Bench {
    pub(crate) data: tempfile::TempDir,
    pub(crate) engine: ProcessEngine,
    pub(crate) slot: Slot,
    ended: Mutex<broadcast::Receiver<EngineEvent>>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let data = tempfile::tempdir().expect("a folder");
        let engine = open(data.path());
        Bench {
            data,
            ended: Mutex::new(engine.events()),
            engine,
            slot: slot(Color::Blue),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Starts `service` as release 1.
    pub(crate) async fn start(&self, service: &ProcessService) -> Vec<Instance> {
        let started = start(&self.engine, &self.slot, 1, service).await;
        started.unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) async fn start_one(&self, service: &ProcessService) -> Instance {
        let mut started = self.start(service).await;
        assert_eq!(started.len(), 1);
        started.remove(0)
    }

    /// The folder of an instance, and what its shim wrote down.
    pub(crate) fn folder(&self, id: &InstanceId) -> PathBuf {
        let parts: Vec<&str> = id.0.split('/').collect();
        let folder = format!("{}-{}-{}", parts[1], parts[2], parts[3]);
        self.data.path().join("process").join(parts[0]).join(folder)
    }

    pub(crate) fn pid(&self, id: &InstanceId, of: &str) -> i32 {
        pid_in(&self.folder(id).join("running.json"), of).expect("it runs")
    }

    /// Some once the engine knows that it has ended.
    pub(crate) fn engine_has_seen_the_end(&self, id: &InstanceId) -> Option<()> {
        let mut events = self.ended.lock().expect("not poisoned");
        while let Ok(event) = events.try_recv() {
            if matches!(&event, EngineEvent::Exited { id: ended, .. } if ended == id) {
                return Some(());
            }
        }
        None
    }

    /// All lines that are in its log now.
    pub(crate) async fn lines(&self, id: &InstanceId) -> Vec<String> {
        lines(&self.engine, id).await
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let Ok(slots) = std::fs::read_dir(self.data.path().join("process")) else {
            return;
        };
        let folders = slots
            .flatten()
            .filter_map(|slot| std::fs::read_dir(slot.path()).ok());
        for folder in folders.flatten().flatten() {
            let spec = std::fs::File::open(folder.path().join("spec.json"));
            let free = rustix::fs::FlockOperation::NonBlockingLockShared;
            // Only while its shim lives are the numbers in there its own.
            if spec.is_ok_and(|spec| rustix::fs::flock(&spec, free).is_err())
                && let Some(child) = pid_in(&folder.path().join("running.json"), "child")
                && let Some(child) = rustix::process::Pid::from_raw(child)
            {
                let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
            }
        }
    }
}

fn pid_in(file: &Path, of: &str) -> Option<i32> {
    let running: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    i32::try_from(running[of]["pid"].as_i64()?).ok()
}

pub(crate) fn open(data: &Path) -> ProcessEngine {
    let itself = std::env::current_exe().expect("a path");
    ProcessEngine::open(data, ShimProgram::at(itself)).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn slot(color: Color) -> Slot {
    Slot {
        app: "shop".parse().expect("a name"),
        color,
    }
}

pub(crate) async fn start(
    engine: &ProcessEngine,
    slot: &Slot,
    release: u64,
    service: &ProcessService,
) -> Result<Vec<Instance>, EngineError> {
    let rendering = Rendering::Process(ProcessModel {
        services: vec![service.clone()],
    });
    let start = Start {
        slot,
        release,
        role: Role::Live,
        rendering: &rendering,
        services: std::slice::from_ref(&service.name),
        replicas: baton_engine::Replicas::All,
        shielded: false,
    };
    engine.start(start).await
}

pub(crate) async fn lines(engine: &ProcessEngine, id: &InstanceId) -> Vec<String> {
    let mut lines = engine.logs(id, usize::MAX, false).await.expect("a log");
    let mut texts = Vec::new();
    while let Some(line) = lines.recv().await {
        texts.push(line.text);
    }
    texts
}

/// A worker that runs `command`.
pub(crate) fn service(command: &[&str]) -> ProcessService {
    ProcessService {
        name: "api".to_owned(),
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        working_dir: PathBuf::from("/"),
        user: None,
        replicas: 1,
        listens: false,
        port: None,
        stop_signal: None,
        stop_grace_period: Duration::from_secs(10),
    }
}

pub(crate) fn shell(script: &str) -> ProcessService {
    service(&["/bin/sh", "-c", script])
}

/// This program in one of its roles.
pub(crate) fn app(role: &[&str]) -> ProcessService {
    let itself = std::env::current_exe().expect("a path");
    let mut command = vec![
        itself.to_str().expect("a name").to_owned(),
        "__app".to_owned(),
    ];
    command.extend(role.iter().map(|word| (*word).to_owned()));
    ProcessService {
        command,
        ..service(&[])
    }
}

/// Waits until `look` finds something.
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a line of its log satisfies `wanted`.
pub(crate) async fn until_line(engine: &ProcessEngine, id: &InstanceId, wanted: &str) -> String {
    let mut lines = engine.logs(id, usize::MAX, true).await.expect("a log");
    let find = async {
        while let Some(line) = lines.recv().await {
            if line.text.starts_with(wanted) {
                return line.text;
            }
        }
        panic!("the log of {id} ended without {wanted:?}");
    };
    let found = tokio::time::timeout(PATIENCE, find).await;
    found.unwrap_or_else(|_| panic!("no line {wanted:?} in the log of {id}"))
}

pub(crate) async fn exit_event(
    events: &mut broadcast::Receiver<EngineEvent>,
) -> (InstanceId, Exit) {
    let next = async {
        loop {
            if let EngineEvent::Exited { id, exit, .. } = events.recv().await.expect("an event") {
                return (id, exit);
            }
        }
    };
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("an end is told")
}

pub(crate) async fn state(engine: &ProcessEngine, id: &InstanceId) -> InstanceState {
    let instance = engine.inspect(id).await.expect("no error");
    instance.expect("it is known").state
}

pub(crate) fn exit(code: i32) -> Exit {
    Exit {
        code: Some(code),
        oom_killed: false,
        error: None,
    }
}

pub(crate) fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) fn kill(pid: i32) {
    assert!(pid > 1);
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
}
