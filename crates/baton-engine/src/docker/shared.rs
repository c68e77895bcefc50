//! Networks and volumes of the user's project, made before the first color that needs them.
//!
//! Engines.md §1: those used only by the colored service are not made by `up -d redis`. They are made
//! here with Compose's labels, else later Compose runs fail on "incorrect label".

use std::collections::HashMap;

use baton_compose::rendering::{ComposeModel, SharedResource};
use bollard::Docker;
use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use serde_json::Value;

use crate::EngineError;
use crate::docker::client::{call, failed, is_gone};
use crate::docker::labels;

/// Makes what is missing; what exists is never changed. The caller holds the engine's network lock.
pub(super) async fn ensure(docker: &Docker, model: &ComposeModel) -> Result<(), EngineError> {
    for (name, resource) in &model.networks {
        if network_exists(docker, name).await? {
            continue;
        }
        tracing::info!(network = %name, "making the network");
        call(docker.create_network(network_request(name, resource)))
            .await
            .map_err(failed(format!("making the network {name}")))?;
    }
    for (name, resource) in &model.volumes {
        match call(docker.inspect_volume(name)).await {
            Ok(_) => continue,
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed(format!("looking for the volume {name}"))(error)),
        }
        tracing::info!(volume = %name, "making the volume");
        call(docker.create_volume(volume_request(name, resource)))
            .await
            .map_err(failed(format!("making the volume {name}")))?;
    }
    Ok(())
}

/// By exact name: the engine's filter matches parts, and its inspect also matches ids.
pub(super) async fn network_exists(docker: &Docker, name: &str) -> Result<bool, EngineError> {
    let filters = HashMap::from([("name", vec![name])]);
    let options = ListNetworksOptionsBuilder::default()
        .filters(&filters)
        .build();
    let found = call(docker.list_networks(Some(options)))
        .await
        .map_err(failed(format!("looking for the network {name}")))?;
    Ok(found
        .iter()
        .any(|network| network.name.as_deref() == Some(name)))
}

fn network_request(name: &str, resource: &SharedResource) -> NetworkCreateRequest {
    let definition = &resource.definition;
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: text(definition, "driver"),
        internal: definition.get("internal").and_then(Value::as_bool),
        attachable: definition.get("attachable").and_then(Value::as_bool),
        enable_ipv4: definition.get("enable_ipv4").and_then(Value::as_bool),
        enable_ipv6: definition.get("enable_ipv6").and_then(Value::as_bool),
        ipam: definition.get("ipam").filter(|v| !v.is_null()).map(ipam),
        options: texts(definition.get("driver_opts")),
        labels: resource_labels(resource, labels::COMPOSE_NETWORK),
        ..NetworkCreateRequest::default()
    }
}

fn ipam(definition: &Value) -> Ipam {
    let pools = definition.get("config").and_then(Value::as_array);
    let config = pools.map(|pools| {
        pools
            .iter()
            .map(|pool| IpamConfig {
                subnet: text(pool, "subnet"),
                ip_range: text(pool, "ip_range"),
                gateway: text(pool, "gateway"),
                auxiliary_addresses: texts(pool.get("aux_addresses")),
            })
            .collect()
    });
    Ipam {
        driver: text(definition, "driver"),
        config,
        options: texts(definition.get("options")),
    }
}

fn volume_request(name: &str, resource: &SharedResource) -> VolumeCreateRequest {
    VolumeCreateRequest {
        name: Some(name.to_owned()),
        driver: text(&resource.definition, "driver"),
        driver_opts: texts(resource.definition.get("driver_opts")),
        labels: resource_labels(resource, labels::COMPOSE_VOLUME),
        ..VolumeCreateRequest::default()
    }
}

/// The file's labels and Compose's; an `external` resource gets none of Compose's.
fn resource_labels(resource: &SharedResource, kind: &str) -> Option<HashMap<String, String>> {
    let mut all = texts(resource.definition.get("labels")).unwrap_or_default();
    if let Some(project) = &resource.project {
        all.insert(labels::COMPOSE_PROJECT.to_owned(), project.clone());
        all.insert(kind.to_owned(), resource.key.clone());
    }
    (!all.is_empty()).then_some(all)
}

/// `docker compose config` writes `$` as `$$`; the Engine API wants it plain (Engines.md §1).
fn plain(value: &str) -> String {
    value.replace("$$", "$")
}

fn text(definition: &Value, key: &str) -> Option<String> {
    definition.get(key).and_then(Value::as_str).map(plain)
}

/// A map, or a list of `key=value`, as strings.
fn texts(value: Option<&Value>) -> Option<HashMap<String, String>> {
    match value? {
        Value::Object(map) => Some(
            map.iter()
                .map(|(key, value)| {
                    let value = match value {
                        Value::String(text) => plain(text),
                        Value::Null => String::new(),
                        other => other.to_string(),
                    };
                    (key.clone(), value)
                })
                .collect(),
        ),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .map(|item| {
                    let (key, value) = item.split_once('=').unwrap_or((item, ""));
                    (key.to_owned(), plain(value))
                })
                .collect(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_network_of_the_project_carries_composes_labels_and_its_definition() {
        let resource = SharedResource {
            key: "shop".to_owned(),
            project: Some("store".to_owned()),
            definition: json!({"driver": "bridge", "internal": true, "labels": {"a": "x$$y"},
                "driver_opts": {"com.docker.network.bridge.name": "br9"},
                "ipam": {"config": [{"subnet": "10.9.0.0/24", "gateway": "10.9.0.1"}]}}),
        };
        let request = network_request("store_shop", &resource);
        let labels = request.labels.expect("labels");
        assert_eq!(labels["com.docker.compose.project"], "store");
        assert_eq!(labels["com.docker.compose.network"], "shop");
        assert_eq!(labels["a"], "x$y");
        assert_eq!(request.internal, Some(true));
        let pools = request.ipam.and_then(|ipam| ipam.config).expect("pools");
        assert_eq!(pools[0].subnet.as_deref(), Some("10.9.0.0/24"));
    }

    #[test]
    fn an_external_resource_gets_no_label() {
        let resource = SharedResource {
            key: "edge".to_owned(),
            project: None,
            definition: json!({}),
        };
        assert_eq!(network_request("edge", &resource).labels, None);
        assert_eq!(volume_request("edge", &resource).labels, None);
    }
}
