//! Keeps the live color of each app up: an instance that ends is unrouted at once, started again, and
//! routed when it is ready. Requests are held meanwhile.
//!
//! One task per engine follows its events; one task per app (its *keeper*) puts right what is not.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_compose::{AppName, EngineKind};
use baton_engine::{Engine, EngineEvent, Exit, InstanceId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use tokio::time::{Instant, sleep};

use crate::core::Core;
use crate::keeper;

/// Restarts of one instance: the first at once, then after waits that double up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Ran so long: the next exit is restarted at once again.
const SETTLED: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Supervision {
    keepers: Mutex<HashMap<AppName, Arc<Kept>>>,
}

/// What the keeper of one app shares with the rest.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) woken: Notify,
    /// Held while a switch or the keeper changes what runs: an old color must not be put right.
    changing: Arc<AsyncMutex<()>>,
    warnings: Mutex<Vec<String>>,
    /// Instances that are waited for, so that each is waited for once.
    awaited: Mutex<HashSet<InstanceId>>,
    restarts: Mutex<BTreeMap<(String, u32), Restarts>>,
}

#[derive(Debug, Clone, Copy)]
struct Restarts {
    last: Instant,
    in_a_row: u32,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    pub(crate) fn warn(&self, warnings: Vec<String>) {
        *locked(&self.warnings) = warnings;
    }

    /// While it is held nobody else starts or restarts instances of the live color.
    pub(crate) async fn change(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.changing).lock_owned().await
    }

    /// False when someone waits for it already.
    pub(crate) fn await_once(&self, id: &InstanceId) -> bool {
        locked(&self.awaited).insert(id.clone())
    }

    pub(crate) fn awaited(&self, id: &InstanceId) {
        locked(&self.awaited).remove(id);
    }

    /// How long to wait before this replica is restarted `now`; zero counts as a restart.
    pub(crate) fn restart_wait(&self, service: &str, replica: u32, now: Instant) -> Duration {
        let mut restarts = locked(&self.restarts);
        let key = (service.to_owned(), replica);
        let Some(known) = restarts.get_mut(&key) else {
            let first = Restarts {
                last: now,
                in_a_row: 1,
            };
            restarts.insert(key, first);
            return Duration::ZERO;
        };
        if now.duration_since(known.last) >= SETTLED.max(wait_after(known.in_a_row) * 2) {
            known.in_a_row = 0;
        }
        let wait = wait_after(known.in_a_row).saturating_sub(now.duration_since(known.last));
        if wait.is_zero() {
            known.last = now;
            known.in_a_row += 1;
        }
        wait
    }
}

/// 0, 0.5, 1, 2, … 30 s.
fn wait_after(in_a_row: u32) -> Duration {
    match in_a_row {
        0 => Duration::ZERO,
        n => (Duration::from_millis(500) * 2u32.pow((n - 1).min(6))).min(LONGEST_WAIT),
    }
}

impl Supervision {
    fn kept(&self, app: &AppName) -> (Arc<Kept>, bool) {
        let mut keepers = locked(&self.keepers);
        let new = !keepers.contains_key(app);
        (Arc::clone(keepers.entry(app.clone()).or_default()), new)
    }

    /// What a person should know about the app.
    pub(crate) fn warnings(&self, app: &AppName) -> Vec<String> {
        locked(&self.keepers)
            .get(app)
            .map_or_else(Vec::new, |kept| locked(&kept.warnings).clone())
    }

    pub(crate) fn forget(&self, app: &AppName) {
        if let Some(kept) = locked(&self.keepers).remove(app) {
            kept.woken.notify_one();
        }
    }

    pub(crate) fn keeps(&self, app: &AppName, kept: &Arc<Kept>) -> bool {
        locked(&self.keepers)
            .get(app)
            .is_some_and(|now| Arc::ptr_eq(now, kept))
    }
}

impl Core {
    /// Has the app's live color looked at soon.
    pub(crate) fn wake(self: &Arc<Self>, app: &AppName) {
        let (kept, new) = self.supervision.kept(app);
        kept.woken.notify_one();
        if new {
            self.spawn(keeper::keep(Arc::clone(self), app.clone(), kept));
        }
    }

