//! What [`Engine`] asks for, in terms of [`ProcessEngine`]'s parts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::AppName;
use baton_compose::rendering::{ProcessService, Rendering};
use rustix::process::PidfdFlags;
use tokio::sync::{broadcast, mpsc};

use super::engine::{ProcessEngine, about, other, refuse_bad};
use super::folder::{self, Folder};
use super::life::Life;
use super::log::LogReader;
use super::shield::Birth;
use super::spec::Spec;
use super::{command, proc, sockets};
use crate::engine::{HealthcheckResult, Slot};
use crate::{
    Engine, EngineError, EngineEvent, Exit, Instance, InstanceId, InstanceState, LogLine, Once,
    OnceResult, Replicas, Shield, Start, Usage,
};

/// Lines that wait for a slow reader of a log.
const LOG_LINES: usize = 256;

#[async_trait]
impl Engine for ProcessEngine {
    async fn check(&self) -> Result<(), EngineError> {
        folder::make_private_folder(&self.root).map_err(other("cannot make", &self.root))?;
        let itself = rustix::process::getpid();
        let missing = |what, reason: String, next: &str| EngineError::Missing {
            what,
            reason,
            next: next.to_owned(),
        };
        rustix::process::pidfd_open(itself, PidfdFlags::empty()).map_err(|error| {
            missing(
                "pidfd_open",
                error.to_string(),
                "the process engine needs Linux 5.4 or newer",
            )
        })?;
        if proc::Stat::read(itself.as_raw_nonzero().get()).is_none() {
            let reason = "/proc/self/stat cannot be read".to_owned();
            return Err(missing("/proc", reason, "mount it"));
        }
        Ok(())
    }

    async fn start(&self, start: Start<'_>) -> Result<Vec<Instance>, EngineError> {
        let services = start.services.iter();
        let specs: Vec<Spec> = services
            .map(|name| {
                let service = find_service(start.rendering, start.slot, name)?;
                Ok(first_spec(&start, service))
            })
            .collect::<Result<_, EngineError>>()?;
        specs.iter().try_for_each(refuse_bad)?;
        let slot = self.slot_lock(start.slot);
        let _one_at_a_time = slot.lock().await;
        let mut kept = Vec::new();
        let mut leftovers = Vec::new();
        for (folder, found) in self.list(Some(start.slot))? {
            let Some(wanted) = specs
                .iter()
                .find(|spec| spec.service.name == found.service.name)
            else {
                continue;
            };
            if wanted.runs_the_same_as(&found) && self.life(&found.id())?.is_some() {
                kept.push(self.look(&folder, &found).await?);
            } else {
                leftovers.push((folder, found));
            }
        }
        self.remove_all(&leftovers).await?;
        if start.shielded {
            self.shields.remember(start.slot, Shield::Candidate);
        } else if self.list(Some(start.slot))?.is_empty() {
            self.shields.remember(start.slot, Shield::None);
        }
        for spec in specs {
            for replica in missing(&spec.service, start.replicas, &kept) {
                let spec = Spec {
                    replica,
                    ..spec.clone()
                };
                kept.push(self.launch(spec).await?);
            }
        }
        // What is not possible is told to those who ask `Engine::shield`.
        self.apply_shield(start.slot).await?;
        kept.sort_by(|a, b| (&a.service, a.replica).cmp(&(&b.service, b.replica)));
        Ok(kept)
    }

    async fn instances(&self, slot: &Slot) -> Result<Vec<Instance>, EngineError> {
        let mut found = self.list(Some(slot))?;
        // Of each replica only its last life; the one before is kept for its log.
        found.reverse();
        found.dedup_by(|(_, older), (_, newer)| is_same_replica(older, newer));
        found.reverse();
        let mut instances = Vec::new();
        for (folder, spec) in found {
            instances.push(self.look(&folder, &spec).await?);
        }
        Ok(instances)
    }

    async fn inspect(&self, id: &InstanceId) -> Result<Option<Instance>, EngineError> {
        match self.find(id)? {
            Some((folder, spec)) => self.look(&folder, &spec).await.map(Some),
            None => Ok(None),
        }
    }

