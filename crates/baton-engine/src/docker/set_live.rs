//! Who answers to the plain service name, and what a reboot revives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use baton_compose::rendering::{ColoredService, ComposeModel, Rendering};
use baton_compose::{AppName, Color};
use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use futures_util::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::docker::client::{call, failed, is_gone};
use crate::docker::{
    Inner, SlotMemory, compose_model, containers, direct, inspect, labels, live_network, lock,
};
use crate::{EngineError, InstanceState, Slot};

/// How long an adopted container may have connections of other services, before it gets another
/// address with them still open. Only where its address cannot be kept.
const LAST_CONNECTIONS: Duration = Duration::from_secs(10);

/// See [`crate::Engine::set_live`].
pub(super) async fn set_live(
    inner: &Arc<Inner>,
    slot: &Slot,
    rendering: &Rendering,
    live: bool,
) -> Result<(), EngineError> {
    let model = compose_model(rendering)?;
    let client = inner.client().await?;
    let docker = &client.docker;
    let names: BTreeSet<String> = model.services.iter().map(|s| s.name.clone()).collect();
    inner.know(&slot.app, names.iter().cloned());
    if live {
        let _guard = inner.networks.lock().await;
        live_network::ensure(docker, &model.live_network, &slot.app).await?;
    }
    let there = containers::of_slot(docker, slot).await?;
    if live {
        join_plain(docker, &slot.app, &names, &model.live_network).await?;
    }
    try_join_all(model.services.iter().map(|service| {
        let there = &there;
        async move {
            let (own, adopted) = members(docker, slot, (model, service), there, live).await?;
            for container in &own {
                place(docker, model, service, container, live).await?;
            }
            for container in &adopted {
                if !live {
                    leave_users_names(docker, service, container, client.local).await?;
                }
                place(docker, model, service, container, live).await?;
            }
            Ok::<(), EngineError>(())
        }
    }))
    .await?;
    remember(inner, slot, rendering, live);
    Ok(())
}

fn remember(inner: &Inner, slot: &Slot, rendering: &Rendering, live: bool) {
    let mut slots = lock(&inner.slots);
    let before = slots.remove(slot);
    let started = before.as_ref().and_then(|memory| memory.started);
    slots.insert(
        slot.clone(),
        SlotMemory {
            rendering: rendering.clone(),
            started,
            services: before.map(|memory| memory.services).unwrap_or_default(),
            live,
        },
    );
}

/// The slot's own containers of a service; where blue has none, the plain ones adopted as `r0`: those
/// that are on the live network, or that a green release has just taken over from. A plain `api` that
/// nobody adopted never is either, and keeps its names.
async fn members(
    docker: &Docker,
    slot: &Slot,
    (model, service): (&ComposeModel, &ColoredService),
    there: &[ContainerInspectResponse],
    live: bool,
) -> Result<(Vec<ContainerInspectResponse>, Vec<ContainerInspectResponse>), EngineError> {
    let of_service = |container: &&ContainerInspectResponse| {
        inspect::instance(container, false).service == service.name
    };
    let own: Vec<_> = there.iter().filter(of_service).cloned().collect();
    if !own.is_empty() || slot.color != Color::Blue {
        return Ok((own, Vec::new()));
    }
    let green = Slot {
        app: slot.app.clone(),
        color: Color::Green,
    };
    let taken_over = || async {
        let there = containers::of_slot(docker, &green).await?;
        Ok::<bool, EngineError>(there.iter().any(|container| of_service(&container)))
    };
    let mut plain = containers::plain(docker, &slot.app, Some(&service.name)).await?;
    if !live && !plain.is_empty() && !taken_over().await? {
        let on_it = |one: &_| live_network::endpoint(one, &model.live_network).is_some();
        plain.retain(on_it);
    }
    Ok((own, plain))
}

/// Names and restart policy of one container.
async fn place(
    docker: &Docker,
    model: &ComposeModel,
    service: &ColoredService,
    container: &ContainerInspectResponse,
    live: bool,
) -> Result<(), EngineError> {
    let id = container.id.as_deref().unwrap_or_default();
    let network = model.live_network.as_str();
    let running = inspect::instance(container, false).state == InstanceState::Running;
    let on_it = live_network::endpoint(container, network).is_some();
    if live {
        // Its name first: a reboot in between must not find it nameless.
        live_network::set_names(docker, network, container, &names(service)).await?;
        return containers::set_restart_policy(docker, id, &service.restart).await;
    }
    containers::set_restart_policy(docker, id, "no").await?;
    if running && on_it {
        // It stays on the network without the name: open connections are drained, not cut.
        live_network::set_names(docker, network, container, &[]).await
    } else if on_it {
        live_network::leave(docker, network, id).await
    } else {
        Ok(())
    }
}

/// The plain name, and whatever else the file lets others call it.
fn names(service: &ColoredService) -> Vec<String> {
    let mut names = vec![service.name.clone()];
    for alias in &service.live_aliases {
        if !names.contains(alias) {
            names.push(alias.clone());
        }
    }
    names
}

