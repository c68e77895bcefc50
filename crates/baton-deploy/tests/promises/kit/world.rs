//! A machine: a data folder, an engine, and one daemon after another on them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_compose::{AppName, Color, EngineKind, Project};
use baton_deploy::control::{ControlPlane, Running, Settings};
use baton_deploy::outcome::Outcome;
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::{DeployRequest, RollbackRequest};
use baton_deploy::slots::SlotRole;
use baton_engine::InstanceState;
use tokio::sync::mpsc;

use super::engine::FakeEngine;
use super::freeze::Freezer;
use super::router::FakeRouter;

#[derive(Debug)]
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) freezer: Arc<Freezer>,
    pub(crate) engine: Arc<FakeEngine>,
    router: Mutex<Arc<FakeRouter>>,
}

/// Longer than any test needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

impl World {
    pub(crate) fn new() -> World {
        let freezer = Arc::<Freezer>::default();
        let engine = Arc::new(FakeEngine::new(Arc::clone(&freezer)));
        World {
            folder: tempfile::tempdir().unwrap(),
            freezer,
            router: Mutex::new(Arc::new(FakeRouter::new(Arc::clone(&engine)))),
            engine,
        }
    }

    pub(crate) fn data(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Starts a daemon; its router knows nothing yet.
    pub(crate) async fn open(&self) -> Arc<ControlPlane> {
        let router = Arc::new(FakeRouter::new(Arc::clone(&self.engine)));
        *self.router.lock().unwrap() = Arc::clone(&router);
        let engine: Arc<dyn baton_engine::Engine> = Arc::clone(&self.engine) as _;
        ControlPlane::open(Settings {
            data: self.folder.path().to_owned(),
            engines: BTreeMap::from([(EngineKind::Docker, engine)]),
            certificates: None,
            router,
            session: None,
        })
        .await
        .unwrap()
    }

    /// As `kill -9` of the daemon.
    pub(crate) fn kill(control: Arc<ControlPlane>) {
        assert_eq!(Arc::strong_count(&control), 1, "someone holds the daemon");
        drop(control);
    }

    pub(crate) fn router(&self) -> Arc<FakeRouter> {
        Arc::clone(&self.router.lock().unwrap())
    }

    pub(crate) fn request(project: Project) -> DeployRequest {
        DeployRequest {
            intent: Default::default(),
            project,
            strategy: None,
            force: false,
            wait_lock: None,
            by: Some("test".to_owned()),
        }
    }

    /// Deploys with image `tag`, up to the command's result.
    pub(crate) async fn deploy_ok(
        &self,
        control: &Arc<ControlPlane>,
        project: Project,
        tag: &str,
    ) -> Outcome {
        let images = super::images(&project, tag);
        let running = control.deploy(World::request(project)).await.unwrap();
        control.fetched(running.deploy, Ok(images)).await.unwrap();
        result(running).await
    }

    pub(crate) async fn rollback(
        &self,
        control: &Arc<ControlPlane>,
        app: &str,
        to: Option<u64>,
    ) -> Outcome {
        let request = RollbackRequest {
            app: app.parse().unwrap(),
            to: to.map(ReleaseId),
            current: None,
            wait_lock: None,
            by: None,
        };
        result(control.rollback(request).await.unwrap()).await
    }

    /// Waits until no deploy runs and no color is on its way out.
    pub(crate) async fn settled(&self, control: &Arc<ControlPlane>) {
        until("nothing to be going on", async || {
            control.status().await.apps.iter().all(|app| {
                app.deploy.is_none()
                    && [&app.colors.blue, &app.colors.green]
                        .iter()
                        .all(|color| matches!(color.role, SlotRole::Live | SlotRole::Empty))
            })
        })
        .await;
    }

    /// The live color serves, nothing else runs, and no rule was broken.
    pub(crate) async fn assert_clean(&self, control: &Arc<ControlPlane>, app: &str) {
        let status = control.status().await;
        let app_status = status.apps.iter().find(|a| a.name == app).unwrap();
        let violations = self.engine.state().violations.clone();
        assert!(violations.is_empty(), "{violations:?}\n{status:#?}");
        let Some(live) = app_status.live else {
            for color in Color::BOTH {
                let left = self.engine.in_slot(app, color);
                assert!(left.is_empty(), "left behind: {left:?}");
            }
            return;
        };
        let left = self.engine.in_slot(app, live.other());
        assert!(left.is_empty(), "left behind in {}: {left:?}", live.other());
        let (color, ids) = self.router().serving(app).expect("routed");
        assert_eq!(color, live);
        assert!(!ids.is_empty(), "nothing serves: {status:#?}");
        for id in ids {
            let state = self.engine.state();
            let instance = state
                .instances
                .iter()
                .find(|i| i.id == id)
                .expect("it exists");
            assert_eq!(instance.state, InstanceState::Running);
        }
    }

    pub(crate) async fn live(&self, control: &Arc<ControlPlane>, app: &str) -> (Color, ReleaseId) {
        let status = control.status().await;
        let app = status.apps.iter().find(|a| a.name == app).unwrap();
        let color = app.live.unwrap();
        let colors = &app.colors;
        let of = match color {
            Color::Blue => &colors.blue,
            Color::Green => &colors.green,
        };
        (color, of.release.unwrap())
    }
}

/// Reads progress until the command's part has ended.
pub(crate) async fn result(mut running: Running) -> Outcome {
    loop {
        match next(&mut running.progress).await {
            Progress::Result(outcome) => return outcome,
            other => drop(other),
        }
    }
}

/// Reads progress until the tail has ended too.
pub(crate) async fn drained(progress: &mut mpsc::Receiver<Progress>) -> Outcome {
    loop {
        if let Progress::Drained(outcome) = next(progress).await {
            return outcome;
        }
    }
}

/// Reads progress until `step` has started.
pub(crate) async fn started(progress: &mut mpsc::Receiver<Progress>, wanted: StepName) {
    loop {
        match next(progress).await {
            Progress::StepStarted { step } if step == wanted => return,
            Progress::Result(outcome) => panic!("ended before {wanted}: {}", outcome.message),
            _ => {}
        }
    }
}

/// The same, also after the command's part.
pub(crate) async fn started_any(progress: &mut mpsc::Receiver<Progress>, wanted: StepName) {
    loop {
        match next(progress).await {
            Progress::StepStarted { step } if step == wanted => return,
            Progress::Drained(outcome) => panic!("ended before {wanted}: {}", outcome.message),
            _ => {}
        }
    }
}

pub(crate) async fn next(progress: &mut mpsc::Receiver<Progress>) -> Progress {
    tokio::time::timeout(PATIENCE, progress.recv())
        .await
        .expect("progress in time")
        .expect("more progress")
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = tokio::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn app(name: &str) -> AppName {
    name.parse().unwrap()
}
