//! The new daemon's side of the link: an old process that still has connections.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use baton_compose::AppName;
use baton_engine::InstanceId;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::report::{InstanceReport, Report};
use super::wire::{self, Asked, Said};
use crate::router::{Router, ServiceRoute};

/// How long the old process may take to follow. One that does not is given up: it ends by itself when
/// the link is closed.
const FOLLOWS: Duration = Duration::from_secs(10);

type Calls = Mutex<HashMap<u64, oneshot::Sender<u64>>>;

/// An old process, as long as it lives; what it has counted, for ever.
#[derive(Debug)]
pub(crate) struct Predecessor {
    asks: mpsc::UnboundedSender<Asked>,
    /// The latest; its process has gone when nothing more can come.
    report: watch::Receiver<Report>,
    calls: Arc<Calls>,
    next: AtomicU64,
    tasks: Mutex<JoinSet<()>>,
}

impl Predecessor {
    /// `own`: the router that takes sessions over.
    pub(crate) fn new(link: UnixStream, own: Arc<dyn Router>) -> Predecessor {
        let (asks, mut asked) = mpsc::unbounded_channel();
        let (reports, report) = watch::channel(Report::default());
        let calls = Arc::new(Calls::default());
        let (reads, mut writes) = link.into_split();
        let mut tasks = JoinSet::new();
        let line = Line {
            own,
            reports,
            calls: Arc::clone(&calls),
        };
        tasks.spawn(async move {
            let write = async {
                while let Some(message) = asked.recv().await {
                    wire::write(&mut writes, &message).await?;
                }
                io::Result::Ok(())
            };
            let result = tokio::select! {
                result = write => result,
                result = line.read(reads) => result,
            };
            tracing::debug!(?result, "the link to the process before this one is closed");
        });
        Predecessor {
            asks,
            report,
            calls,
            next: AtomicU64::new(0),
            tasks: Mutex::new(tasks),
        }
    }

    /// Waits for its first report; what is counted goes on from there.
    pub(crate) async fn first_report(&self) {
        let mut report = self.report.clone();
        // An error: it has gone, and no report will come.
        let _ = tokio::time::timeout(FOLLOWS, report.changed()).await;
    }

    pub(crate) fn report(&self) -> watch::Ref<'_, Report> {
        self.report.borrow()
    }

    /// Waits until it has come so far with an instance, or has gone.
    pub(crate) async fn is(&self, id: &InstanceId, far: impl Fn(&InstanceReport) -> bool) {
        let mut report = self.report.clone();
        let _ = report.wait_for(|report| report.is(id, &far)).await;
    }

    /// Waits until it has gone.
    pub(crate) async fn gone(&self) {
        let mut report = self.report.clone();
        while report.changed().await.is_ok() {}
    }

    pub(crate) async fn publish(&self, routes: Vec<ServiceRoute>) {
        self.call(FOLLOWS, |call| Asked::Publish { call, routes })
            .await;
    }

    pub(crate) async fn cut(&self, id: &InstanceId) -> u64 {
        let id = id.clone();
        self.call(FOLLOWS, |call| Asked::Cut { call, id }).await
    }

    pub(crate) async fn accepting(&self) {
        self.call(FOLLOWS, |call| Asked::Accepting { call }).await;
    }

    pub(crate) fn end_websockets(
        &self,
        id: &InstanceId,
        code: u16,
        spread: Duration,
        pinned: bool,
    ) {
        self.tell(Asked::EndWebSockets {
            id: id.clone(),
            code,
            spread,
            pinned,
        });
    }

    pub(crate) fn reset_longest_held(&self, app: &AppName) {
        self.tell(Asked::ResetLongestHeld { app: app.clone() });
    }

    /// To one that has gone nothing needs to be said.
    fn tell(&self, message: Asked) {
        let _ = self.asks.send(message);
    }

    /// Its answer; 0 from one that has gone, or has to go because it does not answer.
    async fn call(&self, within: Duration, message: impl FnOnce(u64) -> Asked) -> u64 {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(call, answer);
        if self.asks.send(message(call)).is_err() {
            return 0;
        }
        match tokio::time::timeout(within, answered).await {
            Ok(count) => count.unwrap_or(0),
            Err(_) => {
                tracing::warn!(
                    "the process before this one does not follow; what it still has is ended"
                );
                let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.abort_all();
                0
            }
        }
    }
}

/// Where what it says arrives, until it has gone.
struct Line {
    own: Arc<dyn Router>,
    reports: watch::Sender<Report>,
    calls: Arc<Calls>,
}

impl Line {
    async fn read(&self, mut reads: OwnedReadHalf) -> io::Result<()> {
        loop {
            match wire::read::<Said>(&mut reads).await? {
                Said::Report(report) => drop(self.reports.send_replace(report)),
                Said::Sessions { instance, known } => {
                    // Where nothing was known before, the two do not know them by the same hashes.
                    let known = BASE64_STANDARD.decode(known).unwrap_or_default();
                    self.own.recall_sessions(&instance, &known);
                }
                Said::Done {
                    call,
                    count,
                    report,
                } => {
                    self.reports.send_replace(report);
                    let waits = self.calls().remove(&call);
                    if let Some(answer) = waits {
                        // Whoever asked may not wait any more.
                        let _ = answer.send(count);
                    }
                }
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<u64>>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is open in it any more; whoever waits for an answer gets none.
impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!("the process before this one has ended");
        self.reports
            .send_modify(|report| *report = std::mem::take(report).past());
        self.calls().clear();
    }
}
