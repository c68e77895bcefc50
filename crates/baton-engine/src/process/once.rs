//! A command that runs to its end beside the instances (see [`Engine::run_once`](crate::Engine)).
//!
//! Behind a shim like an instance, so that it is found again by a later daemon; but its folder is
//! apart from theirs, nobody restarts it, and its events go to nobody.

use std::sync::Arc;

use baton_compose::rendering::ProcessService;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

use super::engine::{ProcessEngine, about, other, refuse_bad, started};
use super::folder::{self, Folder};
use super::launch;
use super::life::Life;
use super::log::LogReader;
use super::methods::find_service;
use super::shield::Birth;
use super::spec::{Running, Spec};
use crate::engine::Slot;
use crate::once::Said;
use crate::{EngineError, Once, OnceResult, Shield};

impl ProcessEngine {
    pub(super) async fn once(
        &self,
        once: Once<'_>,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OnceResult, EngineError> {
        let deadline = Instant::now() + once.timeout;
        let service = find_service(once.rendering, once.slot, once.service)?;
        let spec = spec(&once, service, self.next_start());
        refuse_bad(&spec)?;
        let said = Said::new(line);
        let life = match self.launch_once(spec.clone()).await {
            Ok(life) => life,
            Err(error) => return self.never_ran(&spec, said, error),
        };
        let result = self.to_its_end(&life, said, deadline).await;
        let removed = life.folder.remove();
        let result = result?;
        removed.map_err(about("cannot remove", &life.id))?;
        Ok(result)
    }

    /// Clears what is left, and starts it. All in a task, which follows it even when nobody waits for
    /// it any more; whoever clears then waits until there is something to end.
    async fn launch_once(&self, spec: Spec) -> Result<Arc<Life>, EngineError> {
        let guard = self.slot_lock(&spec.slot).lock_owned().await;
        self.clear_once_of(&spec.slot).await?;
        let (root, shim) = (self.once_root.clone(), self.shim.clone());
        let (oom, alive) = (self.oom.clone(), self.alive.subscribe());
        let launched = tokio::spawn(async move {
            let _guard = guard;
            let launching = move || {
                let launched = launch::launch(&root, &shim, &spec);
                launched.map(|(folder, running)| Life::new(folder, spec, running))
            };
            let life = tokio::task::spawn_blocking(launching).await;
            let life = Arc::new(life.map_err(broken)??);
            tokio::spawn(follow(life.clone(), oom, alive));
            Ok(life)
        });
        launched.await.map_err(broken)?
    }

    /// What its shim wrote down is its end: a program that is not there is no fault of the engine's.
    fn never_ran(
        &self,
        spec: &Spec,
        mut said: Said<'_>,
        error: EngineError,
    ) -> Result<OnceResult, EngineError> {
        let folder = Folder::of(&self.once_root, &spec.id());
        let ended = folder.as_ref().and_then(|folder| folder.ended().ok()?);
        let (Some(folder), Some(ended)) = (folder, ended) else {
            return Err(error);
        };
        folder
            .remove()
            .map_err(about("cannot remove", &spec.id()))?;
        let exit = ended.exit();
        if let Some(reason) = &exit.error {
            said.line(reason);
        }
        Ok(said.result(exit, false))
    }

    async fn to_its_end(
        &self,
        life: &Arc<Life>,
        mut said: Said<'_>,
        deadline: Instant,
    ) -> Result<OnceResult, EngineError> {
        let fail = about("cannot read the output of", &life.id);
        let mut reader = LogReader::open(life.folder.path(), &life.spec).map_err(&fail)?;
        for line in reader.tail(usize::MAX).map_err(&fail)? {
            said.line(&line.text);
        }
        let told = timeout_at(deadline, tell(life, &mut reader, &mut said)).await;
        if told.is_err() {
            self.kill(life).await?;
            tell(life, &mut reader, &mut said).await;
        }
        Ok(said.result(life.ended().await, told.is_err()))
    }

    /// Whoever calls holds the slot's lock.
    pub(super) async fn clear_once_of(&self, slot: &Slot) -> Result<(), EngineError> {
        let found = folder::list(&self.once_root, Some(slot));
        for (folder, spec) in found.map_err(other("cannot read", &self.once_root))? {
            let id = spec.id();
            if let Some(running) = started(&folder, &id)? {
                let life = self.follow_once(folder.clone(), spec, running);
                self.kill(&life).await?;
            }
            folder.remove().map_err(about("cannot remove", &id))?;
        }
        // With what a making or a removal that was cut off has left.
        let folder = self.once_root.join(slot.to_string());
        let removed = Folder::at(&folder).remove();
        removed.map_err(other("cannot remove", &folder))
    }

    fn follow_once(&self, folder: Folder, spec: Spec, running: Running) -> Arc<Life> {
        let life = Arc::new(Life::new(folder, spec, running));
        let (oom, alive) = (self.oom.clone(), self.alive.subscribe());
        tokio::spawn(follow(life.clone(), oom, alive));
        life
    }
}

async fn follow(
    life: Arc<Life>,
    oom: Arc<super::oom::OomWitness>,
    alive: tokio::sync::watch::Receiver<()>,
) {
    let nobody = broadcast::Sender::new(1);
    life.follow(&oom, &nobody, alive).await;
}

/// The service with another command, and without its port.
fn spec(once: &Once<'_>, service: &ProcessService, start: u64) -> Spec {
    Spec {
        slot: once.slot.clone(),
        release: once.release,
        role: once.role,
        replica: 1,
        start,
        restarts: 0,
        port: None,
        // Beside the live color, like a candidate.
        birth: Birth::under(Shield::Candidate),
        service: ProcessService {
            command: once.command.to_vec(),
            listens: false,
            port: None,
            replicas: 1,
            ..service.clone()
        },
    }
}

/// Every line, until it has ended and all of them are told.
async fn tell(life: &Life, reader: &mut LogReader, said: &mut Said<'_>) {
    let mut written = life.written();
    loop {
        // Looked at before reading: what comes after this look is seen by the next one.
        written.mark_unchanged();
        let ended = life.has_ended();
        // A log that cannot be read says nothing; how it ended counts all the same.
        for line in reader.more().unwrap_or_default() {
            said.line(&line.text);
        }
        if ended {
            return;
        }
        tokio::select! {
            // Something was appended.
            _ = written.changed() => {}
            // It has ended: one more look, and that was all.
            _ = life.ended() => {}
        }
    }
}

fn broken(error: tokio::task::JoinError) -> EngineError {
    EngineError::Other {
        action: "start a command".to_owned(),
        reason: error.to_string(),
    }
}