    async fn restart(&self, id: &InstanceId) -> Result<Instance, EngineError> {
        let gone = || about("cannot restart", id)(io::Error::other("it is not there any more"));
        let (_, known) = self.find(id)?.ok_or_else(gone)?;
        let slot = self.slot_lock(&known.slot);
        let _one_at_a_time = slot.lock().await;
        let mut lives = self.list(Some(&known.slot))?;
        lives.retain(|(_, spec)| is_same_replica(spec, &known));
        let (folder, last) = lives.pop().ok_or_else(gone)?;
        if self.life(&last.id())?.is_some() {
            return self.look(&folder, &last).await;
        }
        // One former life is kept: its log says why it ended.
        self.remove_all(&lives).await?;
        let restarted = self
            .launch(Spec {
                restarts: last.restarts + 1,
                ..last
            })
            .await?;
        self.apply_shield(&known.slot).await?;
        Ok(restarted)
    }

    async fn shield(&self, slot: &Slot, shield: Shield) -> Result<Option<String>, EngineError> {
        // Not while something is being started under the former one.
        let lock = self.slot_lock(slot);
        let _one_at_a_time = lock.lock().await;
        self.shields.remember(slot, shield);
        self.apply_shield(slot).await
    }

    async fn stop(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        self.end(id).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        let Some((_, known)) = self.find(id)? else {
            return Ok(());
        };
        let slot = self.slot_lock(&known.slot);
        let _one_at_a_time = slot.lock().await;
        // Its former life, kept for its log, goes too: the replica would show as ended otherwise.
        let mut lives = self.list(Some(&known.slot))?;
        lives.retain(|(_, spec)| is_same_replica(spec, &known) && spec.start <= known.start);
        // In this order, so that one which was cut off is found again by its id.
        for life in lives {
            self.remove_all(&[life]).await?;
        }
        Ok(())
    }

    async fn clear(&self, slot: &Slot, services: &[String]) -> Result<(), EngineError> {
        let lock = self.slot_lock(slot);
        let _one_at_a_time = lock.lock().await;
        let mut found = self.list(Some(slot))?;
        found.retain(|(_, spec)| services.is_empty() || services.contains(&spec.service.name));
        self.remove_all(&found).await?;
        if services.is_empty() {
            self.clear_once_of(slot).await?;
            self.shields.remember(slot, Shield::None);
            // With what a removal that was cut off has left.
            let folder = self.root.join(slot.to_string());
            Folder::at(&folder)
                .remove()
                .map_err(other("cannot remove", &folder))?;
        }
        Ok(())
    }

    async fn run_once(
        &self,
        once: Once<'_>,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OnceResult, EngineError> {
        self.once(once, line).await
    }

    async fn clear_once(&self, slot: &Slot) -> Result<(), EngineError> {
        let lock = self.slot_lock(slot);
        let _one_at_a_time = lock.lock().await;
        self.clear_once_of(slot).await
    }

    /// Nothing to do: the daemon revives live processes itself, and processes have no alias.
    async fn set_live(
        &self,
        _slot: &Slot,
        _rendering: &Rendering,
        _live: bool,
    ) -> Result<(), EngineError> {
        Ok(())
    }

