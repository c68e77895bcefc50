//! Lists, stops and removes containers by their labels.

use std::collections::HashMap;
use std::time::Duration;

use baton_compose::AppName;
use bollard::Docker;
use bollard::models::{
    ContainerInspectResponse, ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptions,
};
use futures_util::future::{join_all, try_join_all};

use crate::docker::client::{CALL_TIMEOUT, call, failed, is_gone, status, within};
use crate::docker::{inspect, labels};
use crate::{EngineError, Exit, Instance, InstanceId, InstanceState, Slot};

/// Seconds that Docker waits for a container whose file names no `stop_grace_period`.
const DEFAULT_GRACE: u64 = 10;

/// Every container with all of these labels (`key` or `key=value`), inspected. One that vanishes
/// meanwhile is left out.
pub(super) async fn labelled(
    docker: &Docker,
    labels: &[String],
    all: bool,
) -> Result<Vec<ContainerInspectResponse>, EngineError> {
    let action = "listing containers";
    let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
    let options = ListContainersOptionsBuilder::default()
        .all(all)
        .filters(&filters)
        .build();
    let found = call(docker.list_containers(Some(options)))
        .await
        .map_err(failed(action))?;
    let ids = found.into_iter().filter_map(|summary| summary.id);
    let looks =
        join_all(ids.map(|id| async move { call(docker.inspect_container(&id, None)).await }))
            .await;
    looks
        .into_iter()
        .filter(|look| !look.as_ref().is_err_and(is_gone))
        .map(|look| look.map_err(failed(action)))
        .collect()
}

/// Every instance's container of a slot, running or not.
pub(super) async fn of_slot(
    docker: &Docker,
    slot: &Slot,
) -> Result<Vec<ContainerInspectResponse>, EngineError> {
    let wanted = [
        format!("{}={}", labels::APP, slot.app),
        format!("{}={}", labels::COLOR, slot.color),
    ];
    let mut found = labelled(docker, &wanted, true).await?;
    found.retain(|container| labels::slot(&inspect::labels_of(container)).is_some());
    Ok(found)
}

/// Running containers that plain Compose made: of one service, or of all.
pub(super) async fn plain(
    docker: &Docker,
    app: &AppName,
    service: Option<&str>,
) -> Result<Vec<ContainerInspectResponse>, EngineError> {
    let mut wanted = vec![format!("{}={app}", labels::COMPOSE_PROJECT)];
    wanted.extend(service.map(|name| format!("{}={name}", labels::COMPOSE_SERVICE)));
    let mut found = labelled(docker, &wanted, false).await?;
    found.retain(|container| {
        labels::plain_app(&inspect::labels_of(container)).is_some()
            && inspect::instance(container, true).state == InstanceState::Running
    });
    Ok(found)
}

/// By service and replica.
pub(super) fn as_instances(
    containers: &[ContainerInspectResponse],
    routable: bool,
) -> Vec<Instance> {
    let mut instances: Vec<Instance> = containers
        .iter()
        .map(|container| inspect::instance(container, routable))
        .collect();
    instances.sort_by(|a, b| (&a.service, a.replica).cmp(&(&b.service, b.replica)));
    instances
}

/// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`.
pub(super) async fn set_restart_policy(
    docker: &Docker,
    id: &str,
    policy: &str,
) -> Result<(), EngineError> {
    let (name, retries) = policy.split_once(':').unwrap_or((policy, ""));
    let name = match name {
        "always" => RestartPolicyNameEnum::ALWAYS,
        "unless-stopped" => RestartPolicyNameEnum::UNLESS_STOPPED,
        "on-failure" => RestartPolicyNameEnum::ON_FAILURE,
        _ => RestartPolicyNameEnum::NO,
    };
    let update = ContainerUpdateBody {
        restart_policy: Some(RestartPolicy {
            name: Some(name),
            maximum_retry_count: retries.parse().ok(),
        }),
        ..ContainerUpdateBody::default()
    };
    match call(docker.update_container(id, update)).await {
        Err(error) if !is_gone(&error) => Err(failed(format!(
            "setting the restart policy of {}",
            InstanceId(id.to_owned())
        ))(error)),
        _ => Ok(()),
    }
}

