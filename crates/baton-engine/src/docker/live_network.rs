//! The network on which the plain services of an app find its live color by the plain name.
//!
//! - It is `internal`: it never becomes anyone's default route, so joining and leaving it leaves
//!   connections to elsewhere alone.
//! - It has a *user-configured* subnet: only there may a container ask for its address back.
//! - A container changes its names by leaving and entering again with the same address (and so the
//!   same MAC). Tried on Engine 20.10: away for 85–130 ms; established TCP connections survive by
//!   retransmission (15,342 keep-alive requests through three such changes: 0 failed, longest 208 ms; a
//!   request in flight for 2 s was answered).

use std::collections::HashMap;
use std::net::Ipv4Addr;

use baton_compose::AppName;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerInspectResponse, EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig,
    NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, NetworkInspect,
};

use crate::EngineError;
use crate::docker::client::{call, failed, is_gone, reason, status};
use crate::docker::labels;

/// Marks the network of an app as Baton's.
const LIVE: &str = "live";

pub(super) fn is_live_name(name: &str) -> bool {
    name.ends_with("_live")
}

/// `shop_live`, as every rendering of the app names it.
pub(super) fn name_of(app: &AppName) -> String {
    format!("{app}_live")
}

/// Makes the network if it is not there. The caller holds the engine's network lock, because the
/// engine allows two networks of one name.
pub(super) async fn ensure(docker: &Docker, name: &str, app: &AppName) -> Result<(), EngineError> {
    if let Some(found) = inspect(docker, name).await? {
        let ours = found
            .labels
            .as_ref()
            .is_some_and(|labels| labels.contains_key(labels::NETWORK));
        if ours {
            return Ok(());
        }
        return Err(EngineError::Other {
            action: format!("making the network {name}"),
            reason: "a network of this name exists that Baton did not make; rename or remove it"
                .to_owned(),
        });
    }
    // Once without a subnet, to hear from the engine which one is free here.
    let config = match create(docker, name, app, None).await? {
        Some(subnet) => {
            call(docker.remove_network(name))
                .await
                .map_err(failed(format!("making the network {name}")))?;
            subnet
        }
        None => return Ok(()),
    };
    create(docker, name, app, Some(config)).await.map(|_| ())
}

/// Makes it and returns its IPv4 subnet.
async fn create(
    docker: &Docker,
    name: &str,
    app: &AppName,
    subnet: Option<String>,
) -> Result<Option<String>, EngineError> {
    let labels = HashMap::from([
        (labels::APP.to_owned(), app.to_string()),
        (labels::NETWORK.to_owned(), LIVE.to_owned()),
    ]);
    let ipam = subnet.map(|subnet| Ipam {
        config: Some(vec![IpamConfig {
            subnet: Some(subnet),
            ..IpamConfig::default()
        }]),
        ..Ipam::default()
    });
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        internal: Some(true),
        attachable: Some(true),
        ipam,
        labels: Some(labels),
        ..NetworkCreateRequest::default()
    };
    call(docker.create_network(request))
        .await
        .map_err(failed(format!("making the network {name}")))?;
    let made = inspect(docker, name).await?;
    Ok(made.as_ref().and_then(subnet_of))
}

fn subnet_of(network: &NetworkInspect) -> Option<String> {
    let pools = network.ipam.as_ref()?.config.as_ref()?;
    pools
        .iter()
        .filter_map(|pool| pool.subnet.clone())
        .find(|subnet| !subnet.contains(':'))
}

/// None when there is no network of exactly this name.
pub(super) async fn inspect(
    docker: &Docker,
    name: &str,
) -> Result<Option<NetworkInspect>, EngineError> {
    match call(docker.inspect_network(name, None)).await {
        Ok(network) if network.name.as_deref() == Some(name) => Ok(Some(network)),
        Ok(_) => Ok(None),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(failed(format!("looking for the network {name}"))(error)),
    }
}

/// Removes the network of an app that is taken away; whoever is on it leaves first.
pub(super) async fn remove(docker: &Docker, name: &str) -> Result<(), EngineError> {
    let Some(network) = inspect(docker, name).await? else {
        return Ok(());
    };
    for container in network.containers.unwrap_or_default().into_keys() {
        disconnect(docker, name, &container)
            .await
            .map_err(failed(format!("taking {container} off the network {name}")))?;
    }
    match call(docker.remove_network(name)).await {
        Err(error) if !is_gone(&error) => {
            Err(failed(format!("removing the network {name}"))(error))
        }
        _ => Ok(()),
    }
}

