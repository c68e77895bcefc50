//! A deploy while it goes on: what others may ask of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use baton_compose::project::FetchedImages;
use baton_compose::{AppName, Color};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::feed::Feed;
use crate::outcome::Outcome;
use crate::plan::{Plan, StepName};
use crate::progress::Progress;
use crate::release::ReleaseId;
use crate::slots::Weight;

/// Deploys are numbered from 1.
const REMOVAL: i64 = 0;

/// Shared by the task that runs it and by those who follow, cancel or hurry it.
#[derive(Debug)]
pub(crate) struct RunningDeploy {
    pub(crate) id: i64,
    pub(crate) app: AppName,
    pub(crate) feed: Arc<Feed>,
    stage: Mutex<Stage>,
    /// `true`: stop and undo.
    cancelled: watch::Sender<bool>,
    /// From the command line.
    images: watch::Sender<Option<Result<FetchedImages, String>>>,
    /// What a person asks of its canary.
    steering: watch::Sender<Steering>,
    /// `true`: what is seen so far decides, without waiting for the rest of *watch*.
    watched_enough: watch::Sender<bool>,
    /// The command's part has ended so.
    outcome: watch::Sender<Option<Outcome>>,
}

/// How a person steers a canary: `baton canary set/hold/resume/abort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Steering {
    /// Asked for by hand; holds there.
    pub(crate) weight: Option<Weight>,
    pub(crate) held: bool,
    /// How often `resume` was asked for: each passes what a step waits for.
    pub(crate) resumed: u64,
    pub(crate) aborted: bool,
}

#[derive(Debug, Clone)]
struct Stage {
    step: StepName,
    percent: u8,
    release: Option<ReleaseId>,
    /// May not be cancelled any more …
    switching: bool,
    /// … but while it is watched it may.
    watching: bool,
}

/// It is too late: traffic has switched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Switched;

impl RunningDeploy {
    pub(crate) fn new(id: i64, app: AppName) -> Arc<RunningDeploy> {
        Arc::new(RunningDeploy {
            id,
            app,
            feed: Arc::new(Feed::new()),
            stage: Mutex::new(Stage {
                step: StepName::Preflight,
                percent: 0,
                release: None,
                switching: false,
                watching: false,
            }),
            cancelled: watch::Sender::new(false),
            images: watch::Sender::new(None),
            steering: watch::Sender::default(),
            watched_enough: watch::Sender::new(false),
            outcome: watch::Sender::new(None),
        })
    }

    /// Holds the app's lock while the app is taken away.
    pub(crate) fn removal(app: AppName) -> Arc<RunningDeploy> {
        RunningDeploy::new(REMOVAL, app)
    }

