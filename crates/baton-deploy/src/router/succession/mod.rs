//! Two daemons during an upgrade: the new one decides, and the old one still has connections.
//!
//! An old process goes on with the requests and streams that it has. They meet the same instances as
//! those of the new process, so that what the new one publishes has to be published in both, and a color
//! may be stopped only when it is drained in both. [`Succession`] is a router that does so: it passes each
//! call on to its own router and over a link to the old process, and adds what both count. An old process
//! whose own predecessor still lives passes on in the same way, so any number of them may stand in a row.
//!
//! | module | does |
//! | --- | --- |
//! | [`report`] | what a router counts, as one value |
//! | `wire` | what crosses the link |
//! | `predecessor` | the new daemon's side of it |
//! | [`serve`] | the old daemon's side of it |
//!
//! What is read from the old process is its latest report. Each publish is answered with a report of the
//! moment after it, and from then on what is counted of an instance that is not published can only fall:
//! an old report makes a drain wait a little longer, never too short.

mod predecessor;
pub mod report;
pub mod serve;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::AppName;
use baton_engine::{Instance, InstanceId};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use self::predecessor::Predecessor;
use self::report::{AppReport, InstanceReport, Report};
use super::{Feature, Figures, InstanceFigures, RouteError, Router, ServiceRoute};

pub use self::serve::Successor;

/// A router, and the same of an older process.
#[derive(Debug)]
pub struct Succession {
    own: Arc<dyn Router>,
    before: Option<Predecessor>,
    following: Mutex<Following>,
}

/// What is held back until all that is live is known: routes of half the apps would close the other half.
#[derive(Debug, Default)]
struct Following {
    own_waits: bool,
    before_waits: bool,
    last: Vec<ServiceRoute>,
}

impl Succession {
    /// The first of its line.
    #[must_use]
    pub fn first(own: Arc<dyn Router>) -> Succession {
        Succession {
            own,
            before: None,
            following: Mutex::default(),
        }
    }

    /// Takes over from the process at the other end of `link`; waits for its first report.
    pub async fn after(own: Arc<dyn Router>, link: UnixStream) -> Succession {
        let before = Predecessor::new(link, Arc::clone(&own));
        before.first_report().await;
        Succession {
            own,
            before: Some(before),
            following: Mutex::new(Following {
                before_waits: true,
                ..Following::default()
            }),
        }
    }

    /// The control plane is opened anew while this process serves: what is published waits for
    /// [`Succession::lead`].
    pub async fn hold(&self) {
        let mut following = self.following.lock().await;
        following.own_waits = true;
        following.before_waits = true;
    }

    /// All that is live has been published: from now on everyone follows, the old process too.
    pub async fn lead(&self) {
        let mut following = self.following.lock().await;
        let last = std::mem::take(&mut following.last);
        let waited = std::mem::take(&mut *following);
        if waited.own_waits
            && let Err(error) = self.own.publish(&last).await
        {
            // They had been checked.
            tracing::error!(%error, "routes stay as they were");
        }
        if let (true, Some(before)) = (waited.before_waits, &self.before) {
            before.publish(last).await;
        }
    }

    /// Tells the old process that this one accepts; returns when the old one does no more.
    pub async fn accepting(&self) {
        if let Some(before) = &self.before {
            before.accepting().await;
        }
    }

    /// Waits until no older process is left.
    pub async fn alone(&self) {
        if let Some(before) = &self.before {
            before.gone().await;
        }
    }

    fn before<T: Default>(&self, look: impl FnOnce(&Report) -> T) -> T {
        self.before
            .as_ref()
            .map(|before| look(&before.report()))
            .unwrap_or_default()
    }

    async fn before_is(&self, id: &InstanceId, far: impl Fn(&InstanceReport) -> bool) {
        if let Some(before) = &self.before {
            before.is(id, far).await;
        }
    }
}

