//! `baton observe PATH`: watches a stream path during one deploy, with clients of Baton's own on both
//! colors, and says which mode fits it. Nothing of the app's traffic is touched.
//!
//! | module | does |
//! | --- | --- |
//! | `client` | reads the stream from one instance |
//! | [`verdict`] | what was seen → a mode, with its reasons |

mod client;
mod verdict;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::{AppName, Color, Policy};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use self::client::Client;
use self::verdict::{Watched, verdict};
use crate::core::Core;
use crate::error::DeployError;
use crate::release::Release;

pub use self::verdict::Verdict;

/// How often it looks whether a deploy has come further.
const LOOK: Duration = Duration::from_millis(50);

/// After the switch both colors are watched on for so long: clients come to the new one.
const AFTER: Duration = Duration::from_secs(3);

/// So long the new color has to repeat what it was asked for.
const REPLAY: Duration = Duration::from_secs(1);

/// One line of `baton observe --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Observed {
    Note { text: String },
    Verdict(Verdict),
}

/// Begins to watch; the receiver gets what happens, and the verdict last. Ends when it is dropped.
pub(crate) async fn observe(
    core: &Arc<Core>,
    app: &AppName,
    path: &str,
) -> Result<mpsc::Receiver<Observed>, DeployError> {
    core.known(app).await?;
    if !path.starts_with('/') {
        let text = format!("expected a path such as /sse, found {path:?}");
        return Err(DeployError::Usage(text));
    }
    let nothing = || DeployError::Usage(format!("nothing of {app} is live"));
    let (color, release) = core.live_release(app).await?.ok_or_else(nothing)?;
    let old = place(core, &release, color, path)
        .await
        .ok_or_else(nothing)?;
    let (sender, receiver) = mpsc::channel(16);
    let watch = Watch {
        core: Arc::clone(core),
        app: app.clone(),
        path: path.to_owned(),
        color,
        sender,
    };
    core.spawn(async move {
        let closed = watch.sender.clone();
        tokio::select! {
            () = watch.run(old) => {}
            () = closed.closed() => {}
        }
    });
    Ok(receiver)
}

/// Where an instance of the service that has `path` is reached.
async fn place(
    core: &Core,
    release: &Release,
    color: Color,
    path: &str,
) -> Option<(SocketAddr, Policy)> {
    let service = release
        .routed()
        .filter(|service| path.starts_with(service.policy.path.as_str()))
        .max_by_key(|service| service.policy.path.len())?;
    let running = core.running_instances(release, color).await.ok()?;
    let address = running
        .iter()
        .filter(|instance| instance.service == service.name)
        .find_map(|instance| instance.address)?;
    let at = SocketAddr::new(address.ip, address.port);
    Some((at, service.policy.clone()))
}

struct Watch {
    core: Arc<Core>,
    app: AppName,
    path: String,
    /// Live when it began.
    color: Color,
    sender: mpsc::Sender<Observed>,
}

impl Watch {
    async fn note(&self, text: String) {
        // Whoever is gone is told nothing.
        let _ = self.sender.send(Observed::Note { text }).await;
    }

    async fn run(&self, old: (SocketAddr, Policy)) {
        let first = Client::start(old.0, &old.1, &self.path, None);
        self.note(format!(
            "watching {} on {}; deploy now, with clients that make events come",
            self.path, self.color
        ))
        .await;
        let (at, policy) = loop {
            if let Some(found) = self.candidate().await {
                break found;
            }
            sleep(LOOK).await;
        };
        self.note(format!("watching {} as well", self.color.other()))
            .await;
        let second = Client::start(at, &policy, &self.path, None);
        if !self.switched().await {
            self.note("the deploy was taken back; what was seen until then counts".to_owned())
                .await;
        }
        sleep(AFTER).await;
        let (seen, other) = (first.side(), second.side());
        let last = seen.events.iter().rev().filter_map(|e| e.id.clone()).nth(1);
        let replay = match last {
            Some(id) => {
                let third = Client::start(at, &policy, &self.path, Some(id));
                sleep(REPLAY).await;
                Some(third.side())
            }
            None => None,
        };
        let watched = Watched {
            path: self.path.clone(),
            old: seen,
            new: other,
            replay,
        };
        let _ = self.sender.send(Observed::Verdict(verdict(&watched))).await;
    }

    /// An instance of the other color that answers.
    async fn candidate(&self) -> Option<(SocketAddr, Policy)> {
        let color = self.color.other();
        // A color that is left over is none.
        let deploying = self.core.locks.holder(&self.app).is_some() || self.is_switched().await;
        let slot = self.core.store.slot(&self.app, color).await.ok()?;
        let release = self.core.store.release(&self.app, slot.release?).await;
        let release = release.ok().flatten().filter(|_| deploying)?;
        let found = place(&self.core, &release, color, &self.path).await?;
        let listens = tokio::net::TcpStream::connect(found.0).await.is_ok();
        listens.then_some(found)
    }

    async fn is_switched(&self) -> bool {
        let live = self.core.routes.live(&self.app).await;
        live.is_some_and(|live| live.color != self.color)
    }

    /// False when the deploy has ended without.
    async fn switched(&self) -> bool {
        let mut idle_since: Option<Instant> = None;
        loop {
            if self.is_switched().await {
                return true;
            }
            if self.core.locks.holder(&self.app).is_none() {
                let since = *idle_since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(1) {
                    return false;
                }
            }
            sleep(LOOK).await;
        }
    }
}
