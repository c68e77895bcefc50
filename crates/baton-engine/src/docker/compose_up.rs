//! `docker compose up` of one color: the model handed over on standard input.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use baton_compose::rendering::{ColoredService, ComposeModel};
use serde_json::{Map, Value, json};

use crate::docker::cli::{Run, scrubbed_environment};
use crate::docker::client::Client;
use crate::docker::{cgroup, labels};
use crate::{EngineError, Slot, Start};

/// Nothing is pulled or built here, so this is generous; then the process group is killed. Compose
/// killed at any point and run again ends well (Engines.md §1).
const UP_TIMEOUT: Duration = Duration::from_secs(180);

/// The colored services of this model that a start is about; all, when none are named.
pub(super) fn chosen<'a>(model: &'a ComposeModel, services: &[String]) -> Vec<&'a ColoredService> {
    model
        .services
        .iter()
        .filter(|service| services.is_empty() || services.contains(&service.name))
        .collect()
}

/// Starts so many instances of these services of the colored project; those that are there stay as
/// they are. `Err(Start)` carries Compose's own words.
pub(super) async fn up(
    client: &Client,
    host: &str,
    start: &Start<'_>,
    model: &ComposeModel,
    services: &[(&ColoredService, usize)],
) -> Result<(), EngineError> {
    let names: Vec<&str> = services
        .iter()
        .map(|(service, _)| service.colored_name.as_str())
        .collect();
    let prepared = prepare(start, model, &Place::of(client, start.slot));
    let mut args = arguments(model, &model.project, "plain");
    args.extend(
        [
            "up",
            "-d",
            "--no-deps",
            "--no-build",
            // What is still there runs this very release. A Baton of another version may have put
            // other words into its model; that is no reason to end it.
            "--no-recreate",
        ]
        .map(OsString::from),
    );
    for (service, instances) in services {
        args.push("--scale".into());
        args.push(format!("{}={instances}", service.colored_name).into());
    }
    // The other services of this color are not orphans, and COMPOSE_REMOVE_ORPHANS must not make
    // them so.
    args.push("--remove-orphans=false".into());
    args.extend(names.iter().map(OsString::from));
    let output = Run {
        action: "docker compose up",
        args,
        environment: Some(scrubbed_environment(host, &model.environment)),
        directory: Some(directory(model)),
        input: Some(prepared.to_string().into_bytes()),
        timeout: UP_TIMEOUT,
    }
    .quiet()
    .await?;
    if output.success {
        return Ok(());
    }
    Err(EngineError::Start {
        what: names.join(", "),
        reason: output.complaint(),
    })
}

/// Of `docker`, up to Compose's own command: the model comes on standard input.
pub(super) fn arguments(model: &ComposeModel, project: &str, progress: &str) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["compose", "-p", project, "--env-file", "/dev/null"]
        .map(OsString::from)
        .to_vec();
    args.push("--project-directory".into());
    args.push(directory(model).into());
    args.extend(["--progress", progress, "-f", "-"].map(OsString::from));
    args
}

/// The user's folder may be gone by the time of a rollback; the model's paths are absolute.
pub(super) fn directory(model: &ComposeModel) -> PathBuf {
    if model.directory.is_dir() {
        model.directory.clone()
    } else {
        "/".into()
    }
}

/// What the machine makes of a start.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// On 127.0.0.1, where containers are not routable.
    publish: bool,
    cgroup_parent: Option<String>,
}

impl Place {
    fn of(client: &Client, slot: &Slot) -> Place {
        Place {
            publish: !client.routable,
            ..Place::unpublished(client, slot)
        }
    }

    /// Of what takes no traffic.
    pub(super) fn unpublished(client: &Client, slot: &Slot) -> Place {
        Place {
            publish: false,
            cgroup_parent: (client.local)
                .then(|| cgroup::parent_name(slot, client.cgroups))
                .flatten(),
        }
    }
}

/// The model with what the engine itself stands for: labels, no restart policy yet, and a published
/// port or the live network where those are needed.
pub(super) fn prepare(start: &Start<'_>, model: &ComposeModel, place: &Place) -> Value {
    let mut prepared = model.model.clone();
    // Services of one color find each other's live color through the live network, so they are born
    // there, without the alias. An app with one such service needs this not.
    let meshed = model.services.len() > 1;
    for service in &model.services {
        let Some(Value::Object(definition)) = prepared
            .get_mut("services")
            .and_then(|services| services.get_mut(&service.colored_name))
        else {
            continue;
        };
        label(definition, start, service);
        // Engine::start's promise: only the live color is revived by a reboot.
        definition.insert("restart".to_owned(), json!("no"));
        if let Some(Value::Object(deploy)) = definition.get_mut("deploy") {
            deploy.remove("restart_policy");
        }
        // Anything else would ask a registry for an image that is here.
        definition.insert("pull_policy".to_owned(), json!("never"));
        if let (true, Some(port)) = (place.publish, service.port) {
            let published = json!([{"target": port, "host_ip": "127.0.0.1", "protocol": "tcp"}]);
            definition.insert("ports".to_owned(), published);
        }
        if let Some(parent) = &place.cgroup_parent {
            // The user's own is left alone; `Engine::shield` says what that costs.
            definition
                .entry("cgroup_parent")
                .or_insert_with(|| json!(parent));
        }
        if meshed {
            join_network(definition, &model.live_network);
        }
    }
    if meshed && let Value::Object(root) = &mut prepared {
        let networks = root.entry("networks").or_insert_with(|| json!({}));
        networks[&model.live_network] = json!({"name": model.live_network, "external": true});
    }
    prepared
}

