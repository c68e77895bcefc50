//! Keeps a slot from starving or killing the live color (see [`crate::Shield`]).
//!
//! CPU: by the weight of the slot's parent cgroup, which is there before the first process is.
//!
//! Memory: `oom_score_adj` is written for each process right after each start. Not in the model, which
//! would be in time for the first moment: there it belongs to the container for ever, and a live one
//! that Docker starts again while no daemon runs, or one that may not write it, would stay the first
//! to be killed. In the few milliseconds before it is written a process takes no memory worth a kill.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use baton_compose::Color;
use bollard::models::ContainerInspectResponse;

use crate::docker::cgroup::{self, Parent};
use crate::docker::client::{CgroupDriver, Client};
use crate::docker::{Inner, containers, inspect, labels, live_network, lock};
use crate::oom_score::{self, Score};
use crate::procfs::ProcFolder;
use crate::{EngineError, Shield, Slot};

/// Which slots are under a shield, as long as the daemon lives.
#[derive(Debug, Default)]
pub(super) struct Shields {
    slots: std::sync::Mutex<HashMap<Slot, Shield>>,
    /// One at a time: an instance that has just started must not be put back under the shield that
    /// its slot is leaving.
    applying: tokio::sync::Mutex<()>,
}

impl Shields {
    pub(super) fn of(&self, slot: &Slot) -> Shield {
        lock(&self.slots).get(slot).copied().unwrap_or_default()
    }

    pub(super) fn remember(&self, slot: &Slot, shield: Shield) {
        lock(&self.slots).insert(slot.clone(), shield);
    }
}

/// See [`crate::Engine::shield`].
pub(super) async fn shield(
    inner: &Arc<Inner>,
    slot: &Slot,
    shield: Shield,
) -> Result<Option<String>, EngineError> {
    inner.shields.remember(slot, shield);
    apply(inner, slot).await
}

/// Before anything is started in the slot: its cgroup is there, and has the weight it should have
/// (an earlier release may have left it with another).
pub(super) fn prepare(inner: &Inner, client: &Client, slot: &Slot) {
    let low = inner.shields.of(slot) == Shield::Candidate;
    let name = cgroup::parent_name(slot, client.cgroups);
    // With systemd it has to be systemd that makes it; a rootless engine has a tree of its own.
    if !client.routable || client.cgroups != CgroupDriver::Cgroupfs {
        return;
    }
    let Some(parent) = name.as_deref().and_then(Parent::expected) else {
        return;
    };
    if low || parent.exists() {
        // Whatever fails here is tried again, and told, once it runs.
        let _ = parent.make().and_then(|()| parent.set(low));
    }
}

/// An instance has just been started, by whomever.
pub(super) async fn apply_to_new(inner: &Arc<Inner>, slot: &Slot) {
    // Without a shield a new process is as its file says.
    if inner.shields.of(slot) == Shield::None {
        return;
    }
    if let Err(error) = apply(inner, slot).await {
        tracing::warn!(%slot, %error, "an instance that was started again may be without its shield");
    }
}

/// Puts what runs in the slot under its shield. Returns what is not possible here.
pub(super) async fn apply(inner: &Arc<Inner>, slot: &Slot) -> Result<Option<String>, EngineError> {
    let client = inner.client().await?;
    let _one_at_a_time = inner.shields.applying.lock().await;
    let shield = inner.shields.of(slot);
    if !client.local {
        let sentence = format!(
            "{slot} cannot be kept from the CPU and memory of the live color: the Docker Engine is not on this machine"
        );
        return Ok((shield != Shield::None).then_some(sentence));
    }
    let mut refusals = BTreeSet::new();
    for container in members(inner, &client, slot).await? {
        let Some(pid) = inspect::kernel_pid(&container) else {
            continue;
        };
        refusals.extend(weigh(&client, slot, &container, pid, shield).err());
        refusals.extend(score(slot, &container, shield).await.err());
    }
    let sentences: Vec<String> = refusals.into_iter().collect();
    Ok((!sentences.is_empty()).then(|| sentences.join("; ")))
}