/// An adopted container answers to the plain name on the user's own networks, where plain Compose
/// put it. It leaves those names and keeps its container name. Where the engine would not give it
/// the same address again, its connections are awaited first.
async fn leave_users_names(
    docker: &Docker,
    service: &ColoredService,
    container: &ContainerInspectResponse,
    local: bool,
) -> Result<(), EngineError> {
    let own_name = own_name(container);
    let endpoints = container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.clone())
        .unwrap_or_default();
    for (network, endpoint) in endpoints {
        let called = names(service);
        let answers = endpoint
            .aliases
            .iter()
            .flatten()
            .any(|alias| called.contains(alias));
        if !answers || live_network::is_live_name(&network) {
            continue;
        }
        let keeps = live_network::inspect(docker, &network)
            .await?
            .is_some_and(|network| live_network::keeps_address(&network, &endpoint));
        if !keeps && local {
            await_quiet(container).await;
        }
        let own = std::slice::from_ref(&own_name);
        live_network::set_names(docker, &network, container, own).await?;
    }
    Ok(())
}

/// The app is taken away and an adopted container runs on: it gets back the names and the restart
/// policy (by service, where known) that plain Compose gave it. Only those on the live network lost
/// any.
pub(super) async fn give_back(
    docker: &Docker,
    app: &AppName,
    policies: &BTreeMap<String, String>,
) -> Result<(), EngineError> {
    let live = live_network::name_of(app);
    let wanted = [format!("{}={app}", labels::COMPOSE_PROJECT)];
    for container in containers::labelled(docker, &wanted, true).await? {
        let labels = inspect::labels_of(&container);
        let service = labels.get(labels::COMPOSE_SERVICE);
        let (Some(service), Some(_)) = (service, labels::plain_app(&labels)) else {
            continue;
        };
        if live_network::endpoint(&container, &live).is_none() {
            continue;
        }
        if let Some(policy) = policies.get(service) {
            let id = container.id.as_deref().unwrap_or_default();
            containers::set_restart_policy(docker, id, policy).await?;
        }
        let networks = container.network_settings.as_ref();
        let networks = networks.and_then(|settings| settings.networks.clone());
        let nameless = networks
            .unwrap_or_default()
            .into_iter()
            .filter(|(name, end)| {
                *name != live && !end.aliases.iter().flatten().any(|alias| alias == service)
            });
        for (network, _) in nameless {
            let names = [service.clone(), own_name(&container)];
            live_network::set_names(docker, &network, &container, &names).await?;
        }
    }
    Ok(())
}

fn own_name(container: &ContainerInspectResponse) -> String {
    let name = container.name.as_deref().unwrap_or_default();
    name.trim_start_matches('/').to_owned()
}

async fn await_quiet(container: &ContainerInspectResponse) {
    let deadline = Instant::now() + LAST_CONNECTIONS;
    while direct::count(container).is_some_and(|open| open > 0) {
        if Instant::now() >= deadline {
            tracing::warn!(
                container = container.name.as_deref().unwrap_or_default(),
                "gets another address while other services are connected to it"
            );
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// The plain services that run join the live network, once. Not those of the colored services: a
/// plain `api` beside a blue one is not meant to be found.
async fn join_plain(
    docker: &Docker,
    app: &AppName,
    colored: &BTreeSet<String>,
    network: &str,
) -> Result<(), EngineError> {
    for container in containers::plain(docker, app, None).await? {
        join_one(docker, colored, network, &container).await;
    }
    Ok(())
}

/// A plain container that was just made or started, of an app with a live network.
pub(super) async fn join_new(
    docker: &Docker,
    app: &AppName,
    colored: &BTreeSet<String>,
    id: &str,
) -> Result<(), EngineError> {
    let network = live_network::name_of(app);
    if live_network::inspect(docker, &network).await?.is_none() {
        return Ok(());
    }
    match call(docker.inspect_container(id, None)).await {
        Ok(container) => join_one(docker, colored, &network, &container).await,
        // Made and gone: `compose run`, or a start that failed.
        Err(error) if is_gone(&error) => {}
        Err(error) => return Err(failed("looking at a plain container that is new")(error)),
    }
    Ok(())
}

/// One that cannot join (its network namespace is the host's or another's) is told of, and never
/// stops a switch.
async fn join_one(
    docker: &Docker,
    colored: &BTreeSet<String>,
    network: &str,
    container: &ContainerInspectResponse,
) {
    let labels = inspect::labels_of(container);
    let service = labels.get(labels::COMPOSE_SERVICE);
    let mode = container
        .host_config
        .as_ref()
        .and_then(|config| config.network_mode.as_deref())
        .unwrap_or_default();
    let unjoinable = matches!(mode, "host" | "none") || mode.starts_with("container:");
    if unjoinable
        || service.is_some_and(|service| colored.contains(service))
        || live_network::endpoint(container, network).is_some()
    {
        return;
    }
    let id = container.id.as_deref().unwrap_or_default();
    if let Err(error) = live_network::join(docker, network, id).await {
        tracing::warn!(%error, "a plain service does not find the live color by its name");
    }
}