    /// While it is held the app's keeper starts and restarts nothing.
    pub(crate) async fn hold_keeper(self: &Arc<Self>, app: &AppName) -> OwnedMutexGuard<()> {
        let (kept, new) = self.supervision.kept(app);
        if new {
            self.spawn(keeper::keep(
                Arc::clone(self),
                app.clone(),
                Arc::clone(&kept),
            ));
        }
        kept.change().await
    }
}

/// Follows the events of one engine for ever.
pub(crate) async fn follow(core: Arc<Core>, kind: EngineKind, engine: Arc<dyn Engine>) {
    let mut events = engine.events();
    // Whatever happened before the subscription.
    wake_all(&core, kind).await;
    loop {
        match events.recv().await {
            Ok(EngineEvent::Exited { id, exit, .. }) => exited(&core, kind, &id, &exit).await,
            Ok(EngineEvent::Started { slot, .. }) => match slot {
                Some(slot) => {
                    let known = core.routes.live(&slot.app).await.is_some()
                        || core.routes.previewed(&slot.app).await.is_some();
                    if known {
                        core.wake(&slot.app);
                    }
                }
                // A plain container: one that was adopted, or one that came back.
                None => wake_all(&core, kind).await,
            },
            Ok(EngineEvent::Lost) => {
                let text = format!(
                    "{} does not answer; what runs is served on",
                    engine.describe()
                );
                core.event(None, "engine_lost", text).await;
            }
            Ok(EngineEvent::Back) => {
                core.event(None, "engine_back", engine.describe()).await;
                wake_all(&core, kind).await;
            }
            Err(RecvError::Lagged(_)) => wake_all(&core, kind).await,
            Err(RecvError::Closed) => {
                sleep(Duration::from_secs(1)).await;
                events = engine.events();
            }
        }
    }
}

async fn wake_all(core: &Arc<Core>, kind: EngineKind) {
    let apps = match core.store.apps().await {
        Ok(apps) => apps,
        Err(error) => {
            tracing::error!("{error}");
            return;
        }
    };
    for app in apps {
        let live = core.live_release(&app).await.ok().flatten();
        let staged = core.store.staged(&app).await.ok().flatten();
        let is_its_own = live.is_none_or(|(_, release)| release.engine() == kind);
        if is_its_own || staged.is_some() {
            core.wake(&app);
        }
    }
}

/// One ended: no request goes to it from now on.
async fn exited(core: &Arc<Core>, kind: EngineKind, id: &InstanceId, exit: &Exit) {
    let apps = core.store.apps().await.unwrap_or_default();
    for app in apps {
        match core.routes.unroute_preview(&app, id).await {
            Ok(true) => {
                let text = format!("{id} of the preview ended: {exit}");
                core.event(Some(&app), "instance_exited", text).await;
                core.wake(&app);
                return;
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%app, "{error}"),
        }
        let Some((color, release)) = core.live_release(&app).await.ok().flatten() else {
            continue;
        };
        if release.engine() != kind {
            continue;
        }
        match core.routes.unroute(&app, id).await {
            Ok(true) => {
                let text = format!("{id} of {} ({color}) ended: {exit}", release.id);
                core.event(Some(&app), "instance_exited", text).await;
                core.wake(&app);
                return;
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%app, "{error}"),
        }
    }
    // Not routed: a worker, a candidate, or one on its way out. A keeper tells them apart.
    wake_all(core, kind).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_wait_longer_and_longer_up_to_half_a_minute() {
        let waits: Vec<_> = (0..10).map(|n| wait_after(n).as_millis()).collect();
        assert_eq!(
            waits,
            [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
    }

    #[test]
    fn the_first_restart_comes_at_once_and_again_after_a_settled_run() {
        let kept = Kept::default();
        let mut now = Instant::now();
        assert_eq!(kept.restart_wait("api", 1, now), Duration::ZERO);
        let wait = kept.restart_wait("api", 1, now);
        assert_eq!(wait, Duration::from_millis(500));
        now += wait;
        assert_eq!(kept.restart_wait("api", 1, now), Duration::ZERO);
        assert_eq!(kept.restart_wait("api", 1, now), Duration::from_secs(1));
        assert_eq!(kept.restart_wait("api", 2, now), Duration::ZERO);
        now += SETTLED;
        assert_eq!(kept.restart_wait("api", 1, now), Duration::ZERO);
    }
}