#[async_trait]
impl Router for Succession {
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        let mut following = self.following.lock().await;
        if following.own_waits {
            self.own.check(routes)?;
        } else {
            self.own.publish(routes).await?;
        }
        if following.before_waits {
            following.last = routes.to_vec();
        } else if let Some(before) = &self.before {
            before.publish(routes.to_vec()).await;
        }
        Ok(())
    }

    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        self.own.check(routes)
    }

    async fn prepare(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        self.own.prepare(routes).await
    }

    async fn begin(&self) {
        self.own.begin().await;
    }

    async fn reaches(&self, app: &AppName, adopted: bool) -> Result<(), RouteError> {
        self.own.reaches(app, adopted).await
    }

    fn lacks(&self, feature: Feature) -> Option<&'static str> {
        self.own.lacks(feature)
    }

    fn counts(&self) -> bool {
        self.own.counts()
    }

    fn figures(&self, app: &AppName) -> Figures {
        self.own
            .figures(app)
            .and(self.before(|report| report.figures(app)))
    }

    fn reset_longest_held(&self, app: &AppName) {
        self.own.reset_longest_held(app);
        if let Some(before) = &self.before {
            before.reset_longest_held(app);
        }
    }

    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures> {
        let before = self.before(|report| report.instance(id).map(|one| one.figures));
        match (self.own.instance(id), before) {
            (Some(own), Some(before)) => Some(own.and(before)),
            (own, before) => own.or(before),
        }
    }

    async fn drained(&self, id: &InstanceId) {
        self.own.drained(id).await;
        self.before_is(id, |one| one.drained).await;
    }

    async fn cut(&self, id: &InstanceId) -> u64 {
        let before = async {
            match &self.before {
                Some(before) => before.cut(id).await,
                None => 0,
            }
        };
        let (own, before) = tokio::join!(self.own.cut(id), before);
        own + before
    }

    fn unattached(&self, app: &AppName) -> u64 {
        self.own.unattached(app) + self.before(|report| report.unattached(app))
    }

    async fn streams_ended(&self, id: &InstanceId) {
        self.own.streams_ended(id).await;
        self.before_is(id, |one| one.streams_ended).await;
    }

    async fn requests_drained(&self, id: &InstanceId) {
        self.own.requests_drained(id).await;
        self.before_is(id, |one| one.requests_drained).await;
    }

    fn end_websockets(&self, id: &InstanceId, code: u16, spread: Duration, pinned: bool) {
        self.own.end_websockets(id, code, spread, pinned);
        if let Some(before) = &self.before {
            before.end_websockets(id, code, spread, pinned);
        }
    }

    fn sessions(&self, id: &InstanceId) -> u64 {
        self.own.sessions(id)
            + self.before(|report| report.instance(id).map_or(0, |one| one.sessions))
    }

    fn session_cookie(&self, app: &AppName) -> Option<String> {
        self.own
            .session_cookie(app)
            .or_else(|| self.before(|report| report.apps.get(app)?.session_cookie.clone()))
    }

    fn known_sessions(&self, instance: &Instance) -> Vec<u8> {
        self.own.known_sessions(instance)
    }

    fn recall_sessions(&self, instance: &Instance, known: &[u8]) -> bool {
        self.own.recall_sessions(instance, known)
    }

    fn report(&self) -> Report {
        let own = self.own.report();
        let Some(before) = &self.before else {
            return own;
        };
        let before = before.report().clone();
        add(own, before)
    }
}

/// What both count together.
fn add(mut own: Report, before: Report) -> Report {
    for (app, report) in before.apps {
        let sum = own.apps.entry(app).or_default();
        *sum = AppReport {
            figures: sum.figures.and(report.figures),
            unattached: sum.unattached + report.unattached,
            session_cookie: sum.session_cookie.take().or(report.session_cookie),
        };
    }
    for (id, report) in before.instances {
        match own.instances.get_mut(&id) {
            None => drop(own.instances.insert(id, report)),
            Some(sum) => {
                *sum = InstanceReport {
                    figures: sum.figures.and(report.figures),
                    sessions: sum.sessions + report.sessions,
                    drained: sum.drained && report.drained,
                    requests_drained: sum.requests_drained && report.requests_drained,
                    streams_ended: sum.streams_ended && report.streams_ended,
                };
            }
        }
    }
    own
}
