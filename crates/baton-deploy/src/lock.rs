//! One deploy of an app at a time. The lock belongs to the daemon's task, so it dies with the deploy.
//!
//! Of two that wait the newer stays: a pipeline that pushed twice wants the second push to go live.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_compose::AppName;
use tokio::sync::oneshot;

use crate::error::DeployError;
use crate::running::RunningDeploy;

#[derive(Debug, Default)]
pub(crate) struct Locks {
    apps: Mutex<HashMap<AppName, Entry>>,
    /// The daemon is handed over: nobody gets one. Changed under the lock of `apps`.
    frozen: AtomicBool,
}

#[derive(Debug)]
struct Entry {
    holder: Arc<RunningDeploy>,
    waiter: Option<(Arc<RunningDeploy>, oneshot::Sender<Turn>)>,
}

/// What a waiter is told.
#[derive(Debug)]
enum Turn {
    Yours,
    /// A newer one waits now.
    Displaced(Arc<RunningDeploy>),
}

/// The lock of one app, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    locks: Arc<Locks>,
    app: AppName,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.pass_on(&self.app);
    }
}

/// Someone else has it.
#[derive(Debug)]
pub(crate) enum Busy {
    Now(Arc<RunningDeploy>),
    DisplacedBy(Arc<RunningDeploy>),
    Frozen,
}

impl Busy {
    pub(crate) fn error(&self) -> DeployError {
        match self {
            Busy::Now(holder) if holder.is_removal() => DeployError::BeingRemoved {
                app: holder.app.clone(),
            },
            Busy::Now(holder) => DeployError::Locked {
                app: holder.app.clone(),
                deploy: holder.id,
                step: holder.step().to_string(),
            },
            Busy::DisplacedBy(newer) => DeployError::Displaced {
                app: newer.app.clone(),
                newer: newer.id,
            },
            Busy::Frozen => DeployError::Upgrading,
        }
    }
}

impl Locks {
    /// From now on nobody gets a lock; refused while somebody has one.
    pub(crate) fn freeze(&self) -> Result<(), Busy> {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = apps.values().next() {
            return Err(Busy::Now(Arc::clone(&entry.holder)));
        }
        self.frozen.store(true, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn thaw(&self) {
        let _apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        self.frozen.store(false, Ordering::Relaxed);
    }

    /// Whether nobody gets a lock now.
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    /// Takes the lock if it is free.
    pub(crate) fn try_take(self: &Arc<Self>, deploy: &Arc<RunningDeploy>) -> Result<Held, Busy> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = apps.get(&deploy.app) {
            return Err(Busy::Now(Arc::clone(&entry.holder)));
        }
        if self.frozen.load(Ordering::Relaxed) {
            return Err(Busy::Frozen);
        }
        apps.insert(
            deploy.app.clone(),
            Entry {
                holder: Arc::clone(deploy),
                waiter: None,
            },
        );
        Ok(self.held(&deploy.app))
    }

    /// Takes the lock, waiting for it; `waiting` is called once when it is not free.
    pub(crate) async fn take(
        self: &Arc<Self>,
        deploy: &Arc<RunningDeploy>,
        wait: Duration,
        waiting: impl FnOnce(&RunningDeploy),
    ) -> Result<Held, Busy> {
        let (holder, turn) = match self.queue(deploy) {
            Ok(queued) => queued,
            Err(taken) => return taken,
        };
        waiting(&holder);
        let mut turn = Waiting {
            locks: self,
            deploy,
            turn,
            over: false,
        };
        match tokio::time::timeout(wait, &mut turn.turn).await {
            Ok(Ok(Turn::Yours)) => {
                turn.over = true;
                Ok(self.held(&deploy.app))
            }
            Ok(Ok(Turn::Displaced(newer))) => Err(Busy::DisplacedBy(newer)),
            Ok(Err(_)) | Err(_) => Err(Busy::Now(self.holder(&deploy.app).unwrap_or(holder))),
        }
    }

    /// A place behind the holder; `Err` with how it ends at once where there is none.
    fn queue(
        self: &Arc<Self>,
        deploy: &Arc<RunningDeploy>,
    ) -> Result<(Arc<RunningDeploy>, oneshot::Receiver<Turn>), Result<Held, Busy>> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = apps.get_mut(&deploy.app) else {
            drop(apps);
            return match self.try_take(deploy) {
                Err(Busy::Now(_)) => self.queue(deploy),
                taken => Err(taken),
            };
        };
        let (sender, receiver) = oneshot::channel();
        if let Some((_, older)) = entry.waiter.replace((Arc::clone(deploy), sender)) {
            drop(older.send(Turn::Displaced(Arc::clone(deploy))));
        }
        Ok((Arc::clone(&entry.holder), receiver))
    }

    /// The deploy that holds the lock now.
    pub(crate) fn holder(&self, app: &AppName) -> Option<Arc<RunningDeploy>> {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.get(app).map(|entry| Arc::clone(&entry.holder))
    }

    /// Waits until `holder`, whose deploy has told how it ended, has let go of the lock.
    pub(crate) async fn free(&self, app: &AppName, holder: &RunningDeploy) {
        while self.holder(app).is_some_and(|now| now.id == holder.id) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    fn held(self: &Arc<Self>, app: &AppName) -> Held {
        Held {
            locks: Arc::clone(self),
            app: app.clone(),
        }
    }

    /// The holder is done: the waiter's turn, if it still waits.
    fn pass_on(&self, app: &AppName) {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let waiter = apps.get_mut(app).and_then(|entry| entry.waiter.take());
        if let Some((next, turn)) = waiter
            && turn.send(Turn::Yours).is_ok()
        {
            if let Some(entry) = apps.get_mut(app) {
                entry.holder = next;
            }
            return;
        }
        apps.remove(app);
    }

    /// `deploy` waits no more.
    fn give_up(&self, deploy: &RunningDeploy) {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = apps.get_mut(&deploy.app) else {
            return;
        };
        let waits = entry
            .waiter
            .as_ref()
            .is_some_and(|(waiter, _)| waiter.id == deploy.id);
        if waits {
            entry.waiter = None;
        } else if entry.holder.id == deploy.id {
            // Its turn came in the very moment it gave up.
            drop(apps);
            self.pass_on(&deploy.app);
        }
    }
}

/// A place in the queue, left when dropped.
struct Waiting<'a> {
    locks: &'a Locks,
    deploy: &'a RunningDeploy,
    turn: oneshot::Receiver<Turn>,
    over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.locks.give_up(self.deploy);
        }
    }
}
