//! What the daemon's API calls.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use baton_compose::project::{FetchedImage, FetchedImages, Notice};
use baton_compose::{AppName, Color, EngineKind};
use baton_engine::{Engine, ImageTar, LogLine, WantedImage};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::admission::{self, Maintenance};
use crate::certificates::Certificates;
use crate::core::Core;
use crate::error::DeployError;
use crate::observe::{self, Observed};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::receipt::Receipt;
use crate::release::{Release, ReleaseId};
use crate::request::{DeployRequest, Intent, RollbackRequest, Steer, SwitchRequest};
use crate::router::Router;
use crate::slots::{SlotRole, Weight};
use crate::status::Status;
use crate::store::Store;
use crate::telling::Listener;
use crate::token::{self, NewToken, TokenInfo};
use crate::traffic::{self, Traffic};
use crate::work::Work;
use crate::{app, launch, look, recover, sessions, supervise, unwell};

/// What a control plane is opened with.
#[derive(Debug)]
pub struct Settings {
    /// Holds `baton.db` (0600).
    pub data: PathBuf,
    pub engines: BTreeMap<EngineKind, Arc<dyn Engine>>,
    pub router: Arc<dyn Router>,
    /// Whose figures the router goes on counting, where those of an earlier daemon are among them
    /// ([`ControlPlane::session`]). None: they begin with this control plane.
    pub session: Option<String>,
    /// Who gets certificates for `tls: auto`; None: nobody does.
    pub certificates: Option<Arc<dyn Certificates>>,
}

/// The control plane of one machine: owns the database, the app locks and every deploy that runs.
/// Dropping it stops its work where it is, as a kill of the daemon would.
#[derive(Debug)]
pub struct ControlPlane {
    core: Arc<Core>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.core.abort();
    }
}

/// A deploy that has been accepted; dropping it ends nothing.
#[derive(Debug)]
pub struct Running {
    pub deploy: i64,
    /// From its beginning; ends after [`Progress::Drained`].
    pub progress: mpsc::Receiver<Progress>,
}

/// One line of `baton events`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    pub id: i64,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub at: time::OffsetDateTime,
    pub app: Option<AppName>,
    /// `deploy_started`, `switched`, `instance_exited`, …
    pub kind: String,
    pub text: String,
}

/// What is in one color, by [`ControlPlane::places`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub app: AppName,
    pub color: Color,
    pub role: SlotRole,
    /// Percent of the clients that it has.
    pub weight: Weight,
    pub release: ReleaseId,
    pub image: String,
}

