//! A container as an [`Instance`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum, NetworkSettings};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::docker::{labels, live_network};
use crate::engine::Address;
use crate::{Exit, Instance, InstanceId, InstanceState};

/// Labels of a container; empty when it has none.
pub(super) fn labels_of(container: &ContainerInspectResponse) -> HashMap<String, String> {
    let config = container.config.as_ref();
    config
        .and_then(|config| config.labels.clone())
        .unwrap_or_default()
}

/// `routable`: this machine reaches container addresses.
pub(super) fn instance(container: &ContainerInspectResponse, routable: bool) -> Instance {
    let labels = labels_of(container);
    let slot = labels::slot(&labels);
    let state = state(container);
    let service = labels
        .get(labels::SERVICE)
        .or_else(|| labels.get(labels::COMPOSE_SERVICE));
    let address = match (&state, port(container, &labels, slot.is_some())) {
        // Engines.md §2: an exited container still shows its last address, and another may have it.
        (InstanceState::Running, Some(port)) => address(container, port, routable),
        _ => None,
    };
    Instance {
        id: InstanceId(container.id.clone().unwrap_or_default()),
        slot,
        service: service.cloned().unwrap_or_default(),
        replica: labels
            .get(labels::COMPOSE_NUMBER)
            .and_then(|number| number.parse().ok())
            .unwrap_or(1),
        release: labels::release(&labels),
        state,
        address,
        started_at: started_at(container),
        restarts: container
            .restart_count
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(0),
        image: container.image.clone().unwrap_or_default(),
    }
}

/// In a crash loop `Running` is true while `Restarting` is (Engines.md §2); a container that never
/// started is `created`, with the engine's words in `Error` when its entrypoint was bad.
fn state(container: &ContainerInspectResponse) -> InstanceState {
    let Some(state) = &container.state else {
        return InstanceState::Created;
    };
    let error = state.error.clone().filter(|text| !text.is_empty());
    let restarting = state.restarting.unwrap_or(false);
    if state.running.unwrap_or(false) && !restarting {
        return InstanceState::Running;
    }
    if state.status == Some(ContainerStateStatusEnum::CREATED) && error.is_none() {
        return InstanceState::Created;
    }
    InstanceState::Exited(Exit {
        code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
        oom_killed: state.oom_killed.unwrap_or(false),
        error,
    })
}

/// Its main process, where this machine's kernel knows it by this number: Baton may run in a
/// container itself, and then `/proc/<pid>` is somebody else's. Never 1 or below (Engines.md §2).
pub(super) fn kernel_pid(container: &ContainerInspectResponse) -> Option<i64> {
    let pid = container.state.as_ref()?.pid?;
    is_of(pid, container.id.as_deref()?).then_some(pid)
}

/// Does this process belong to the container? Its cgroup is named by the id, with both versions.
pub(super) fn is_of(pid: i64, id: &str) -> bool {
    let cgroup = || std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    pid > 1 && id.len() == 64 && cgroup().is_ok_and(|table| table.contains(id))
}

fn started_at(container: &ContainerInspectResponse) -> Option<OffsetDateTime> {
    let text = container.state.as_ref()?.started_at.as_deref()?;
    // "0001-01-01T00:00:00Z" is Go's zero time: never started.
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .filter(|time| time.year() > 1)
}

/// The app's port: its label; of a plain container, the only TCP port that it exposes, else 0 (the
/// caller knows it from `x-baton`). None for a worker of ours.
fn port(
    container: &ContainerInspectResponse,
    labels: &HashMap<String, String>,
    ours: bool,
) -> Option<u16> {
    if ours {
        return labels.get(labels::PORT)?.parse().ok();
    }
    let exposed = container.config.as_ref()?.exposed_ports.as_ref();
    let mut ports = exposed
        .into_iter()
        .flatten()
        .filter_map(|port| tcp_port(port));
    match (ports.next(), ports.next()) {
        (Some(port), None) => Some(port),
        _ => Some(0),
    }
}

fn tcp_port(text: &str) -> Option<u16> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    (protocol == "tcp").then(|| number.parse().ok()).flatten()
}

