//! What every part of the control plane shares.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_compose::{AppName, Color, EngineKind};
use baton_engine::{Engine, EngineError, Instance, InstanceId, InstanceState, Slot};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;

use crate::certificates::Certificates;
use crate::control::{Event, Settings};
use crate::error::DeployError;
use crate::lock::Locks;
use crate::release::Release;
use crate::routes::Routes;
use crate::running::{RunningDeploy, Tail};
use crate::store::Store;
use crate::supervise::Supervision;
use crate::telling::Listener;
use crate::traffic::Samples;

/// An engine that does not answer a question in this time counts as hanging: the caller goes on
/// without the answer. What changes something is never cut short (see [`Engine`]).
const QUESTION: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: Store,
    pub(crate) engines: BTreeMap<EngineKind, Arc<dyn Engine>>,
    pub(crate) routes: Routes,
    /// None: the daemon gets none.
    pub(crate) certificates: Option<Arc<dyn Certificates>>,
    pub(crate) locks: Arc<Locks>,
    /// One candidate boots at a time on a machine.
    pub(crate) boots: Arc<Semaphore>,
    pub(crate) supervision: Supervision,
    /// Told what deploys come to.
    pub(crate) listeners: Vec<Arc<dyn Listener>>,
    pub(crate) traffic: Samples,
    pub(crate) data: PathBuf,
    /// Held while `sessions` writes its file; whether that failed the last time.
    pub(crate) remembering: tokio::sync::Mutex<bool>,
    /// Boot id of the machine: addresses of another boot mean nothing.
    pub(crate) boot: String,
    /// Tells figures of this daemon's life from those of an earlier one.
    pub(crate) session: String,
    running: Mutex<HashMap<i64, Arc<RunningDeploy>>>,
    tails: Mutex<HashMap<AppName, Arc<Tail>>>,
    /// What a person should know of an app, by what it is about.
    warnings: Mutex<BTreeMap<(AppName, &'static str), String>>,
    events: broadcast::Sender<Event>,
    tasks: Mutex<JoinSet<()>>,
}

impl Core {
    pub(crate) fn new(
        settings: Settings,
        listeners: Vec<Arc<dyn Listener>>,
        store: Store,
    ) -> Arc<Core> {
        Arc::new(Core {
            store,
            engines: settings.engines,
            routes: Routes::new(settings.router),
            certificates: settings.certificates,
            locks: Arc::default(),
            boots: Arc::new(Semaphore::new(1)),
            supervision: Supervision::default(),
            listeners,
            traffic: Samples::default(),
            data: settings.data,
            remembering: tokio::sync::Mutex::default(),
            boot: boot_id(),
            session: settings.session.unwrap_or_else(session_id),
            running: Mutex::default(),
            tails: Mutex::default(),
            warnings: Mutex::default(),
            events: broadcast::Sender::new(256),
            tasks: Mutex::default(),
        })
    }

