//! [`ProcessEngine`]: the engine that needs no Docker.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::{broadcast, watch};

use super::folder::{self, Folder, Liveness};
use super::launch::{self, ShimProgram};
use super::life::Life;
use super::oom::{self, OomWitness};
use super::shield::{Birth, Shields};
use super::spec::{Running, Spec};
use super::{ports, shield, signal, user};
use crate::engine::Slot;
use crate::{EngineError, EngineEvent, Exit, Instance, InstanceId};

/// Events that a receiver may be behind before it has to list everything anew.
const EVENTS: usize = 1024;
/// How long a shim that a former daemon was just starting may take to say what it runs.
const STARTING: Duration = Duration::from_secs(5);
/// How long a process may take to go once it was killed.
const KILLED: Duration = Duration::from_secs(10);

/// Runs each instance as a process group behind a shim. State is below `<data>/process/`; a new
/// engine over the same folder adopts what still runs there.
pub struct ProcessEngine {
    pub(super) root: PathBuf,
    /// State of commands that run once: not below `root`, where everything is an instance.
    pub(super) once_root: PathBuf,
    pub(super) shim: Arc<ShimProgram>,
    /// Processes that this one has taken over from: their connections are the proxy's, too.
    pub(super) before: Vec<u32>,
    lives: Arc<Mutex<HashMap<InstanceId, Arc<Life>>>>,
    pub(super) events: broadcast::Sender<EngineEvent>,
    pub(super) oom: Arc<OomWitness>,
    /// Ports of instances whose spec is not on disk yet.
    reserved: Mutex<HashSet<u16>>,
    /// Starts and clears of one slot come one after another.
    slots: Mutex<HashMap<Slot, Arc<tokio::sync::Mutex<()>>>>,
    last_start: AtomicU64,
    pub(super) shields: Shields,
    /// Closed when the engine is dropped: its tasks end, its instances go on.
    pub(super) alive: watch::Sender<()>,
}

impl fmt::Debug for ProcessEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessEngine")
            .field("root", &self.root)
            .field("shim", &self.shim)
            .finish_non_exhaustive()
    }
}

