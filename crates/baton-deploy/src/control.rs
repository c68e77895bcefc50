//! What the daemon's API calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use baton_compose::project::FetchedImages;
use baton_compose::{AppName, Color, EngineKind};
use baton_engine::{Engine, LogLine};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::error::DeployError;
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::receipt::Receipt;
use crate::release::{Release, ReleaseId};
use crate::request::{DeployRequest, RollbackRequest, SwitchRequest};
use crate::router::Router;
use crate::status::Status;

/// What a control plane is opened with.
#[derive(Debug)]
pub struct Settings {
    /// Holds `baton.db` (0600).
    pub data: PathBuf,
    pub engines: BTreeMap<EngineKind, Arc<dyn Engine>>,
    pub router: Arc<dyn Router>,
}

/// The control plane of one machine: owns the database, the app locks and every deploy that runs.
#[derive(Debug)]
pub struct ControlPlane {}

/// A deploy that has been accepted; dropping it ends nothing.
#[derive(Debug)]
pub struct Running {
    pub deploy: i64,
    /// From its beginning; ends after [`Progress::Drained`].
    pub progress: mpsc::Receiver<Progress>,
}

/// One line of `baton events`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    pub id: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub at: time::OffsetDateTime,
    pub app: Option<AppName>,
    /// `deploy_started`, `switched`, `instance_exited`, …
    pub kind: String,
    pub text: String,
}

/// What `baton check` and `--dry-run` show.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Check {
    pub plan: crate::plan::Plan,
    /// Image and configuration are what is live now.
    pub nothing_to_do: bool,
    /// Memory and disk, in sentences with their numbers.
    pub figures: Vec<String>,
    /// What preflight would refuse.
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
}

impl ControlPlane {
    /// Opens the database, serves what is live at once, then takes unfinished deploys back or
    /// forward in the background.
    ///
    /// # Errors
    /// The data folder or the database cannot be used.
    pub async fn open(settings: Settings) -> Result<Arc<ControlPlane>, DeployError> {
        let _ = settings;
        unimplemented!()
    }

    /// Takes the app's lock, runs preflight, then waits in *fetch* for [`ControlPlane::fetched`].
    pub async fn deploy(self: &Arc<Self>, request: DeployRequest) -> Result<Running, DeployError> {
        let _ = request;
        unimplemented!()
    }

    /// The command line has pulled or built; `Err` with its reason when that failed.
    pub async fn fetched(
        &self,
        deploy: i64,
        images: Result<FetchedImages, String>,
    ) -> Result<(), DeployError> {
        let _ = (deploy, images);
        unimplemented!()
    }

    pub async fn rollback(
        self: &Arc<Self>,
        request: RollbackRequest,
    ) -> Result<Running, DeployError> {
        let _ = request;
        unimplemented!()
    }

    pub async fn switch(self: &Arc<Self>, request: SwitchRequest) -> Result<Running, DeployError> {
        let _ = request;
        unimplemented!()
    }

    /// Attaches to a deploy by its id (again): all progress so far, then what comes.
    pub async fn follow(&self, deploy: i64) -> Result<mpsc::Receiver<Progress>, DeployError> {
        let _ = deploy;
        unimplemented!()
    }

    /// Stops the running deploy of an app and undoes it; after the switch: error, use rollback.
    pub async fn cancel(&self, app: &AppName) -> Result<Outcome, DeployError> {
        let _ = app;
        unimplemented!()
    }

    /// Holds new requests of the app.
    pub async fn pause(&self, app: &AppName) -> Result<(), DeployError> {
        let _ = app;
        unimplemented!()
    }

    pub async fn resume(&self, app: &AppName) -> Result<(), DeployError> {
        let _ = app;
        unimplemented!()
    }

    /// Unroutes, drains and stops both colors, forgets the app. The user's networks, volumes and
    /// plain services stay.
    pub async fn remove(&self, app: &AppName) -> Result<(), DeployError> {
        let _ = app;
        unimplemented!()
    }

    pub async fn check(&self, request: &DeployRequest) -> Result<Check, DeployError> {
        let _ = request;
        unimplemented!()
    }

    pub async fn status(&self) -> Status {
        unimplemented!()
    }

    /// Newest first.
    pub async fn releases(&self, app: &AppName) -> Result<Vec<Release>, DeployError> {
        let _ = app;
        unimplemented!()
    }

    pub async fn release(&self, app: &AppName, id: ReleaseId) -> Result<Release, DeployError> {
        let _ = (app, id);
        unimplemented!()
    }

    /// Newest first.
    pub async fn receipts(&self, app: &AppName, limit: usize) -> Result<Vec<Receipt>, DeployError> {
        let _ = (app, limit);
        unimplemented!()
    }

    /// The last `tail` events, oldest first, then with `follow` new ones until the receiver drops.
    pub async fn events(
        &self,
        app: Option<&AppName>,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<Event>, DeployError> {
        let _ = (app, tail, follow);
        unimplemented!()
    }

    /// `color` None: the live one.
    pub async fn logs(
        &self,
        app: &AppName,
        color: Option<Color>,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, DeployError> {
        let _ = (app, color, tail, follow);
        unimplemented!()
    }

    /// Which app a command means: the one of this name, else the only one there is.
    pub async fn app(&self, name: Option<&str>) -> Result<AppName, DeployError> {
        let _ = name;
        unimplemented!()
    }
}