    async fn plain_instances(
        &self,
        _app: &AppName,
        _service: &str,
    ) -> Result<Vec<Instance>, EngineError> {
        Ok(Vec::new())
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError> {
        let Some(life) = self.life(id)? else {
            return Err(about("cannot measure", id)(io::Error::other(
                "it does not run",
            )));
        };
        Ok(measure(&life))
    }

    async fn logs(
        &self,
        id: &InstanceId,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        let fail = about("cannot read the log of", id);
        let (folder, spec) = self
            .find(id)?
            .ok_or_else(|| fail(io::Error::other("it is not there any more")))?;
        // Known before the tail is read, so that no line falls between the two.
        let life = self.life(id)?.filter(|_| follow);
        let mut reader = LogReader::open(folder.path(), &spec).map_err(&fail)?;
        let lines = reader.tail(tail).map_err(&fail)?;
        let (sender, receiver) = mpsc::channel(LOG_LINES);
        tokio::spawn(async move {
            if pass_on(lines, &sender).await
                && let Some(life) = life
            {
                follow_log(reader, &life, &sender).await;
            }
        });
        Ok(receiver)
    }

    async fn healthcheck(
        &self,
        _id: &InstanceId,
        _timeout: Duration,
    ) -> Result<Option<HealthcheckResult>, EngineError> {
        Ok(None)
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<HealthcheckResult, EngineError> {
        let (_, spec) = self.find(id)?.ok_or_else(|| {
            let gone = io::Error::other("it is not there any more");
            about("cannot run a command beside", id)(gone)
        })?;
        Ok(command::run(&spec, command, timeout).await)
    }

    async fn direct_connections(&self, id: &InstanceId) -> Result<Option<u32>, EngineError> {
        let port = match self.inspect(id).await? {
            Some(Instance {
                address: Some(address),
                state: InstanceState::Running,
                ..
            }) => address.port,
            _ => return Ok(None),
        };
        Ok(sockets::connections_of_others(port, &self.before))
    }

    fn describe(&self) -> String {
        format!("processes on 127.0.0.1 (state in {})", self.root.display())
    }
}

pub(super) fn find_service<'a>(
    rendering: &'a Rendering,
    slot: &Slot,
    name: &str,
) -> Result<&'a ProcessService, EngineError> {
    let fail = |reason: &str| EngineError::Start {
        what: format!("{slot}/{name}"),
        reason: reason.to_owned(),
    };
    let Rendering::Process(model) = rendering else {
        return Err(fail("its rendering is for another engine"));
    };
    let mut services = model.services.iter();
    services
        .find(|service| service.name == name)
        .ok_or_else(|| fail("its rendering has no such service"))
}

/// What is filled in at its launch stands at zero.
fn first_spec(start: &Start<'_>, service: &ProcessService) -> Spec {
    Spec {
        slot: start.slot.clone(),
        release: start.release,
        role: start.role,
        replica: 0,
        start: 0,
        restarts: 0,
        port: None,
        birth: Birth::default(),
        service: service.clone(),
    }
}

/// The lowest numbers that no instance of the service has, as many as it wants more of them.
fn missing(service: &ProcessService, replicas: Replicas, kept: &[Instance]) -> Vec<u32> {
    let taken: Vec<u32> = kept
        .iter()
        .filter(|instance| instance.service == service.name)
        .map(|instance| instance.replica)
        .collect();
    let wanted = replicas.of(service.replicas) as usize;
    let free = (1..).filter(|replica| !taken.contains(replica));
    free.take(wanted.saturating_sub(taken.len())).collect()
}

fn is_same_replica(one: &Spec, other: &Spec) -> bool {
    one.service.name == other.service.name && one.replica == other.replica
}

/// Sums up the processes of an instance. The peak is the sum of each one's own peak: an upper bound.
fn measure(life: &Arc<Life>) -> Usage {
    let mut usage = Usage::default();
    for stat in life.processes() {
        usage.memory_bytes += proc::memory(stat.pid);
        let peak = proc::memory_peak(stat.pid);
        usage.memory_peak_bytes = usage
            .memory_peak_bytes
            .into_iter()
            .chain(peak)
            .reduce(|a, b| a + b);
        usage.cpu += proc::ticks(stat.own_ticks + stat.waited_ticks);
    }
    usage
}

/// False once nobody listens any more.
async fn pass_on(lines: Vec<LogLine>, to: &mpsc::Sender<LogLine>) -> bool {
    for line in lines {
        if to.send(line).await.is_err() {
            return false;
        }
    }
    true
}

async fn follow_log(mut reader: LogReader, life: &Life, to: &mpsc::Sender<LogLine>) {
    let mut written = life.written();
    loop {
        // Looked at before reading: what comes after this look is seen by the next one.
        written.mark_unchanged();
        let ended = life.has_ended();
        let Ok(lines) = reader.more() else { return };
        if !pass_on(lines, to).await || ended {
            return;
        }
        tokio::select! {
            // Something was appended.
            _ = written.changed() => {}
            // It has ended: one more look, and that was all.
            _ = life.ended() => {}
            // Nobody listens any more.
            () = to.closed() => return,
        }
    }
}