    /// Runs beside the caller until it ends or the control plane is dropped. A panic in it is logged
    /// and ends nothing else.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!("a task of the control plane panicked: {error}");
            }
        }
        tasks.spawn(work);
    }

    /// As a kill of the daemon would: everything stops where it is.
    pub(crate) fn abort(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }

    pub(crate) fn engine(&self, kind: EngineKind) -> Result<Arc<dyn Engine>, DeployError> {
        self.engines.get(&kind).map(Arc::clone).ok_or_else(|| {
            let name = match kind {
                EngineKind::Docker => "docker",
                EngineKind::Process => "process",
            };
            DeployError::Usage(format!(
                "this daemon runs without the {name} engine; restart it with that engine, or set `x-baton.engine`"
            ))
        })
    }

    /// Writes an event down and tells those who follow. An event that cannot be written stops nothing.
    pub(crate) async fn event(&self, app: Option<&AppName>, kind: &str, text: impl Into<String>) {
        let text = text.into();
        tracing::info!(app = app.map(AppName::as_str), kind, "{text}");
        match self.store.add_event(app, kind, &text).await {
            Ok(event) => drop(self.events.send(event)),
            Err(error) => tracing::warn!("cannot write an event: {error}"),
        }
    }

    /// Shows a warning about `what` in the app's status until it is taken away with None.
    pub(crate) fn warn(&self, app: &AppName, what: &'static str, text: Option<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (app.clone(), what);
        match text {
            Some(text) => drop(warnings.insert(key, text)),
            None => drop(warnings.remove(&key)),
        }
    }

    /// All warnings of an app, those of its keeper first.
    pub(crate) fn warnings(&self, app: &AppName) -> Vec<String> {
        let mut all = self.supervision.warnings(app);
        let own = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let own = own.iter().filter(|((of, _), _)| of == app);
        all.extend(own.map(|(_, text)| text.clone()));
        all
    }

    pub(crate) fn new_events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn register(&self, deploy: &Arc<RunningDeploy>) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(deploy.id, Arc::clone(deploy));
    }

    /// The deploy and its tail have ended.
    pub(crate) fn unregister(&self, deploy: &RunningDeploy) {
        deploy.feed.end();
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&deploy.id);
    }

    pub(crate) fn running(&self, id: i64) -> Option<Arc<RunningDeploy>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .cloned()
    }

    pub(crate) fn tail(&self, app: &AppName) -> Option<Arc<Tail>> {
        self.tails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(app)
            .cloned()
    }

    pub(crate) fn begin_tail(&self, app: &AppName, deploy: i64, color: Color) -> Arc<Tail> {
        let tail = Tail::new(deploy, color);
        self.tails
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(app.clone(), Arc::clone(&tail));
        tail
    }

    pub(crate) fn end_tail(&self, app: &AppName, tail: &Tail) {
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.get(app).is_some_and(|now| now.deploy == tail.deploy) {
            tails.remove(app);
        }
        drop(tails);
        self.warn(app, crate::drain::WARNING, None);
        tail.end();
    }

    /// What exists of `release` in a color, running or not; adopted ones by their ids.
    pub(crate) async fn instances(
        &self,
        release: &Release,
        color: Color,
    ) -> Result<Vec<Instance>, DeployError> {
        let engine = self.engine(release.engine())?;
        let slot = Slot {
            app: release.app.clone(),
            color,
        };
        let mut found = ask("list instances", engine.instances(&slot)).await?;
        found.retain(|instance| instance.release == Some(release.id.0));
        for (service, ids) in &release.adopted {
            for id in ids {
                if let Some(mut instance) = self.inspect(release, id).await? {
                    instance.service.clone_from(service);
                    found.push(instance);
                }
            }
        }
        Ok(found)
    }

    /// One instance of `release` as it is now; None when it is gone.
    pub(crate) async fn inspect(
        &self,
        release: &Release,
        id: &InstanceId,
    ) -> Result<Option<Instance>, DeployError> {
        let engine = self.engine(release.engine())?;
        let found = ask("inspect", engine.inspect(id)).await?;
        Ok(found.map(|instance| release.at_its_port(instance)))
    }

    /// Of those, the ones that run.
    pub(crate) async fn running_instances(
        &self,
        release: &Release,
        color: Color,
    ) -> Result<Vec<Instance>, DeployError> {
        let mut found = self.instances(release, color).await?;
        found.retain(|instance| instance.state == InstanceState::Running);
        Ok(found)
    }

    /// The release that is live, with its color.
    pub(crate) async fn live_release(
        &self,
        app: &AppName,
    ) -> Result<Option<(Color, Release)>, DeployError> {
        let Some(slot) = self.store.live(app).await? else {
            return Ok(None);
        };
        let Some(id) = slot.release else {
            return Ok(None);
        };
        let release = self.store.release(app, id).await?;
        Ok(release.map(|release| (slot.color, release)))
    }

    /// Writes down where the live color is served, for a start while the engine hangs.
    pub(crate) async fn remember(&self, app: &AppName) {
        let Some(live) = self.routes.live(app).await else {
            return;
        };
        let written = self
            .store
            .set_routed(app, live.color, live.instances(), &self.boot)
            .await;
        if let Err(error) = written {
            tracing::warn!(%app, "{error}");
        }
    }

    /// The memory that instances use now and used at most, in bytes; what cannot be known is left out.
    pub(crate) async fn memory(&self, kind: EngineKind, instances: &[Instance]) -> (u64, u64) {
        let Ok(engine) = self.engine(kind) else {
            return (0, 0);
        };
        let mut sum = (0, 0);
        for instance in instances {
            if let Ok(usage) = ask("measure", engine.usage(&instance.id)).await {
                sum.0 += usage.memory_bytes;
                sum.1 += usage.memory_peak_bytes.unwrap_or(0).max(usage.memory_bytes);
            }
        }
        sum
    }
}

/// A question to an engine, which may hang.
pub(crate) async fn ask<T>(
    action: &str,
    question: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    tokio::time::timeout(QUESTION, question)
        .await
        .unwrap_or_else(|_| {
            Err(EngineError::Other {
                action: action.to_owned(),
                reason: format!("the engine did not answer within {} s", QUESTION.as_secs()),
            })
        })
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// A name for figures that begin at zero now.
fn session_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| {
            time::OffsetDateTime::now_utc()
                .unix_timestamp_nanos()
                .to_string()
        })
}