/// The container's own stop signal and grace period count; Compose put them there.
pub(super) async fn stop(docker: &Docker, id: &InstanceId) -> Result<Exit, EngineError> {
    let action = || failed(format!("stopping {id}"));
    let gone = Exit {
        code: None,
        oom_killed: false,
        error: Some("the container is gone".to_owned()),
    };
    let container = match call(docker.inspect_container(&id.0, None)).await {
        Ok(container) => container,
        Err(error) if is_gone(&error) => return Ok(gone),
        Err(error) => return Err(action()(error)),
    };
    // Engines.md §2: an `always` container stopped by hand comes back with the engine.
    set_restart_policy(docker, &id.0, "no").await?;
    let grace = container
        .config
        .and_then(|config| config.stop_timeout)
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(DEFAULT_GRACE);
    let limit = Duration::from_secs(grace) + CALL_TIMEOUT;
    let patient = docker.clone().with_timeout(limit);
    match within(
        limit,
        patient.stop_container(&id.0, None::<StopContainerOptions>),
    )
    .await
    {
        Ok(()) => {}
        Err(error) if is_gone(&error) => return Ok(gone),
        // 304: it is stopped already.
        Err(error) if status(&error) == Some(304) => {}
        Err(error) => return Err(action()(error)),
    }
    match call(docker.inspect_container(&id.0, None)).await {
        Ok(container) => match inspect::instance(&container, false).state {
            InstanceState::Exited(exit) => Ok(exit),
            InstanceState::Created => Ok(Exit {
                code: None,
                oom_killed: false,
                error: None,
            }),
            InstanceState::Running => Err(EngineError::Instance {
                action: "stopping",
                id: id.clone(),
                reason: "it runs again; somebody else starts it".to_owned(),
            }),
        },
        Err(error) if is_gone(&error) => Ok(gone),
        Err(error) => Err(action()(error)),
    }
}

/// Removes a container with its anonymous volumes, which would leak into the next release of the
/// slot (Engines.md §1); named volumes stay.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::default()
        .v(true)
        .force(true)
        .build();
    match call(docker.remove_container(id, Some(options))).await {
        // 409: somebody else removes it already.
        Err(error) if !is_gone(&error) && status(&error) != Some(409) => Err(failed(format!(
            "removing {}",
            InstanceId(id.to_owned())
        ))(error)),
        _ => Ok(()),
    }
}

/// Stops and removes what the slot holds, of `services` only unless that is empty.
pub(super) async fn clear(
    docker: &Docker,
    slot: &Slot,
    services: &[String],
) -> Result<(), EngineError> {
    let mut instances = as_instances(&of_slot(docker, slot).await?, false);
    instances.retain(|instance| services.is_empty() || services.contains(&instance.service));
    end(docker, &instances).await?;
    if services.is_empty() {
        remove_own_networks(docker, slot).await?;
    }
    Ok(())
}

/// Stops and removes these, all at once.
pub(super) async fn end(docker: &Docker, instances: &[Instance]) -> Result<(), EngineError> {
    try_join_all(instances.iter().map(|instance| async move {
        if instance.state == InstanceState::Running {
            stop(docker, &instance.id).await?;
        }
        // A restarting one is not running for the moment; `force` ends it.
        remove(docker, &instance.id.0).await
    }))
    .await
    .map(|_| ())
}

/// Networks that Compose made for the colored project itself; usually there is none.
async fn remove_own_networks(docker: &Docker, slot: &Slot) -> Result<(), EngineError> {
    let project = slot.app.color_project(slot.color);
    let filters = HashMap::from([(
        "label".to_owned(),
        vec![format!("{}={project}", labels::COMPOSE_PROJECT)],
    )]);
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let networks = call(docker.list_networks(Some(options)))
        .await
        .map_err(failed("listing networks"))?;
    for id in networks.into_iter().filter_map(|network| network.id) {
        if let Err(error) = call(docker.remove_network(&id)).await
            && !is_gone(&error)
        {
            // Somebody else's container is on it; it does no harm.
            tracing::warn!(network = %id, %error, "a network of the slot stays");
        }
    }
    Ok(())
}
