//! The old daemon's side of the link: what the new one publishes is carried out here as well, and what
//! is counted here is told.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use baton_engine::{Instance, InstanceId};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;

use super::report::Report;
use super::wire::{self, Asked, Said};
use crate::router::{Router, ServiceRoute};

/// How often it is looked for something new to report.
const LOOK: Duration = Duration::from_millis(150);

/// Serves a successor for as long as it lives.
#[derive(Debug)]
pub struct Successor {
    accepting: watch::Receiver<bool>,
    ended: watch::Receiver<bool>,
    /// Counts the looks for something new to report.
    told: watch::Receiver<u64>,
    /// Its clients' sessions are to be told.
    sessions: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Successor {
    /// Follows from now on what comes over `link`. Dropping it closes the link.
    #[must_use]
    pub fn serve(link: UnixStream, router: Arc<dyn Router>) -> Successor {
        let (accepts, accepting) = watch::channel(false);
        let (ends, ended) = watch::channel(false);
        let (tells, told) = watch::channel(0);
        let sessions = Arc::new(Notify::new());
        let asked = Arc::clone(&sessions);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let result = all(link, router, &accepts, &tells, &asked).await;
            tracing::debug!(?result, "the link to the new daemon is closed");
            ends.send_replace(true);
            // Whoever waits for it looks at `ended` as well.
            drop(accepts);
        });
        Successor {
            accepting,
            ended,
            told,
            sessions,
            _tasks: tasks,
        }
    }

    /// Waits until it says that it accepts. False: it has gone before that. Cancel safe.
    pub async fn accepting(&mut self) -> bool {
        self.accepting.wait_for(|yes| *yes).await.is_ok()
    }

    /// This process accepts no more, which the new one waits for; what is known here of sessions goes to it.
    pub fn retired(&self) {
        self.sessions.notify_one();
    }

    /// Waits until it has been told all that was counted: this process ends.
    pub async fn last_word(&mut self) {
        let _ = tokio::time::timeout(5 * LOOK, async {
            // Those that nobody has looked at, the one that goes on, and then one of after now.
            for _ in 0..3 {
                if self.told.changed().await.is_err() {
                    return;
                }
            }
        })
        .await;
    }

    /// Waits until it has gone, or does not answer any more. Cancel safe.
    pub async fn gone(&mut self) {
        // An error: the task that would say so has gone itself.
        let _ = self.ended.wait_for(|yes| *yes).await;
    }
}

async fn all(
    link: UnixStream,
    router: Arc<dyn Router>,
    accepts: &watch::Sender<bool>,
    tells: &watch::Sender<u64>,
    asked: &Notify,
) -> io::Result<()> {
    let (reads, writes) = link.into_split();
    let writes = Arc::new(Mutex::new(Out {
        link: writes,
        told: None,
    }));
    let following = StdMutex::default();
    tokio::select! {
        result = listen(reads, &router, &writes, accepts, &following) => result,
        result = sessions(&router, &writes, asked, &following) => result,
        result = tell(&router, &writes, tells) => result,
    }
}

/// What goes to the new daemon.
#[derive(Debug)]
struct Out {
    link: OwnedWriteHalf,
    /// The report that it has.
    told: Option<Report>,
}

/// Sends a report whenever it is another one.
async fn tell(
    router: &Arc<dyn Router>,
    writes: &Mutex<Out>,
    tells: &watch::Sender<u64>,
) -> io::Result<()> {
    loop {
        {
            // Made under the lock: no older report goes out behind that of a call.
            let mut out = writes.lock().await;
            let report = router.report();
            if out.told.as_ref() != Some(&report) {
                wire::write(&mut out.link, &Said::Report(report.clone())).await?;
                out.told = Some(report);
            }
        }
        tells.send_modify(|looks| *looks += 1);
        tokio::time::sleep(LOOK).await;
    }
}

/// What the new daemon has asked for last.
#[derive(Debug, Default)]
struct Following {
    routes: Vec<ServiceRoute>,
    /// The call that waits until this process accepts no more.
    accepting: Option<u64>,
}

fn asked_for(following: &StdMutex<Following>) -> MutexGuard<'_, Following> {
    following.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Once this process accepts no more: tells what is known of the sessions of all that is published.
async fn sessions(
    router: &Arc<dyn Router>,
    writes: &Mutex<Out>,
    asked: &Notify,
    following: &StdMutex<Following>,
) -> io::Result<()> {
    loop {
        asked.notified().await;
        let instances: BTreeMap<InstanceId, Instance> = asked_for(following)
            .routes
            .iter()
            .flat_map(|route| route.instances.iter().chain(&route.pinned))
            .map(|instance| (instance.id.clone(), instance.clone()))
            .collect();
        for instance in instances.into_values() {
            let known = router.known_sessions(&instance);
            if !known.is_empty() {
                let known = BASE64_STANDARD.encode(known);
                let mut out = writes.lock().await;
                wire::write(&mut out.link, &Said::Sessions { instance, known }).await?;
            }
        }
        let waits = asked_for(following).accepting.take();
        if let Some(call) = waits {
            done(router, writes, call, 0).await?;
        }
    }
}

async fn listen(
    mut reads: OwnedReadHalf,
    router: &Arc<dyn Router>,
    writes: &Arc<Mutex<Out>>,
    accepts: &watch::Sender<bool>,
    following: &StdMutex<Following>,
) -> io::Result<()> {
    let mut cuts = JoinSet::new();
    loop {
        match wire::read::<Asked>(&mut reads).await? {
            Asked::Accepting { call } => {
                asked_for(following).accepting = Some(call);
                accepts.send_replace(true);
            }
            Asked::Publish { call, routes } => {
                if let Err(error) = router.publish(&routes).await {
                    // The new daemon's own router has taken them.
                    tracing::error!(%error, "cannot follow the new daemon's routes");
                }
                done(router, writes, call, 0).await?;
                asked_for(following).routes = routes;
            }
            Asked::Cut { call, id } => {
                let (router, writes) = (Arc::clone(router), Arc::clone(writes));
                cuts.spawn(async move {
                    let count = router.cut(&id).await;
                    // A link that is closed is found by whoever reads from it.
                    let _ = done(&router, &writes, call, count).await;
                });
            }
            Asked::EndWebSockets {
                id,
                code,
                spread,
                pinned,
            } => router.end_websockets(&id, code, spread, pinned),
            Asked::ResetLongestHeld { app } => router.reset_longest_held(&app),
        }
        while cuts.try_join_next().is_some() {}
    }
}

async fn done(
    router: &Arc<dyn Router>,
    writes: &Mutex<Out>,
    call: u64,
    count: u64,
) -> io::Result<()> {
    let mut out = writes.lock().await;
    let report = router.report();
    out.told = Some(report.clone());
    wire::write(
        &mut out.link,
        &Said::Done {
            call,
            count,
            report,
        },
    )
    .await
}
