//! A release into its slot, and one instance of it back to life.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::rendering::{ColoredService, ComposeModel};
use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::StartContainerOptions;

use crate::docker::client::{CALL_TIMEOUT, Client, is_gone, reason, within};
use crate::docker::{
    Inner, SlotMemory, compose_model, compose_up, containers, gone, images, inspect, labels,
    live_network, lock, set_live, shared, shield,
};
use crate::{EngineError, Instance, InstanceId, InstanceState, Replicas, Shield, Slot, Start};

/// See [`crate::Engine::start`].
pub(super) async fn start(
    inner: &Arc<Inner>,
    start: Start<'_>,
) -> Result<Vec<Instance>, EngineError> {
    let model = compose_model(start.rendering)?;
    let services = compose_up::chosen(model, start.services);
    let client = inner.client().await?;
    refuse_foreign(&client.docker, start.slot, model).await?;
    for service in &services {
        let image = images::require(&client.docker, model, service).await?;
        let of = (&start.slot.app, start.release);
        images::tag(&client.docker, of, &service.name, &image).await?;
    }
    let names = model.services.iter().map(|service| service.name.clone());
    inner.know(&start.slot.app, names);
    {
        let _guard = inner.networks.lock().await;
        shared::ensure(&client.docker, model).await?;
        live_network::ensure(&client.docker, &model.live_network, &start.slot.app).await?;
    }
    let Room {
        missing,
        kept,
        empty,
    } = make_room(&client, &start, &services).await?;
    if start.shielded {
        inner.shields.remember(start.slot, Shield::Candidate);
    } else if empty {
        inner.shields.remember(start.slot, Shield::None);
    }
    if !missing.is_empty() {
        shield::prepare(inner, &client, start.slot);
        let upped = compose_up::up(&client, &inner.host, &start, model, &missing).await;
        if let Err(error) = upped {
            let found = started(&client, &start, &services).await?;
            return Err(engines_words(&found).unwrap_or(error));
        }
    }
    let found = started(&client, &start, &services).await?;
    remember(inner, &start, &found, &kept);
    // What is not possible is told to those who ask `Engine::shield`.
    shield::apply(inner, start.slot).await?;
    match engines_words(&found) {
        Some(error) => Err(error),
        None => Ok(found
            .into_iter()
            .map(|instance| inner.restarts.add(instance))
            .collect()),
    }
}

/// What is made in place of an instance that was there counts as its restart; one more instance does
/// not. By their number, since Compose may give the new one another place.
fn remember(inner: &Inner, start: &Start<'_>, found: &[Instance], kept: &[InstanceId]) {
    let mut slots = lock(&inner.slots);
    let before = slots.remove(start.slot);
    let started = Some((start.release, start.role));
    let mut counts = match &before {
        Some(memory) if memory.started == started => memory.services.clone(),
        _ => BTreeMap::new(),
    };
    let mut now: BTreeMap<String, Vec<&Instance>> = BTreeMap::new();
    for instance in found {
        now.entry(instance.service.clone())
            .or_default()
            .push(instance);
    }
    for (service, instances) in now {
        let (old, made): (Vec<&Instance>, Vec<&Instance>) = instances
            .iter()
            .partition(|instance| kept.contains(&instance.id));
        let lost = counts
            .get(&service)
            .map_or(0, |count| count - old.len().min(*count));
        for instance in made.into_iter().take(lost) {
            inner.restarts.count(instance);
        }
        counts.insert(service, instances.len());
    }
    slots.insert(
        start.slot.clone(),
        SlotMemory {
            rendering: start.rendering.clone(),
            started,
            services: counts,
            live: before.is_some_and(|memory| memory.live),
        },
    );
}

/// Engines.md §1: the project `shop-blue` may be somebody's own; nothing of it is touched then.
async fn refuse_foreign(
    docker: &Docker,
    slot: &Slot,
    model: &ComposeModel,
) -> Result<(), EngineError> {
    let wanted = [format!("{}={}", labels::COMPOSE_PROJECT, model.project)];
    let foreign: Vec<String> = containers::labelled(docker, &wanted, true)
        .await?
        .into_iter()
        .filter(|container| labels::slot(&inspect::labels_of(container)).as_ref() != Some(slot))
        .map(|container| {
            let name = container.name.unwrap_or_default();
            name.trim_start_matches('/').to_owned()
        })
        .collect();
    if foreign.is_empty() {
        return Ok(());
    }
    Err(EngineError::Foreign {
        project: model.project.clone(),
        containers: foreign.join(", "),
    })
}

/// What a start finds in its slot.
struct Room<'a> {
    /// Services that want more instances, with how many they are to have.
    missing: Vec<(&'a ColoredService, usize)>,
    kept: Vec<InstanceId>,
    /// Nothing of the slot is left, of no service.
    empty: bool,
}