/// This container's end of `network`.
pub(super) fn endpoint<'a>(
    container: &'a ContainerInspectResponse,
    network: &str,
) -> Option<&'a EndpointSettings> {
    container
        .network_settings
        .as_ref()?
        .networks
        .as_ref()?
        .get(network)
}

/// The container answers to exactly these names on `network` afterwards, beside its own. Idempotent.
pub(super) async fn set_names(
    docker: &Docker,
    network: &str,
    container: &ContainerInspectResponse,
    names: &[String],
) -> Result<(), EngineError> {
    let id = container.id.as_deref().unwrap_or_default();
    let action = || format!("naming {} on the network {network}", short(id));
    let Some(current) = endpoint(container, network) else {
        return connect(docker, network, id, endpoint_with(names, None))
            .await
            .map_err(failed(action()));
    };
    if same_names(current, id, names) {
        return Ok(());
    }
    disconnect(docker, network, id)
        .await
        .map_err(failed(action()))?;
    let wanted = endpoint_with(names, Some(current));
    match connect(docker, network, id, wanted.clone()).await {
        Ok(()) => Ok(()),
        // Not a user-configured subnet, or somebody was faster: any address is better than none.
        Err(error) if wanted.ipam_config.is_some() => {
            let why = reason(&error);
            tracing::debug!(container = %short(id), network, why, "address not given back by request");
            let any = EndpointSettings {
                ipam_config: None,
                ..wanted
            };
            connect(docker, network, id, any)
                .await
                .map_err(failed(action()))
        }
        Err(error) => Err(failed(action())(error)),
    }
}

/// Joins without any name of the service's: connecting cuts nothing. Idempotent.
pub(super) async fn join(docker: &Docker, network: &str, id: &str) -> Result<(), EngineError> {
    connect(docker, network, id, EndpointSettings::default())
        .await
        .map_err(failed(format!("joining {} to {network}", short(id))))
}

/// Takes the container off the network. Idempotent.
pub(super) async fn leave(docker: &Docker, network: &str, id: &str) -> Result<(), EngineError> {
    disconnect(docker, network, id)
        .await
        .map_err(failed(format!("taking {} off {network}", short(id))))
}

async fn connect(
    docker: &Docker,
    network: &str,
    id: &str,
    endpoint: EndpointSettings,
) -> Result<(), Error> {
    let request = NetworkConnectRequest {
        container: id.to_owned(),
        endpoint_config: Some(endpoint),
    };
    match call(docker.connect_network(network, request)).await {
        Err(error) if reason(&error).contains("already exists in network") => Ok(()),
        other => other,
    }
}

async fn disconnect(docker: &Docker, network: &str, id: &str) -> Result<(), Error> {
    let request = NetworkDisconnectRequest {
        container: id.to_owned(),
        force: Some(false),
    };
    match call(docker.disconnect_network(network, request)).await {
        Err(error)
            if status(&error) == Some(404) || reason(&error).contains("is not connected to") =>
        {
            Ok(())
        }
        other => other,
    }
}

/// The endpoint to ask for: these names, and address, MAC and options of the one that was.
fn endpoint_with(names: &[String], previous: Option<&EndpointSettings>) -> EndpointSettings {
    let kept = previous.cloned().unwrap_or_default();
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (ipv4, ipv6) = (filled(kept.ip_address), filled(kept.global_ipv6_address));
    let ipam_config = (ipv4.is_some() || ipv6.is_some()).then(|| EndpointIpamConfig {
        ipv4_address: ipv4,
        ipv6_address: ipv6,
        link_local_ips: kept.ipam_config.and_then(|config| config.link_local_ips),
    });
    EndpointSettings {
        aliases: (!names.is_empty()).then(|| names.to_vec()),
        ipam_config,
        // Engine 20.10 makes the MAC from the address; newer ones (API 1.44) take this one.
        mac_address: filled(kept.mac_address),
        links: kept.links,
        driver_opts: kept.driver_opts,
        ..EndpointSettings::default()
    }
}

