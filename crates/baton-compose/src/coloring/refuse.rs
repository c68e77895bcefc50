//! Keys that cannot stand twice on one machine.

use serde_json::{Map, Value};

use crate::error::{Collector, Problem};

/// Refuses by name, with the reason, what cannot be colored. `takes_traffic` is false for workers.
pub(crate) fn refuse(
    path: &str,
    service: &Map<String, Value>,
    networks: &Value,
    takes_traffic: bool,
    problems: &mut Collector,
) {
    let mut no = |key: &str, reason: &str, help: &str| {
        let text = format!("cannot be colored: {reason}");
        problems.push(Problem::new(format!("{path}.{key}"), text).help(help));
    };
    match service.get("network_mode").and_then(Value::as_str) {
        None => {}
        Some("none") if !takes_traffic => {}
        Some(mode) => {
            let reason = match mode.split(':').next().unwrap_or(mode) {
                "host" => "on the host's network both colors would need the same ports",
                "service" | "container" => {
                    "it shares the network of one container, and each color is another"
                }
                _ => "traffic reaches a color by its address on a network of the project",
            };
            no("network_mode", reason, "use `networks:` instead");
        }
    }
    for key in ["pid", "ipc"] {
        let shared = service
            .get(key)
            .and_then(Value::as_str)
            .is_some_and(|mode| mode.starts_with("service:") || mode.starts_with("container:"));
        if shared {
            no(
                key,
                "it is shared with one container, and each color is another",
                "remove it, or put both programs into one image",
            );
        }
    }
    if present(service, "volumes_from") {
        no(
            "volumes_from",
            "it takes the volumes of one container, and each color is another",
            "name the volumes under `volumes:`",
        );
    }
    if present(service, "links") {
        no(
            "links",
            "a link is bound to one container when it starts",
            "remove it: services on the same network find each other by name",
        );
    }
    if present(service, "mac_address") {
        no(
            "mac_address",
            "two colors cannot have one address",
            "remove it",
        );
    }
    if present(service, "provider") {
        no(
            "provider",
            "it is not a container",
            "move x-baton to a service with an image",
        );
    }
    if present(service, "models") {
        no("models", "models belong to the user's project", "remove it");
    }
    for (network, settings) in service
        .get("networks")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for key in [
            "ipv4_address",
            "ipv6_address",
            "mac_address",
            "link_local_ips",
        ] {
            if settings.get(key).is_some() {
                no(
                    &format!("networks.{network}.{key}"),
                    "two colors cannot have one address",
                    "remove it: services find each other by name",
                );
            }
        }
        if networks[network]["name"] == "host" {
            no(
                &format!("networks.{network}"),
                "on the host's network both colors would need the same ports",
                "use another network",
            );
        }
    }
}

fn present(service: &Map<String, Value>, key: &str) -> bool {
    match service.get(key) {
        None | Some(Value::Null) => false,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
        Some(_) => true,
    }
}