impl ProcessEngine {
    /// Opens the engine over `<data>/process/` and adopts what runs there. Must be called within a
    /// tokio runtime; blocks for some milliseconds.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(data: &Path, shim: ShimProgram) -> Result<ProcessEngine, EngineError> {
        let root = data.join("process");
        folder::make_private_folder(&root).map_err(other("cannot make", &root))?;
        let engine = ProcessEngine {
            root,
            once_root: data.join("process-once"),
            shim: Arc::new(shim),
            before: Vec::new(),
            lives: Arc::default(),
            events: broadcast::Sender::new(EVENTS),
            oom: Arc::new(OomWitness::new()),
            reserved: Mutex::default(),
            slots: Mutex::default(),
            last_start: AtomicU64::new(0),
            shields: Shields::default(),
            alive: watch::Sender::new(()),
        };
        for (folder, spec) in engine.list(None)? {
            engine.last_start.fetch_max(spec.start, Ordering::Relaxed);
            engine.adopt(folder, spec)?;
        }
        engine.watch_memory();
        Ok(engine)
    }

    /// Of a daemon that has taken over from these processes, which may still have connections.
    #[must_use]
    pub fn after(mut self, before: &[u32]) -> ProcessEngine {
        self.before = before.to_vec();
        self
    }

    fn watch_memory(&self) {
        let (oom, mut alive) = (self.oom.clone(), self.alive.subscribe());
        tokio::spawn(async move {
            // Ends with the engine.
            while tokio::time::timeout(oom::LOOK_EVERY, alive.changed())
                .await
                .is_err()
            {
                oom.look();
            }
        });
    }

    pub(super) fn list(&self, slot: Option<&Slot>) -> Result<Vec<(Folder, Spec)>, EngineError> {
        folder::list(&self.root, slot).map_err(other("cannot read", &self.root))
    }

    pub(super) fn find(&self, id: &InstanceId) -> Result<Option<(Folder, Spec)>, EngineError> {
        let Some(folder) = Folder::of(&self.root, id) else {
            return Ok(None);
        };
        let spec = folder
            .spec()
            .map_err(about("cannot read the state of", id))?;
        Ok(spec.map(|spec| (folder, spec)))
    }

    pub(super) fn slot_lock(&self, slot: &Slot) -> Arc<tokio::sync::Mutex<()>> {
        lock(&self.slots).entry(slot.clone()).or_default().clone()
    }

    /// The life of what runs under `id`; None when nothing does.
    pub(super) fn life(&self, id: &InstanceId) -> Result<Option<Arc<Life>>, EngineError> {
        if let Some(life) = lock(&self.lives).get(id) {
            return Ok(Some(life.clone()).filter(|life| !life.has_ended()));
        }
        match self.find(id)? {
            Some((folder, spec)) => self.adopt(folder, spec),
            None => Ok(None),
        }
    }

    fn adopt(&self, folder: Folder, spec: Spec) -> Result<Option<Arc<Life>>, EngineError> {
        match started(&folder, &spec.id())? {
            Some(running) => Ok(Some(self.follow(folder, spec, running))),
            None => Ok(None),
        }
    }

    fn follow(&self, folder: Folder, spec: Spec, running: Running) -> Arc<Life> {
        let life = Arc::new(Life::new(folder, spec, running));
        {
            let mut lives = lock(&self.lives);
            // Two callers may find the same one at the same time.
            if let Some(known) = lives.get(&life.id) {
                return known.clone();
            }
            lives.insert(life.id.clone(), life.clone());
        }
        let (lives, oom, events) = (self.lives.clone(), self.oom.clone(), self.events.clone());
        let (alive, followed) = (self.alive.subscribe(), life.clone());
        tokio::spawn(async move {
            followed.follow(&oom, &events, alive).await;
            lock(&lives).remove(&followed.id);
        });
        life
    }

    /// Puts what runs in the slot under its shield. Returns what is not possible here.
    pub(super) async fn apply_shield(&self, slot: &Slot) -> Result<Option<String>, EngineError> {
        let mut lives = Vec::new();
        for (_, spec) in self.list(Some(slot))? {
            lives.extend(self.life(&spec.id())?);
        }
        Ok(shield::apply(slot, &lives, self.shields.of(slot)).await)
    }

    /// The instance as it is now. One that is just ending is waited for, so that how it ended is settled.
    pub(super) async fn look(&self, folder: &Folder, spec: &Spec) -> Result<Instance, EngineError> {
        let id = spec.id();
        let look = || folder.instance(spec).map_err(about("cannot inspect", &id));
        let seen = look()?;
        let life = lock(&self.lives).get(&id).cloned();
        match (&seen.state, life) {
            (crate::InstanceState::Exited(_), Some(life)) => {
                life.ended().await;
                look()
            }
            _ => Ok(seen),
        }
    }

    /// Starts `spec`, whose `start`, `port` and `birth` are filled in here.
    pub(super) async fn launch(&self, mut spec: Spec) -> Result<Instance, EngineError> {
        spec.start = self.next_start();
        spec.port = self.reserve_port(&spec)?;
        spec.birth = Birth::under(self.shields.of(&spec.slot));
        let port = spec.port;
        let (root, shim) = (self.root.clone(), self.shim.clone());
        let launched = tokio::task::spawn_blocking(move || {
            launch::launch(&root, &shim, &spec).map(|(folder, running)| (folder, spec, running))
        })
        .await;
        if let Some(port) = port {
            lock(&self.reserved).remove(&port);
        }
        let (folder, spec, running) = launched.map_err(|error| EngineError::Other {
            action: "start a process".to_owned(),
            reason: error.to_string(),
        })??;
        let instance = spec.instance(crate::InstanceState::Running, Some(running.started_at));
        // Before the follower can tell its end. Nobody may be listening.
        let _ = self.events.send(EngineEvent::Started {
            id: spec.id(),
            slot: Some(spec.slot.clone()),
        });
        self.follow(folder, spec, running);
        Ok(instance)
    }

    pub(super) fn next_start(&self) -> u64 {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
        let now = u64::try_from(now).unwrap_or(0);
        let next = |last: u64| Some(now.max(last + 1));
        // Never None, so that both arms hold the former value.
        let last = self
            .last_start
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .unwrap_or_else(|last| last);
        now.max(last + 1)
    }

    /// A port for `spec`: the one it had, if it has had one and that is free again.
    fn reserve_port(&self, spec: &Spec) -> Result<Option<u16>, EngineError> {
        if !spec.service.listens {
            return Ok(None);
        }
        let mut reserved = lock(&self.reserved);
        let mut taken = reserved.clone();
        for (_, other) in self.list(None)? {
            let is_former_life = other.slot == spec.slot
                && other.service.name == spec.service.name
                && other.replica == spec.replica;
            taken.extend(other.port.filter(|_| !is_former_life));
        }
        let former = spec
            .port
            .filter(|port| !taken.contains(port) && ports::is_free_again(*port));
        let Some(port) = former.or_else(|| ports::choose(&taken)) else {
            return Err(EngineError::Start {
                what: spec.title(),
                reason: "no TCP port is free on this machine".to_owned(),
            });
        };
        reserved.insert(port);
        Ok(Some(port))
    }

    /// Stops what runs under `id`: the stop signal, the grace period, then SIGKILL to all of it.
    pub(super) async fn end(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let Some(life) = self.life(id)? else {
            return self.recorded_exit(id).await;
        };
        let service = &life.spec.service;
        let signal =
            signal::parse(service.stop_signal.as_deref()).unwrap_or(rustix::process::Signal::TERM);
        if signal == rustix::process::Signal::KILL {
            let marked = life.folder.mark_killed();
            marked.map_err(about("cannot stop", id))?;
        }
        life.signal(signal);
        if let Ok(exit) = tokio::time::timeout(service.stop_grace_period, life.ended()).await {
            return Ok(exit);
        }
        self.kill(&life).await
    }

    /// Kills all of it, and waits until it has gone.
    pub(super) async fn kill(&self, life: &Life) -> Result<Exit, EngineError> {
        let fail = about("cannot stop", &life.id);
        life.folder.mark_killed().map_err(&fail)?;
        let until = tokio::time::Instant::now() + KILLED;
        while tokio::time::Instant::now() < until {
            life.kill();
            // Again after a while: it may have started something between the look and the kill.
            if let Ok(exit) = tokio::time::timeout(Duration::from_millis(200), life.ended()).await {
                return Ok(exit);
            }
        }
        Err(fail(io::Error::other(format!(
            "process {} is still there {} s after SIGKILL",
            life.running.child.pid,
            KILLED.as_secs()
        ))))
    }

    async fn recorded_exit(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let instance = match self.find(id)? {
            Some((folder, spec)) => Some(self.look(&folder, &spec).await?),
            None => None,
        };
        Ok(match instance.map(|instance| instance.state) {
            Some(crate::InstanceState::Exited(exit)) => exit,
            _ => Exit {
                code: None,
                oom_killed: false,
                error: Some("it is not there any more".to_owned()),
            },
        })
    }

    /// Stops and removes these instances, all at once.
    pub(super) async fn remove_all(&self, found: &[(Folder, Spec)]) -> Result<(), EngineError> {
        let ends = found.iter().map(|(folder, spec)| async move {
            let id = spec.id();
            self.end(&id).await?;
            folder.remove().map_err(about("cannot remove", &id))
        });
        futures_util::future::try_join_all(ends).await.map(drop)
    }
}

