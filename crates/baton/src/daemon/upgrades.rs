//! What the API and the daemon say to each other about an upgrade.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::wire::{UpgradeAccepted, UpgradeFailed};

/// What `baton upgrade` asks for.
#[derive(Debug)]
pub struct Request {
    pub binary: PathBuf,
    /// How long the old process may take to finish what it has.
    pub drain: Duration,
    pub answer: oneshot::Sender<Result<UpgradeAccepted, Refused>>,
}

/// Nothing has changed.
#[derive(Debug)]
pub struct Refused {
    pub message: String,
    pub exit_code: u8,
}

/// The API's side.
#[derive(Debug, Clone)]
pub struct Upgrades {
    requests: mpsc::Sender<Request>,
    failed: Arc<Mutex<Option<UpgradeFailed>>>,
}

impl Upgrades {
    /// Both sides. One request at a time.
    #[must_use]
    pub fn new() -> (Upgrades, mpsc::Receiver<Request>) {
        let (requests, asked) = mpsc::channel(1);
        let failed = Arc::default();
        (Upgrades { requests, failed }, asked)
    }

    /// Begins one; the new process is ready when this returns, and is the daemon a moment later.
    ///
    /// # Errors
    /// Why not.
    pub async fn begin(
        &self,
        binary: PathBuf,
        drain: Duration,
    ) -> Result<UpgradeAccepted, Refused> {
        let ending = || Refused {
            message: "the daemon is being stopped or upgraded already".to_owned(),
            exit_code: baton_deploy::outcome::ExitCode::Locked as u8,
        };
        let (answer, answered) = oneshot::channel();
        let request = Request {
            binary,
            drain,
            answer,
        };
        self.requests.try_send(request).map_err(|_| ending())?;
        answered.await.unwrap_or_else(|_| Err(ending()))
    }

    /// The last that went wrong after it had been begun.
    #[must_use]
    pub fn failed(&self) -> Option<UpgradeFailed> {
        let failed = self.failed.lock();
        failed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_failed(&self, failed: UpgradeFailed) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }
}