/// What `baton check` and `--dry-run` show.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    pub plan: crate::plan::Plan,
    /// Keys of the file that Baton changed or dropped, and what it knows of the app beside.
    #[serde(default)]
    pub notices: Vec<Notice>,
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
        ControlPlane::open_heard(settings, Vec::new()).await
    }

    /// The same, with listeners that are told what deploys come to.
    ///
    /// # Errors
    /// As [`ControlPlane::open`].
    pub async fn open_heard(
        settings: Settings,
        listeners: Vec<Arc<dyn Listener>>,
    ) -> Result<Arc<ControlPlane>, DeployError> {
        let store = Store::open(&settings.data).await?;
        let core = Core::new(settings, listeners, store);
        let control = Arc::new(ControlPlane { core });
        let core = &control.core;
        recover::serve(core).await?;
        recover::unfinished(core).await?;
        core.spawn(unwell::look_after(Arc::clone(core)));
        core.spawn(sessions::look_after(Arc::clone(core)));
        core.spawn(traffic::look_after(Arc::clone(core)));
        for (kind, engine) in &core.engines {
            core.spawn(supervise::follow(
                Arc::clone(core),
                *kind,
                Arc::clone(engine),
            ));
        }
        Ok(control)
    }

    /// No deploy can begin from here on, until [`ControlPlane::thaw`]: the daemon is about to be handed over.
    /// What has switched and drains goes on.
    ///
    /// # Errors
    /// A deploy is running.
    pub fn freeze(&self) -> Result<(), DeployError> {
        self.core.locks.freeze().map_err(|busy| busy.error())
    }

    /// Takes [`ControlPlane::freeze`] back.
    pub fn thaw(&self) {
        self.core.locks.thaw();
    }

    /// Stops its work where it is, as a kill of the daemon would, and returns when the database is closed:
    /// another control plane may open it.
    pub async fn close(&self) {
        self.core.remember_sessions().await;
        self.core.abort();
        self.core.store.close().await;
    }

    /// The name of what the router's figures are counted in; for the daemon that takes over.
    #[must_use]
    pub fn session(&self) -> &str {
        &self.core.session
    }

    /// Takes the app's lock, runs preflight, then waits in *fetch* for [`ControlPlane::fetched`].
    /// Without `wait_lock` the lock must be free.
    ///
    /// # Errors
    /// Another deploy has the lock and `wait_lock` is not given; the database cannot be written.
    pub async fn deploy(self: &Arc<Self>, request: DeployRequest) -> Result<Running, DeployError> {
        let app = request.project.app.clone();
        let (project, force) = (request.project, request.force);
        let work = match request.intent {
            Intent::Deploy => Work::Deploy {
                project,
                force,
                adopt: false,
                strategy: request.strategy,
            },
            Intent::Stage => Work::Stage { project, force },
            Intent::Promote => {
                let staged = self.core.store.staged(&app).await?;
                let staged = staged.ok_or_else(|| {
                    DeployError::Usage(format!(
                        "nothing of {app} is staged; `baton stage` puts a release on its preview hosts first"
                    ))
                })?;
                Work::Promote { project, staged }
            }
        };
        launch::launch(&self.core, app, work, request.wait_lock, request.by).await
    }

    /// The staged release goes live with the configuration that it was staged with; started again with
    /// the live environment.
    ///
    /// # Errors
    /// Nothing is staged; as [`ControlPlane::deploy`].
    pub async fn promote(
        self: &Arc<Self>,
        app: &AppName,
        by: Option<String>,
    ) -> Result<Running, DeployError> {
        self.core.known(app).await?;
        let staged = self.core.store.staged(app).await?;
        let release = match staged {
            Some(id) => self.core.store.release(app, id).await?,
            None => None,
        };
        let project = release.map(|release| release.project).ok_or_else(|| {
            DeployError::Usage(format!(
                "nothing of {app} is staged; `baton stage` puts a release on its preview hosts first"
            ))
        })?;
        let request = DeployRequest {
            project,
            intent: Intent::Promote,
            strategy: None,
            force: true,
            wait_lock: None,
            by,
        };
        self.deploy(request).await
    }

    /// The command line has pulled or built; `Err` with its reason when that failed. Nothing when
    /// the deploy is past *fetch* already.
    ///
    /// # Errors
    /// No such deploy is running.
    pub async fn fetched(
        &self,
        deploy: i64,
        images: Result<FetchedImages, String>,
    ) -> Result<(), DeployError> {
        match self.core.running(deploy) {
            Some(running) => {
                running.give_images(images);
                Ok(())
            }
            None => Err(launch::not_running(deploy)),
        }
    }

    /// To a release that was live before: without a boot where it is still warm.
    ///
    /// # Errors
    /// As [`ControlPlane::deploy`]; no such app.
    pub async fn rollback(
        self: &Arc<Self>,
        request: RollbackRequest,
    ) -> Result<Running, DeployError> {
        self.core.known(&request.app).await?;
        let work = Work::Rollback {
            to: request.to,
            current: request.current,
        };
        launch::launch(&self.core, request.app, work, request.wait_lock, request.by).await
    }

    /// Traffic to the other color, which is up.
    ///
    /// # Errors
    /// As [`ControlPlane::deploy`]; no such app.
    pub async fn switch(self: &Arc<Self>, request: SwitchRequest) -> Result<Running, DeployError> {
        self.core.known(&request.app).await?;
        let work = Work::Switch { to: request.to };
        launch::launch(&self.core, request.app, work, request.wait_lock, request.by).await
    }

    /// Attaches to a deploy by its id (again): all progress so far, then what comes. Of a deploy that
    /// has ended: how it ended.
    ///
    /// # Errors
    /// No such deploy.
    pub async fn follow(&self, deploy: i64) -> Result<mpsc::Receiver<Progress>, DeployError> {
        launch::follow(&self.core, deploy).await
    }

    /// Steers the canary that runs now, by hand.
    ///
    /// # Errors
    /// No canary of the app runs.
    pub fn steer(&self, app: &AppName, how: Steer) -> Result<(), DeployError> {
        launch::steer(&self.core, app, how)
    }

    /// Stops the running deploy of an app and undoes it; returns when that is done.
    ///
    /// # Errors
    /// Nothing runs, or it has switched already: use rollback.
    pub async fn cancel(&self, app: &AppName) -> Result<Outcome, DeployError> {
        launch::cancel(&self.core, app).await
    }

    /// Holds new requests of the app, also over a restart of the daemon.
    ///
    /// # Errors
    /// No such app.
    pub async fn pause(&self, app: &AppName) -> Result<(), DeployError> {
        admission::hold(&self.core, app, true).await
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// No such app.
    pub async fn resume(&self, app: &AppName) -> Result<(), DeployError> {
        admission::hold(&self.core, app, false).await
    }

    /// Answers every new request of the app with a page and 503, also over a restart of the daemon and
    /// a deploy; None ends it. Preview hosts and what is in flight go on.
    ///
    /// # Errors
    /// No such app; a page over [`admission::LARGEST_PAGE`].
    pub async fn maintain(
        &self,
        app: &AppName,
        maintenance: Option<Maintenance>,
    ) -> Result<(), DeployError> {
        admission::maintain(&self.core, app, maintenance).await
    }

    /// Unroutes, drains and stops both colors, forgets the app. The user's networks, volumes and
    /// plain services stay; so do adopted containers, which Baton did not make.
    ///
    /// # Errors
    /// No such app; a deploy of it is running; the engine cannot stop it.
    pub async fn remove(&self, app: &AppName) -> Result<(), DeployError> {
        app::remove(&self.core, app).await
    }

    /// What a deploy would do and what would refuse it; nothing is changed.
    ///
    /// # Errors
    /// The database cannot be read; the engine is not there.
    pub async fn check(&self, request: &DeployRequest) -> Result<Check, DeployError> {
        look::check(&self.core, request).await
    }

    /// What runs now. An engine that does not answer leaves its figures at zero.
    pub async fn status(&self) -> Status {
        look::status(&self.core).await
    }

    /// What is in each color of every app, from the database alone: no engine is asked.
    pub async fn places(&self) -> Vec<Place> {
        look::places(&self.core).await
    }

    /// Newest first.
    ///
    /// # Errors
    /// No such app.
    pub async fn releases(&self, app: &AppName) -> Result<Vec<Release>, DeployError> {
        self.core.known(app).await?;
        self.core.store.releases(app).await
    }

    /// One release.
    ///
    /// # Errors
    /// No such app or release.
    pub async fn release(&self, app: &AppName, id: ReleaseId) -> Result<Release, DeployError> {
        self.core.known(app).await?;
        let release = self.core.store.release(app, id).await?;
        release.ok_or_else(|| DeployError::Usage(format!("{app} has no release {id}")))
    }

    /// Newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn receipts(&self, app: &AppName, limit: usize) -> Result<Vec<Receipt>, DeployError> {
        self.core.store.receipts(app, limit).await
    }

    /// The last `tail` events, oldest first, then with `follow` new ones until the receiver drops.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events(
        &self,
        app: Option<&AppName>,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<Event>, DeployError> {
        look::events(&self.core, app, tail, follow).await
    }

    /// Lines of all instances of a color as they come; `color` None: the live one.
    ///
    /// # Errors
    /// No such app, or nothing in that color.
    pub async fn logs(
        &self,
        app: &AppName,
        color: Option<Color>,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, DeployError> {
        look::logs(&self.core, app, color, tail, follow).await
    }

    /// Watches a stream path until a deploy of the app has switched, and says which mode fits it; the
    /// last thing that the receiver gets.
    ///
    /// # Errors
    /// No such app, or nothing of it is live; not a path.
    pub async fn observe(
        &self,
        app: &AppName,
        path: &str,
    ) -> Result<mpsc::Receiver<Observed>, DeployError> {
        observe::observe(&self.core, app, path).await
    }

    /// Writes down which clients' sessions live where, so that they stay there over a restart. It is done
    /// from time to time; call it before the daemon stops, for those since then.
    pub async fn remember_sessions(&self) {
        self.core.remember_sessions().await;
    }

    /// Which app a command means: the one of this name, else the only one there is.
    ///
    /// # Errors
    /// No such app; several and no name.
    pub async fn app(&self, name: Option<&str>) -> Result<AppName, DeployError> {
        app::named(&self.core, name).await
    }

    /// What each app answered in the last minutes; only samples after `after_ms` (milliseconds since
    /// 1970).
    #[must_use]
    pub fn traffic(&self, after_ms: i64) -> Vec<Traffic> {
        self.core.traffic.after(after_ms)
    }

    /// Makes a token; the text is returned here and never again.
    ///
    /// # Errors
    /// Its name is taken or no name, it has expired already; the database cannot be written.
    pub async fn create_token(
        &self,
        wanted: NewToken,
        by: Option<&str>,
    ) -> Result<(String, TokenInfo), DeployError> {
        token::create(&self.core, wanted, by).await
    }

    /// All tokens, expired ones too, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenInfo>, DeployError> {
        self.core.store.tokens().await
    }

    /// Whose token this is; None when it is none, or has expired.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn verify_token(&self, text: &str) -> Result<Option<TokenInfo>, DeployError> {
        token::verify(&self.core, text).await
    }

    /// Takes a token away, by its name or number.
    ///
    /// # Errors
    /// No such token; the database cannot be written.
    pub async fn revoke_token(
        &self,
        which: &str,
        by: Option<&str>,
    ) -> Result<TokenInfo, DeployError> {
        token::revoke(&self.core, which, by).await
    }

    /// Gives the docker engine an archive of `docker save`; the names or IDs of its images.
    ///
    /// # Errors
    /// The engine is not there, or cannot read the archive.
    pub async fn load_images(&self, archive: ImageTar) -> Result<Vec<String>, DeployError> {
        let engine = self.core.engine(EngineKind::Docker)?;
        let images = engine.load_images(archive).await?;
        let text = format!("images were loaded: {}", images.join(", "));
        self.core.event(None, "images_loaded", text).await;
        Ok(images)
    }

    /// Finds an image on this machine, or pulls it with the credentials given, which are kept nowhere.
    ///
    /// # Errors
    /// The registry's own words; the engine is not there.
    pub async fn fetch_image(
        &self,
        wanted: WantedImage,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<FetchedImage, DeployError> {
        let engine = self.core.engine(EngineKind::Docker)?;
        Ok(engine.fetch_image(wanted, line).await?)
    }
}