fn join_network(definition: &mut Map<String, Value>, live_network: &str) {
    // Without `networks` a service is on `default`; naming one would take that away.
    let networks = definition
        .entry("networks")
        .or_insert_with(|| json!({"default": null}));
    match networks {
        Value::Array(names) => names.push(json!(live_network)),
        Value::Object(entries) => {
            entries.insert(live_network.to_owned(), Value::Null);
        }
        _ => {}
    }
}

fn label(definition: &mut Map<String, Value>, start: &Start<'_>, service: &ColoredService) {
    let mut ours = vec![
        (labels::APP, start.slot.app.to_string()),
        (labels::COLOR, start.slot.color.to_string()),
        (labels::RELEASE, format!("r{}", start.release)),
        (labels::ROLE, start.role.to_string()),
        (labels::SERVICE, service.name.clone()),
    ];
    if let Some(port) = service.port {
        ours.push((labels::PORT, port.to_string()));
    }
    let slot = definition.entry("labels").or_insert_with(|| json!({}));
    if let Value::Array(list) = slot {
        let mut map = Map::new();
        for item in list.iter().filter_map(Value::as_str) {
            let (key, value) = item.split_once('=').unwrap_or((item, ""));
            map.insert(key.to_owned(), json!(value));
        }
        *slot = Value::Object(map);
    }
    if let Value::Object(map) = slot {
        for (key, value) in ours {
            map.insert(key.to_owned(), json!(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baton_compose::rendering::Rendering;
    use baton_compose::{Color, Role};

    use super::*;

    fn service(name: &str, port: Option<u16>) -> ColoredService {
        serde_json::from_value(json!({
            "name": name, "colored_name": format!("{name}-blue"), "port": port, "replicas": 1,
            "stop_signal": null, "stop_grace_period": {"secs": 10, "nanos": 0},
            "restart": "always",
        }))
        .expect("a service")
    }

    fn prepared(services: Vec<ColoredService>, model: Value, place: &Place) -> Value {
        let model = ComposeModel {
            project: "shop-blue".to_owned(),
            model,
            services,
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            live_network: "shop_live".to_owned(),
            environment: BTreeMap::new(),
            directory: "/".into(),
        };
        let slot = Slot {
            app: "shop".parse().expect("a name"),
            color: Color::Blue,
        };
        let rendering = Rendering::Docker(model.clone());
        let start = Start {
            slot: &slot,
            release: 7,
            role: Role::Live,
            rendering: &rendering,
            services: &[],
            replicas: crate::Replicas::All,
            shielded: false,
        };
        prepare(&start, &model, place)
    }

    #[test]
    fn a_started_service_is_labelled_and_not_revived_by_a_reboot() {
        let model = json!({"services": {"api-blue": {"image": "x", "restart": "always",
            "labels": ["a=b"], "deploy": {"restart_policy": {"condition": "any"}}}}});
        let prepared = prepared(vec![service("api", Some(8080))], model, &Place::default());
        let api = &prepared["services"]["api-blue"];
        assert_eq!(api["restart"], "no");
        assert_eq!(api["deploy"].get("restart_policy"), None);
        assert_eq!(api["labels"]["a"], "b");
        assert_eq!(api["labels"]["baton.release"], "r7");
        assert_eq!(api["labels"]["baton.port"], "8080");
        assert_eq!(api.get("ports"), None);
        assert_eq!(api.get("networks"), None);
    }

    #[test]
    fn several_services_are_born_on_the_live_network_beside_their_own() {
        let model = json!({"services": {"api-blue": {"networks": {"shop": null}}, "job-blue": {}}});
        let services = vec![service("api", Some(8080)), service("job", None)];
        let prepared = prepared(services, model, &Place::default());
        let networks = |name: &str| prepared["services"][name]["networks"].clone();
        assert_eq!(
            networks("api-blue"),
            json!({"shop": null, "shop_live": null})
        );
        assert_eq!(
            networks("job-blue"),
            json!({"default": null, "shop_live": null})
        );
        assert_eq!(prepared["networks"]["shop_live"]["external"], true);
    }

    #[test]
    fn where_containers_are_not_routable_the_port_is_published_on_loopback() {
        let model = json!({"services": {"api-blue": {}}});
        let place = Place {
            publish: true,
            cgroup_parent: None,
        };
        let prepared = prepared(vec![service("api", Some(8080))], model, &place);
        let ports = &prepared["services"]["api-blue"]["ports"];
        assert_eq!(ports[0]["host_ip"], "127.0.0.1");
        assert_eq!(ports[0]["target"], 8080);
    }

    #[test]
    fn every_container_is_born_in_its_slots_cgroup_unless_the_file_names_one() {
        let model = json!({"services": {"api-blue": {}, "job-blue": {"cgroup_parent": "mine"}}});
        let services = vec![service("api", Some(8080)), service("job", None)];
        let place = Place {
            publish: false,
            cgroup_parent: Some("/baton-shop-blue".to_owned()),
        };
        let prepared = prepared(services, model, &place);
        let parent = |name: &str| prepared["services"][name]["cgroup_parent"].clone();
        assert_eq!(parent("api-blue"), "/baton-shop-blue");
        assert_eq!(parent("job-blue"), "mine");
    }
}