/// Keeps what already runs this very release in this role, and ends the rest of these services.
async fn make_room<'a>(
    client: &Client,
    start: &Start<'_>,
    services: &[&'a ColoredService],
) -> Result<Room<'a>, EngineError> {
    let there = containers::of_slot(&client.docker, start.slot).await?;
    let mut ended = Vec::new();
    let mut room = Room {
        missing: Vec::new(),
        kept: Vec::new(),
        empty: false,
    };
    for service in services {
        let of_service = there
            .iter()
            .map(|container| (runs(container, start), inspect::instance(container, false)))
            .filter(|(_, instance)| instance.service == service.name);
        let (kept, rest): (Vec<_>, Vec<_>) = of_service.partition(|(keep, _)| *keep);
        let wanted = start.replicas.of(service.replicas) as usize;
        if kept.len() < wanted {
            room.missing.push((*service, wanted));
        }
        room.kept
            .extend(kept.into_iter().map(|(_, instance)| instance.id));
        ended.extend(rest.into_iter().map(|(_, instance)| instance));
    }
    // Not `compose up`'s own recreation: it would hand the anonymous volumes on to the new release.
    containers::end(&client.docker, &ended).await?;
    room.empty = ended.len() == there.len();
    Ok(room)
}

fn runs(container: &ContainerInspectResponse, start: &Start<'_>) -> bool {
    let labels = inspect::labels_of(container);
    labels::release(&labels) == Some(start.release)
        && labels.get(labels::ROLE).map(String::as_str) == Some(start.role.as_str())
        && inspect::instance(container, false).state == InstanceState::Running
}

async fn started(
    client: &Client,
    start: &Start<'_>,
    services: &[&ColoredService],
) -> Result<Vec<Instance>, EngineError> {
    let found = containers::of_slot(&client.docker, start.slot).await?;
    let mut instances = containers::as_instances(&found, client.routable);
    instances.retain(|instance| {
        services
            .iter()
            .any(|service| service.name == instance.service)
    });
    Ok(instances)
}

/// A bad entrypoint leaves a container that never started, with the engine's reason in it; Compose's
/// own output only wraps that.
fn engines_words(instances: &[Instance]) -> Option<EngineError> {
    instances.iter().find_map(|instance| match &instance.state {
        InstanceState::Exited(exit) => exit.error.as_ref().map(|error| EngineError::Start {
            what: format!("{}, replica {}", instance.service, instance.replica),
            reason: match exit.code {
                Some(code) => format!("{error} (exit code {code})"),
                None => error.clone(),
            },
        }),
        _ => None,
    })
}

/// See [`crate::Engine::restart`]. A container that cannot be started again (its network is gone, its
/// address is another's by now) is made anew: Engines.md §1.
pub(super) async fn restart(inner: &Arc<Inner>, id: &InstanceId) -> Result<Instance, EngineError> {
    let client = inner.client().await?;
    let before = inner.existing("restarting", id).await?;
    let starting = client
        .docker
        .start_container(&id.0, None::<StartContainerOptions>);
    let refused = match within(CALL_TIMEOUT, starting).await {
        Ok(()) => {
            let container = inner.existing("restarting", id).await?;
            let instance = inspect::instance(&container, client.routable);
            inner.restarts.count(&instance);
            if let Some(slot) = &instance.slot {
                shield::apply_to_new(inner, slot).await;
            }
            return Ok(inner.restarts.add(instance));
        }
        // 404 is also said of a network that is gone.
        Err(error) if is_gone(&error) && inner.container(id).await?.is_none() => {
            return Err(gone("restarting", id));
        }
        Err(error) => error,
    };
    let why = reason(&refused);
    let failed = |reason: String| EngineError::Instance {
        action: "restarting",
        id: id.clone(),
        reason,
    };
    let instance = inspect::instance(&before, client.routable);
    let memory = instance
        .slot
        .as_ref()
        .and_then(|slot| lock(&inner.slots).get(slot).cloned());
    let (Some(slot), Some(memory)) = (&instance.slot, memory) else {
        return Err(failed(why));
    };
    let labels = inspect::labels_of(&before);
    let role = match labels.get(labels::ROLE).map(String::as_str) {
        Some("preview") => baton_compose::Role::Preview,
        _ => baton_compose::Role::Live,
    };
    let Some((release, role)) = memory
        .started
        .or_else(|| labels::release(&labels).map(|release| (release, role)))
    else {
        return Err(failed(why));
    };
    tracing::warn!(%id, why, "cannot be started again; made anew");
    let services = [instance.service.clone()];
    let before = of_service(&client, slot, &instance.service).await?;
    let shield = inner.shields.of(slot);
    let made = start(
        inner,
        Start {
            slot,
            release,
            role,
            rendering: &memory.rendering,
            services: &services,
            // Not all: a rolling deploy may have started some of them only.
            replicas: Replicas::UpTo(u32::try_from(before.len()).unwrap_or(u32::MAX)),
            shielded: shield == Shield::Candidate,
        },
    )
    .await?;
    // A slot that was empty meanwhile has lost it.
    shield::shield(inner, slot, shield).await?;
    if memory.live {
        set_live::set_live(inner, slot, &memory.rendering, true).await?;
    }
    // Others of the service that had ended were made anew along with it.
    let mut new = made.into_iter().filter(|one| !before.contains(&one.id));
    let first = new.next();
    new.find(|one| one.replica == instance.replica)
        .or(first)
        .ok_or_else(|| failed(why))
}

async fn of_service(
    client: &Client,
    slot: &Slot,
    service: &str,
) -> Result<Vec<InstanceId>, EngineError> {
    let found = containers::as_instances(&containers::of_slot(&client.docker, slot).await?, false);
    let of_service = found.into_iter().filter(|one| one.service == service);
    Ok(of_service.map(|instance| instance.id).collect())
}
