//! What a deploy comes to, told to whoever listens: metrics, and the team.
//!
//! Read from what the deploy tells its command, by a task of its own: who listens slowly, or not at all,
//! is never waited for.

use std::fmt;
use std::sync::Arc;

use baton_compose::policy::Notify;
use baton_compose::project::{Notice, Origin};
use baton_compose::{AppName, Project};
use time::OffsetDateTime;

use crate::core::Core;
use crate::outcome::Outcome;
use crate::plan::{Plan, StepName};
use crate::progress::Progress;
use crate::release::ReleaseId;
use crate::running::RunningDeploy;
use crate::store::{DeployRow, Phase};
use crate::work::Work;

/// Hears of every deploy.
pub trait Listener: Send + Sync + fmt::Debug {
    /// Must not block: others are told after it.
    fn told(&self, news: &News);
}

/// One thing that a deploy has come to.
#[derive(Debug, Clone)]
pub struct News {
    pub at: OffsetDateTime,
    pub app: AppName,
    pub deploy: i64,
    /// When it was asked for.
    pub started_at: OffsetDateTime,
    pub by: Option<String>,
    /// None before the deploy has its lock, and when none could be made.
    pub plan: Option<Plan>,
    /// What was live when it began.
    pub previous: Option<ReleaseId>,
    /// Of the release that the deploy brings, as far as it is known.
    pub origin: Option<Origin>,
    /// Who is to be told.
    pub notify: Vec<Notify>,
    pub what: What,
}

#[derive(Debug, Clone)]
pub enum What {
    /// There is something to do, and it has begun.
    Started,
    /// The release has its traffic; of a stage: the preview hosts reach it.
    Switched,
    /// The command's part is over. `changed`: something was done, for good or ill.
    Ended {
        outcome: Box<Outcome>,
        changed: bool,
    },
    /// The old color has ended as well: the figures are whole.
    Drained { outcome: Box<Outcome> },
}

/// Tells all that `deploy` comes to. Of one that an earlier daemon began, only what is still to come.
pub(crate) fn follow(core: &Arc<Core>, deploy: &Arc<RunningDeploy>, row: &DeployRow) {
    if core.listeners.is_empty() {
        return;
    }
    let (mut progress, following) = deploy.feed.overhear();
    core.spawn(following);
    let (inner, row) = (Arc::clone(core), row.clone());
    core.spawn(async move {
        let mut telling = Telling::new(&inner, row).await;
        while let Some(progress) = progress.recv().await {
            if let Some(what) = telling.hear(&inner, progress).await {
                telling.tell(&inner, what);
            }
        }
    });
}

struct Telling {
    news: News,
    started: bool,
    /// How it ended was told by the daemon that saw it.
    told: bool,
}

impl Telling {
    async fn new(core: &Core, row: DeployRow) -> Telling {
        let live = core.live_release(&row.app).await.ok().flatten();
        let own = project_of(&row.work);
        let project = own.or(live.as_ref().map(|(_, release)| &release.project));
        Telling {
            started: row.phase != Phase::Waiting,
            told: row.outcome.is_some(),
            news: News {
                at: row.started_at,
                deploy: row.id,
                started_at: row.started_at,
                previous: live.as_ref().map(|(_, release)| release.id),
                origin: own.and_then(|project| project.origin.clone()),
                notify: project.map(Project::notify).unwrap_or_default(),
                app: row.app,
                by: row.by,
                plan: None,
                what: What::Started,
            },
        }
    }

    async fn hear(&mut self, core: &Core, progress: Progress) -> Option<What> {
        match progress {
            Progress::Planned { plan, .. } => {
                self.plan(core, plan).await;
                None
            }
            // Until the image is there, it may turn out that there is nothing to do.
            Progress::StepStarted { step } => {
                let looks = matches!(step, StepName::Preflight | StepName::Fetch);
                let begins = !self.started && !looks;
                self.started |= begins;
                begins.then_some(What::Started)
            }
            Progress::StepSucceeded { step, .. } if step.commits() => Some(What::Switched),
            Progress::Result(outcome) if !self.told => Some(What::Ended {
                changed: self.started || !outcome.ok,
                outcome: Box::new(outcome),
            }),
            Progress::Drained(outcome) => Some(What::Drained {
                outcome: Box::new(outcome),
            }),
            _ => None,
        }
    }

    /// An older release says itself where it came from.
    async fn plan(&mut self, core: &Core, plan: Plan) {
        if self.news.origin.is_none() || self.news.notify.is_empty() {
            let known = core.store.release(&self.news.app, plan.release).await;
            if let Some(release) = known.ok().flatten() {
                let news = &mut self.news;
                news.origin = news.origin.take().or(release.project.origin.clone());
                if news.notify.is_empty() {
                    news.notify = release.project.notify();
                }
            }
        }
        self.news.plan = Some(plan);
    }

    fn tell(&mut self, core: &Core, what: What) {
        self.news.at = OffsetDateTime::now_utc();
        self.news.what = what;
        for listener in &core.listeners {
            listener.told(&self.news);
        }
    }
}

/// What was sent with it.
fn project_of(work: &Work) -> Option<&Project> {
    match work {
        Work::Deploy { project, .. }
        | Work::Stage { project, .. }
        | Work::Promote { project, .. }
        | Work::Rollback {
            current: Some(project),
            ..
        } => Some(project),
        Work::Rollback { current: None, .. } | Work::Switch { .. } | Work::Over => None,
    }
}

/// Whom the file names without saying where they are reached: a variable that is not set.
pub(crate) fn unaddressed(project: &Project) -> impl Iterator<Item = Notice> {
    let nowhere = project.notify().into_iter();
    let nowhere = nowhere.filter(|notify| notify.to.url().is_empty());
    nowhere.map(|notify| Notice {
        key: "x-baton.notify".to_owned(),
        text: format!(
            "{} has no address (is its variable set where the command runs?): nothing is told there",
            notify.to.kind()
        ),
    })
}