/// What runs there, once its shim has said so; None when it has ended.
pub(super) fn started(folder: &Folder, id: &InstanceId) -> Result<Option<Running>, EngineError> {
    let until = std::time::Instant::now() + STARTING;
    loop {
        match folder.liveness().map_err(about("cannot adopt", id))? {
            Liveness::Runs(running) => return Ok(Some(running)),
            Liveness::Ended(_) => return Ok(None),
            Liveness::Starting if std::time::Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Liveness::Starting => {
                return Err(about("cannot adopt", id)(io::Error::other(
                    "its shim does not say what it runs",
                )));
            }
        }
    }
}

/// What can be known to be wrong with a service before anything is touched.
pub(super) fn refuse_bad(spec: &Spec) -> Result<(), EngineError> {
    let service = &spec.service;
    let refuse = |reason: String| {
        Err(EngineError::Start {
            what: format!("{}/{}", spec.slot, service.name),
            reason,
        })
    };
    if service.command.is_empty() {
        return refuse("it has no command".to_owned());
    }
    if let (true, Some(port)) = (service.listens, service.port) {
        return refuse(format!(
            "x-baton.port says that it listens on {port}, which two colors cannot do at once on one machine; \
             let it listen on 127.0.0.1:$PORT, which Baton sets, and remove x-baton.port"
        ));
    }
    if let Err(reason) = signal::parse(service.stop_signal.as_deref()) {
        return refuse(reason);
    }
    if let Some(Err(reason)) = service.user.as_deref().map(user::resolve) {
        return refuse(reason);
    }
    Ok(())
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder changes one entry in one call: a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn about<'a>(
    action: &'static str,
    id: &'a InstanceId,
) -> impl Fn(io::Error) -> EngineError + use<'a> {
    move |error| EngineError::Instance {
        action,
        id: id.clone(),
        reason: error.to_string(),
    }
}

pub(super) fn other<'a>(
    action: &'a str,
    path: &'a Path,
) -> impl Fn(io::Error) -> EngineError + use<'a> {
    move |error| EngineError::Other {
        action: format!("{action} {}", path.display()),
        reason: error.to_string(),
    }
}