/// The slot's containers; where blue has none, the plain ones that it adopted.
async fn members(
    inner: &Inner,
    client: &Client,
    slot: &Slot,
) -> Result<Vec<ContainerInspectResponse>, EngineError> {
    let own = containers::of_slot(&client.docker, slot).await?;
    let colored = lock(&inner.apps).get(&slot.app).cloned();
    let (true, Some(colored)) = (own.is_empty() && slot.color == Color::Blue, colored) else {
        return Ok(own);
    };
    let network = live_network::name_of(&slot.app);
    let mut plain = containers::plain(&client.docker, &slot.app, None).await?;
    plain.retain(|container| {
        let service = inspect::labels_of(container).remove(labels::COMPOSE_SERVICE);
        service.is_some_and(|service| colored.contains(&service))
            && live_network::endpoint(container, &network).is_some()
    });
    Ok(plain)
}

/// Gives the slot's cgroup its weight. The error is for the user.
fn weigh(
    client: &Client,
    slot: &Slot,
    container: &ContainerInspectResponse,
    pid: i64,
    shield: Shield,
) -> Result<(), String> {
    let low = shield == Shield::Candidate;
    let refuse = |reason: &str| {
        Err(format!(
            "{slot} cannot be kept from the CPU of the live color: {reason}"
        ))
    };
    let host = container.host_config.as_ref();
    let wanted = host.and_then(|config| config.cgroup_parent.as_deref());
    let named = cgroup::parent_name(slot, client.cgroups);
    let Some(name) = named.filter(|name| wanted == Some(name.as_str())) else {
        // Its weight was never changed.
        return match (low, wanted) {
            (false, _) => Ok(()),
            (true, Some(parent)) if !parent.is_empty() => {
                refuse(&format!("its file sets cgroup_parent to {parent}"))
            }
            (true, _) => refuse("it has no cgroup of its slot's; the next deploy gives it one"),
        };
    };
    let id = container.id.as_deref().unwrap_or_default();
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let Some(parent) = Parent::holding(id, &table, &name) else {
        return if low {
            refuse(&format!("its cgroup {name} is not to be found"))
        } else {
            Ok(())
        };
    };
    match parent.set(low) {
        Err(error) if low => refuse(&advice(&error)),
        // It cannot have been lowered where there is none.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!(
            "{slot} may still have little CPU: its weight cannot be changed: {}",
            advice(&error)
        )),
        _ => Ok(()),
    }
}

/// Gives every process of the container its score. The error is for the user.
async fn score(
    slot: &Slot,
    container: &ContainerInspectResponse,
    shield: Shield,
) -> Result<(), String> {
    let id = container.id.as_deref().unwrap_or_default();
    let host = container.host_config.as_ref();
    let usual = host.and_then(|config| config.oom_score_adj).unwrap_or(0);
    let wanted = match shield {
        Shield::None => Score::Usual(i32::try_from(usual).unwrap_or(0)),
        Shield::Leaving | Shield::Candidate => Score::High,
    };
    let look = || oom_score::set_all(processes(id), wanted);
    match oom_score::until_settled(look).await {
        None => Ok(()),
        Some(error) => Err(format!(
            "{slot} keeps its turn when memory runs out (oom_score_adj): {}",
            advice(&error)
        )),
    }
}

/// Found by their cgroup, which has the container's id in its name, and all those below it too.
fn processes(id: &str) -> impl Iterator<Item = ProcFolder> + '_ {
    let is_of = move |process: &ProcFolder| {
        process
            .read("cgroup")
            .is_ok_and(|table| id.len() == 64 && table.contains(id))
    };
    ProcFolder::all().filter(is_of)
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("{error}; only root may, run Baton as root"),
        _ => error.to_string(),
    }
}

/// The slot is empty: no shield, and no cgroup of ours.
pub(super) fn forget(inner: &Inner, client: &Client, slot: &Slot) {
    inner.shields.remember(slot, Shield::None);
    if client.local
        && client.cgroups == CgroupDriver::Cgroupfs
        && let Some(name) = cgroup::parent_name(slot, client.cgroups)
    {
        cgroup::remove(&name);
    }
}