/// Engine 20.10 adds the container's short id to the aliases.
fn same_names(endpoint: &EndpointSettings, id: &str, names: &[String]) -> bool {
    let mut has: Vec<&str> = endpoint
        .aliases
        .iter()
        .flatten()
        .map(String::as_str)
        .filter(|alias| !id.starts_with(alias))
        .collect();
    let mut wants: Vec<&str> = names.iter().map(String::as_str).collect();
    has.sort_unstable();
    has.dedup();
    wants.sort_unstable();
    wants.dedup();
    has == wants
}

/// Would this container get its address again on `network` if it left and entered at once?
/// Certain where the subnet is the user's own, and where every lower address is taken: the engine
/// gives out the lowest free one (Engines.md §2).
pub(super) fn keeps_address(network: &NetworkInspect, endpoint: &EndpointSettings) -> bool {
    let pools = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref());
    let Some(pool) = pools.and_then(|pools| {
        pools
            .iter()
            .find(|pool| pool.subnet.as_deref().is_some_and(|s| !s.contains(':')))
    }) else {
        return false;
    };
    // The engine shows a gateway of its own choice only for a subnet of its own choice.
    if pool.gateway.as_deref().is_none_or(str::is_empty) {
        return true;
    }
    let address = |text: &str| -> Option<Ipv4Addr> { text.split('/').next()?.parse().ok() };
    let (Some(first), Some(own)) = (
        pool.subnet.as_deref().and_then(address),
        endpoint.ip_address.as_deref().and_then(address),
    ) else {
        return false;
    };
    let mut taken: Vec<Ipv4Addr> = pool
        .gateway
        .as_deref()
        .and_then(address)
        .into_iter()
        .collect();
    let members = network.containers.iter().flatten();
    taken.extend(members.filter_map(|(_, member)| address(member.ipv4_address.as_deref()?)));
    taken.extend(
        pool.auxiliary_addresses
            .iter()
            .flatten()
            .filter_map(|(_, ip)| address(ip)),
    );
    (u32::from(first) + 1..u32::from(own)).all(|ip| taken.contains(&Ipv4Addr::from(ip)))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn network(gateway: &str, members: &[&str]) -> NetworkInspect {
        let members: serde_json::Map<String, serde_json::Value> = members
            .iter()
            .enumerate()
            .map(|(n, ip)| (format!("c{n}"), json!({"IPv4Address": format!("{ip}/16")})))
            .collect();
        serde_json::from_value(json!({
            "IPAM": {"Config": [{"Subnet": "172.19.0.0/16", "Gateway": gateway}]},
            "Containers": members,
        }))
        .expect("a network")
    }

    fn at(ip: &str) -> EndpointSettings {
        EndpointSettings {
            ip_address: Some(ip.to_owned()),
            mac_address: Some("02:42:ac:13:00:03".to_owned()),
            aliases: Some(vec!["api".to_owned(), "0123456789ab".to_owned()]),
            ..EndpointSettings::default()
        }
    }

    #[test]
    fn an_address_comes_back_when_all_lower_ones_are_taken() {
        let full = network("172.19.0.1", &["172.19.0.2", "172.19.0.3"]);
        assert!(keeps_address(&full, &at("172.19.0.3")));
        let hole = network("172.19.0.1", &["172.19.0.4"]);
        assert!(!keeps_address(&hole, &at("172.19.0.4")));
    }

    #[test]
    fn an_address_comes_back_where_the_subnet_is_the_users_own() {
        let own = network("", &["172.19.0.9"]);
        assert!(keeps_address(&own, &at("172.19.0.9")));
    }

    #[test]
    fn names_are_compared_without_the_short_id() {
        let id = "0123456789abcdef";
        assert!(same_names(&at("172.19.0.3"), id, &["api".to_owned()]));
        assert!(!same_names(&at("172.19.0.3"), id, &[]));
    }

    #[test]
    fn a_changed_name_keeps_address_and_mac() {
        let wanted = endpoint_with(&[], Some(&at("172.19.0.3")));
        assert_eq!(wanted.aliases, None);
        assert_eq!(wanted.mac_address.as_deref(), Some("02:42:ac:13:00:03"));
        let ipv4 = wanted.ipam_config.and_then(|config| config.ipv4_address);
        assert_eq!(ipv4.as_deref(), Some("172.19.0.3"));
    }
}