    pub(crate) fn is_removal(&self) -> bool {
        self.id == REMOVAL
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line about the running step.
    pub(crate) fn note(&self, step: StepName, text: impl Into<String>) {
        let text = text.into();
        tracing::debug!(app = %self.app, deploy = self.id, %step, "{text}");
        self.feed.tell(Progress::Note { step, text });
    }

    /// The walk has come to `step` of `plan`.
    pub(crate) fn at(&self, step: StepName, plan: &Plan) {
        let done = plan.steps.iter().take_while(|s| **s != step).count();
        let head = plan.head();
        let mut stage = self.stage();
        stage.step = step;
        // From here on it may be taken back; until [`RunningDeploy::end_watch`].
        stage.watching = step == StepName::Watch;
        stage.release = Some(plan.release);
        stage.percent = u8::try_from(done * 100 / head.max(1)).map_or(100, |p| p.min(100));
    }

    pub(crate) fn step(&self) -> StepName {
        self.stage().step
    }

    pub(crate) fn percent(&self) -> u8 {
        self.stage().percent
    }

    /// For messages: `deploy 7 (r3, await_healthy)`.
    pub(crate) fn describe(&self) -> String {
        if self.is_removal() {
            return format!("the removal of {}", self.app);
        }
        let stage = self.stage().clone();
        match stage.release {
            Some(release) => format!("deploy {} ({release}, {})", self.id, stage.step),
            None => format!("deploy {} ({})", self.id, stage.step),
        }
    }

    /// Asks it to stop and undo.
    pub(crate) fn cancel(&self) -> Result<(), Switched> {
        let stage = self.stage();
        if stage.switching && !stage.watching {
            return Err(Switched);
        }
        self.cancelled.send_replace(true);
        Ok(())
    }

    /// From here on it cannot be cancelled; false when it has been already.
    pub(crate) fn begin_switch(&self) -> bool {
        let mut stage = self.stage();
        if *self.cancelled.borrow() {
            return false;
        }
        stage.switching = true;
        true
    }

    /// False when someone has taken it back in this moment.
    pub(crate) fn end_watch(&self) -> bool {
        let mut stage = self.stage();
        stage.watching = false;
        !*self.cancelled.borrow()
    }

    /// Has it switched, and is only being watched?
    pub(crate) fn is_watching(&self) -> bool {
        self.stage().watching
    }

    /// Someone needs the app's lock: what was seen so far is enough.
    pub(crate) fn hurry_watch(&self) {
        self.watched_enough.send_replace(true);
    }

    /// Ends when someone does.
    pub(crate) async fn watched_enough(&self) {
        let mut enough = self.watched_enough.subscribe();
        if enough.wait_for(|it| *it).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Only while *canary* runs.
    pub(crate) fn steer(&self, change: impl FnOnce(&mut Steering)) -> bool {
        if self.stage().step != StepName::Canary {
            return false;
        }
        self.steering.send_modify(change);
        true
    }

    pub(crate) fn steering(&self) -> Steering {
        *self.steering.borrow()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Ends when someone cancels.
    pub(crate) async fn cancelled(&self) {
        let mut cancelled = self.cancelled.subscribe();
        if cancelled.wait_for(|it| *it).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn give_images(&self, images: Result<FetchedImages, String>) {
        self.images.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(images);
            }
            first
        });
    }

    /// Waits for what the command line fetched.
    pub(crate) async fn images(&self) -> Result<FetchedImages, String> {
        let mut images = self.images.subscribe();
        let given = images.wait_for(Option::is_some).await;
        given
            .ok()
            .and_then(|given| given.clone())
            .unwrap_or_else(|| Err("the deploy has ended".to_owned()))
    }

    /// The command's part has ended.
    pub(crate) fn finish(&self, outcome: Outcome) {
        self.feed.tell(Progress::Result(outcome.clone()));
        self.outcome.send_replace(Some(outcome));
    }

    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    pub(crate) async fn finished(&self) -> Option<Outcome> {
        let mut outcome = self.outcome.subscribe();
        let finished = outcome.wait_for(Option::is_some).await;
        finished.ok().and_then(|finished| finished.clone())
    }
}

/// What the tail of a deploy is asked to do by a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hurry {
    No,
    /// The slot is needed: no `keep_warm`, and streams do not hold the drain.
    Shorten,
    /// The old color becomes live again: leave it alone.
    Leave,
}

/// The part of a deploy after its switch, which drains and stops the old color.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) deploy: i64,
    /// The color that is on its way out.
    pub(crate) color: Color,
    /// When it was left: at the switch, or at the start of a daemon that found it.
    pub(crate) begun: Instant,
    hurry: watch::Sender<Hurry>,
    stopping: Mutex<bool>,
    taken_back: AtomicBool,
    /// Its WebSockets have a clock that runs already.
    websockets: AtomicBool,
    ended: watch::Sender<bool>,
}

impl Tail {
    pub(crate) fn new(deploy: i64, color: Color) -> Arc<Tail> {
        Arc::new(Tail {
            deploy,
            color,
            begun: Instant::now(),
            hurry: watch::Sender::new(Hurry::No),
            stopping: Mutex::new(false),
            taken_back: AtomicBool::new(false),
            websockets: AtomicBool::new(false),
            ended: watch::Sender::new(false),
        })
    }

    pub(crate) fn hurry(&self) -> Hurry {
        *self.hurry.borrow()
    }

    pub(crate) fn shorten(&self) {
        self.hurry
            .send_if_modified(|now| std::mem::replace(now, Hurry::Shorten.max(*now)) == Hurry::No);
    }

    /// The old color is wanted back; false when its instances are being stopped already.
    pub(crate) fn leave(&self) -> bool {
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        if *stopping {
            return false;
        }
        self.hurry.send_replace(Hurry::Leave);
        true
    }

    /// Its deploy is taken back after the command had ended.
    pub(crate) fn set_taken_back(&self) {
        self.taken_back.store(true, Ordering::SeqCst);
    }

    /// True for the first who asks: the clock of the color's WebSockets runs once.
    pub(crate) fn begin_websockets(&self) -> bool {
        !self.websockets.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn is_taken_back(&self) -> bool {
        self.taken_back.load(Ordering::SeqCst)
    }

    /// The tail is about to stop instances; false when it was told to leave them.
    pub(crate) fn begin_stop(&self) -> bool {
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        if self.hurry() == Hurry::Leave {
            return false;
        }
        *stopping = true;
        true
    }

    /// Ends when it is asked for at least `hurry`.
    pub(crate) async fn asked(&self, hurry: Hurry) {
        let mut asked = self.hurry.subscribe();
        if asked.wait_for(|now| *now >= hurry).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(crate) async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender lives in `self`.
        let _ = ended.wait_for(|it| *it).await;
    }
}