pub(super) fn address(
    container: &ContainerInspectResponse,
    port: u16,
    routable: bool,
) -> Option<Address> {
    let settings = container.network_settings.as_ref()?;
    if routable {
        return container_ip(settings).map(|ip| Address {
            ip,
            port,
            published: false,
        });
    }
    published_port(settings, port).map(|port| Address {
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        port,
        published: true,
    })
}

/// The address on one of the user's networks; on Baton's live network only if there is no other,
/// because the container leaves and enters that one while it runs.
fn container_ip(settings: &NetworkSettings) -> Option<IpAddr> {
    let mut candidates: Vec<(bool, &String, IpAddr)> = settings
        .networks
        .as_ref()?
        .iter()
        .filter_map(|(name, endpoint)| {
            let ip = endpoint
                .ip_address
                .as_deref()
                .filter(|ip| !ip.is_empty())
                .or(endpoint.global_ipv6_address.as_deref())?;
            Some((live_network::is_live_name(name), name, ip.parse().ok()?))
        })
        .collect();
    // By name, so that every look at the container gives the same answer.
    candidates.sort();
    candidates.first().map(|(_, _, ip)| *ip)
}

fn published_port(settings: &NetworkSettings, port: u16) -> Option<u16> {
    let bindings = settings.ports.as_ref()?.get(&format!("{port}/tcp"))?;
    bindings
        .as_ref()?
        .iter()
        .find_map(|binding| binding.host_port.as_deref()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn container(value: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(value).expect("a container")
    }

    fn ours(state: serde_json::Value) -> ContainerInspectResponse {
        container(json!({
            "Id": "a".repeat(64),
            "Image": "sha256:1",
            "State": state,
            "Config": {"Labels": {"baton.app": "shop", "baton.color": "blue", "baton.release": "r3",
                "baton.service": "api", "baton.port": "8080",
                "com.docker.compose.container-number": "2"}},
            "NetworkSettings": {
                "Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}]},
                "Networks": {
                    "a_live": {"IPAddress": "172.20.0.9"},
                    "shop_shop": {"IPAddress": "172.19.0.2"}}},
        }))
    }

    #[test]
    fn a_running_container_has_its_address_on_the_users_network() {
        let seen = instance(&ours(json!({"Status": "running", "Running": true})), true);
        assert_eq!(seen.state, InstanceState::Running);
        assert_eq!(
            seen.address.expect("an address").to_string(),
            "172.19.0.2:8080"
        );
        assert_eq!(
            (seen.service.as_str(), seen.replica, seen.release),
            ("api", 2, Some(3))
        );
    }

    #[test]
    fn where_containers_are_not_routable_the_published_port_counts() {
        let seen = instance(&ours(json!({"Status": "running", "Running": true})), false);
        let address = seen.address.expect("an address");
        assert_eq!(address.to_string(), "127.0.0.1:49153");
        assert!(address.published);
    }

    #[test]
    fn an_exited_container_has_no_address() {
        let state = json!({"Status": "exited", "Running": false, "ExitCode": 3, "Error": ""});
        let seen = instance(&ours(state), true);
        assert_eq!(seen.address, None);
        let exit = Exit {
            code: Some(3),
            oom_killed: false,
            error: None,
        };
        assert_eq!(seen.state, InstanceState::Exited(exit));
    }

    #[test]
    fn a_crash_loop_is_not_running() {
        let state =
            json!({"Status": "restarting", "Running": true, "Restarting": true, "ExitCode": 1});
        let seen = instance(&ours(state), true);
        assert!(matches!(seen.state, InstanceState::Exited(_)));
        assert_eq!(seen.address, None);
    }

    #[test]
    fn a_bad_entrypoint_is_an_exit_with_the_engines_words() {
        let state = json!({"Status": "created", "Running": false, "ExitCode": 127, "Error": "exec: \"nope\""});
        let InstanceState::Exited(exit) = instance(&ours(state), true).state else {
            panic!("not exited");
        };
        assert_eq!(
            (exit.code, exit.error.as_deref()),
            (Some(127), Some("exec: \"nope\""))
        );
        let fresh = instance(&ours(json!({"Status": "created", "Running": false})), true);
        assert_eq!(fresh.state, InstanceState::Created);
    }
}
