//! What a plain container was started with, written into a rendering: `r0` comes back as it was, not
//! as today's file says.
//!
//! Networks, hostname, logging and whatever else is not named here stay as the file colors them.

use std::collections::BTreeMap;
use std::sync::Arc;

use baton_compose::rendering::{ColoredService, ComposeModel, RELEASE_PLACEHOLDER, Rendering};
use baton_compose::{AppName, Color, Role};
use bollard::models::{
    ContainerConfig, ContainerInspectResponse, HealthConfig, HostConfig, MountPoint,
    RestartPolicyNameEnum,
};
use serde_json::{Map, Value, json};

use crate::docker::{Inner, images, inspect};
use crate::{EngineError, InstanceId};

type Renderings = Vec<(Color, Role, Rendering)>;
type Definition = Map<String, Value>;

/// See [`crate::Engine::adopt`].
pub(super) async fn adopt(
    inner: &Arc<Inner>,
    app: &AppName,
    renderings: &[(Color, Role, Rendering)],
    adopted: &BTreeMap<String, Vec<InstanceId>>,
) -> Result<Renderings, EngineError> {
    let mut renderings = renderings.to_vec();
    let docker = inner.client().await?.docker;
    for (service, ids) in adopted {
        // Replicas of one service were started with the same.
        let Some(id) = ids.first() else { continue };
        let container = inner.existing("adopting", id).await?;
        let image = container.image.clone().unwrap_or_default();
        images::tag(&docker, (app, 0), service, &image).await?;
        let plain = by_color(&renderings, service);
        for (color, _, rendering) in &mut renderings {
            if let Rendering::Docker(model) = rendering {
                rewrite(model, service, &container, &plain, *color);
            }
        }
    }
    Ok(renderings)
}

/// The service's environment as the file says it for each color in the live role.
fn by_color(renderings: &Renderings, service: &str) -> BTreeMap<Color, Definition> {
    let environment = |rendering: &Rendering| {
        let Rendering::Docker(model) = rendering else {
            return None;
        };
        let colored = &entry(model, service)?.colored_name;
        model.model["services"][colored]["environment"]
            .as_object()
            .cloned()
    };
    renderings
        .iter()
        .filter(|(_, role, _)| *role == Role::Live)
        .filter_map(|(color, _, rendering)| Some((*color, environment(rendering)?)))
        .collect()
}

fn entry<'a>(model: &'a ComposeModel, service: &str) -> Option<&'a ColoredService> {
    model.services.iter().find(|entry| entry.name == service)
}

fn rewrite(
    compose: &mut ComposeModel,
    service: &str,
    container: &ContainerInspectResponse,
    plain: &BTreeMap<Color, Definition>,
    color: Color,
) {
    let config = container.config.clone().unwrap_or_default();
    let host = container.host_config.clone().unwrap_or_default();
    let Some(entry) = compose.services.iter_mut().find(|e| e.name == service) else {
        return;
    };
    entry.restart = restart_policy(&host);
    entry.stop_signal = filled(config.stop_signal.as_ref());
    if let Some(seconds) = config.stop_timeout.and_then(|s| u64::try_from(s).ok()) {
        entry.stop_grace_period = std::time::Duration::from_secs(seconds);
    }
    let colored = entry.colored_name.clone();
    let ComposeModel { model, .. } = compose;
    let tmpfs: Vec<&String> = host.tmpfs.iter().flatten().map(|(path, _)| path).collect();
    let mounts: Vec<&MountPoint> = container
        .mounts
        .iter()
        .flatten()
        .filter(|mount| {
            mount
                .destination
                .as_ref()
                .is_none_or(|to| !tmpfs.contains(&to))
        })
        .collect();
    let mounts = mounted(model, &colored, &mounts);
    let Some(Value::Object(definition)) = model
        .get_mut("services")
        .and_then(|services| services.get_mut(&colored))
    else {
        return;
    };
    let image = container.image.clone().unwrap_or_default();
    set(definition, "image", Some(json!(image)));
    set(definition, "volumes", mounts);
    process(definition, &config);
    limits(definition, &host);
    labelled(definition, container);
    definition.insert(
        "environment".to_owned(),
        Value::Object(environment(definition, &config, plain, color)),
    );
}

/// A key as it was, or none of it: what the file says today is not what it was started with.
fn set(definition: &mut Definition, key: &str, value: Option<Value>) {
    match value {
        Some(value) => definition.insert(key.to_owned(), value),
        None => definition.remove(key),
    };
}

fn filled(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).cloned()
}

/// `$` begins a variable in a Compose model (Engines.md §1).
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

fn words(list: Option<&Vec<String>>) -> Option<Value> {
    let list = list.filter(|list| !list.is_empty())?;
    Some(list.iter().map(|word| json!(escaped(word))).collect())
}

/// What runs: the engine has merged the image's part into the container's, and the image is the same.
fn process(definition: &mut Definition, config: &ContainerConfig) {
    // An empty list and not nothing: the image may have one that the file took away.
    let entrypoint = words(config.entrypoint.as_ref()).unwrap_or_else(|| json!([]));
    set(definition, "entrypoint", Some(entrypoint));
    set(definition, "command", words(config.cmd.as_ref()));
    let text = |text: Option<&String>| filled(text).map(|text| json!(escaped(&text)));
    set(definition, "working_dir", text(config.working_dir.as_ref()));
    set(definition, "user", text(config.user.as_ref()));
    set(definition, "stop_signal", text(config.stop_signal.as_ref()));
    let grace = config
        .stop_timeout
        .map(|seconds| json!(format!("{seconds}s")));
    set(definition, "stop_grace_period", grace);
    let healthcheck = config.healthcheck.as_ref().and_then(healthcheck);
    set(definition, "healthcheck", healthcheck);
    let yes = |flag: Option<bool>| flag.filter(|flag| *flag).map(Value::from);
    set(definition, "tty", yes(config.tty));
    set(definition, "stdin_open", yes(config.open_stdin));
}

fn healthcheck(health: &HealthConfig) -> Option<Value> {
    let mut check = Map::new();
    check.insert("test".to_owned(), words(health.test.as_ref())?);
    for (key, nanos) in [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("start_period", health.start_period),
        ("start_interval", health.start_interval),
    ] {
        if let Some(nanos) = nanos.filter(|nanos| *nanos > 0) {
            check.insert(key.to_owned(), json!(format!("{}us", nanos / 1_000)));
        }
    }
    if let Some(retries) = health.retries.filter(|retries| *retries > 0) {
        check.insert("retries".to_owned(), json!(retries));
    }
    Some(Value::Object(check))
}

fn limits(definition: &mut Definition, host: &HostConfig) {
    let yes = |flag: Option<bool>| flag.filter(|flag| *flag).map(Value::from);
    let some = |number: Option<i64>| number.filter(|number| *number > 0);
    // Compose refuses a limit that is said in both places.
    if let Some(Value::Object(deploy)) = definition.get_mut("deploy") {
        deploy.remove("resources");
    }
    let bytes = |number: Option<i64>| some(number).map(|bytes| json!(bytes.to_string()));
    set(definition, "mem_limit", bytes(host.memory));
    let reserved = bytes(host.memory_reservation);
    set(definition, "mem_reservation", reserved);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a billionth of a CPU is of no importance"
    )]
    let cpus = some(host.nano_cpus).map(|nanos| json!(nanos as f64 / 1e9));
    set(definition, "cpus", cpus);
    set(definition, "privileged", yes(host.privileged));
    set(definition, "read_only", yes(host.readonly_rootfs));
    set(definition, "init", yes(host.init));
    set(definition, "cap_add", words(host.cap_add.as_ref()));
    set(definition, "cap_drop", words(host.cap_drop.as_ref()));
    set(definition, "extra_hosts", words(host.extra_hosts.as_ref()));
    let options = words(host.security_opt.as_ref());
    set(definition, "security_opt", options);
    let tmpfs: Vec<Value> = host
        .tmpfs
        .iter()
        .flatten()
        .map(|(path, options)| match options.as_str() {
            "" => json!(escaped(path)),
            options => json!(escaped(&format!("{path}:{options}"))),
        })
        .collect();
    let tmpfs = (!tmpfs.is_empty()).then_some(Value::Array(tmpfs));
    set(definition, "tmpfs", tmpfs);
}

fn restart_policy(host: &HostConfig) -> String {
    let policy = host.restart_policy.clone().unwrap_or_default();
    match (policy.name, policy.maximum_retry_count) {
        (Some(RestartPolicyNameEnum::ALWAYS), _) => "always".to_owned(),
        (Some(RestartPolicyNameEnum::UNLESS_STOPPED), _) => "unless-stopped".to_owned(),
        (Some(RestartPolicyNameEnum::ON_FAILURE), Some(most @ 1..)) => format!("on-failure:{most}"),
        (Some(RestartPolicyNameEnum::ON_FAILURE), _) => "on-failure".to_owned(),
        _ => "no".to_owned(),
    }
}

/// The user's labels as they were; Baton's are the color's, Compose writes its own.
fn labelled(definition: &mut Definition, container: &ContainerInspectResponse) {
    let mut all: Definition = inspect::labels_of(container)
        .into_iter()
        .filter(|(key, _)| !key.starts_with("com.docker.compose.") && !key.starts_with("baton."))
        .map(|(key, value)| (key, json!(escaped(&value))))
        .collect();
    if let Some(Value::Object(colored)) = definition.get("labels") {
        let ours = colored.iter().filter(|(key, _)| key.starts_with("baton."));
        all.extend(ours.map(|(key, value)| (key.clone(), value.clone())));
    }
    definition.insert("labels".to_owned(), Value::Object(all));
}

/// What it was started with. A variable that has the file's value for blue, where `r0` was adopted,
/// is the file's: in the other color it has that color's (`orders-${BATON_COLOR:-blue}`).
fn environment(
    definition: &Definition,
    config: &ContainerConfig,
    plain: &BTreeMap<Color, Definition>,
    color: Color,
) -> Definition {
    let of = |color: Color, name: &str| plain.get(&color).and_then(|values| values.get(name));
    let mut all = Definition::new();
    for item in config.env.iter().flatten() {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let value = json!(escaped(value));
        let value = match of(color, name) {
            Some(colored) if of(Color::Blue, name) == Some(&value) => colored.clone(),
            _ => value,
        };
        all.insert(name.to_owned(), value);
    }
    let ours = definition.get("environment").and_then(Value::as_object);
    let ours = ours.into_iter().flatten();
    for (name, value) in ours.filter(|(name, _)| name.starts_with("BATON_")) {
        all.insert(name.clone(), value.clone());
    }
    all.entry("BATON_RELEASE")
        .or_insert_with(|| json!(RELEASE_PLACEHOLDER));
    all
}

/// Its mounts, but those that Compose made of `secrets` and `configs`, which the model still has.
/// A named volume is one of the model's, else it is named there as one that exists.
fn mounted(model: &mut Value, colored: &str, mounts: &[&MountPoint]) -> Option<Value> {
    let handed = handed_in(&model["services"][colored]);
    let mut all = Vec::new();
    for mount in mounts {
        let target = mount.destination.clone().unwrap_or_default();
        if target.is_empty() || handed.contains(&target) {
            continue;
        }
        let kind = mount.typ.as_deref().unwrap_or_default();
        let mut entry = json!({"type": kind, "target": escaped(&target)});
        if mount.rw == Some(false) {
            entry["read_only"] = json!(true);
        }
        match (kind, mount.name.as_deref()) {
            ("bind", _) => {
                let source = mount.source.clone().unwrap_or_default();
                entry["source"] = json!(escaped(&source));
            }
            ("volume", Some(name)) if !is_anonymous(name) => {
                entry["source"] = json!(volume_key(model, name));
            }
            _ => {}
        }
        all.push(entry);
    }
    (!all.is_empty()).then_some(Value::Array(all))
}

/// 64 hexadecimal digits that the engine made up.
fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where the service's secrets and configs are put.
fn handed_in(definition: &Value) -> Vec<String> {
    let mut targets = Vec::new();
    for (section, folder) in [("secrets", "/run/secrets/"), ("configs", "/")] {
        for item in definition[section].as_array().into_iter().flatten() {
            let source = item["source"].as_str().or(item.as_str());
            let target = item["target"].as_str().or(source).unwrap_or_default();
            targets.push(if target.starts_with('/') {
                target.to_owned()
            } else {
                format!("{folder}{target}")
            });
        }
    }
    targets
}

/// The key of the model's volume that the engine knows by this name.
fn volume_key(model: &mut Value, name: &str) -> String {
    let volumes = &mut model["volumes"];
    if let Value::Object(volumes) = volumes {
        for (key, volume) in volumes.iter() {
            if volume["name"] == name {
                return key.clone();
            }
        }
    } else {
        *volumes = json!({});
    }
    volumes[name] = json!({"name": name, "external": true});
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(color: Color) -> ComposeModel {
        let stream = format!("orders-{color}");
        serde_json::from_value(json!({
            "project": format!("shop-{color}"),
            "model": {
                "services": {format!("api-{color}"): {
                    "image": "shop:2", "command": ["new"], "user": "7", "networks": {"shop": null},
                    "environment": {"A": "new", "STREAM": stream, "NEW": "1",
                        "BATON_COLOR": color.as_str(), "BATON_RELEASE": RELEASE_PLACEHOLDER},
                    "labels": {"baton.app": "shop", "new": "1"},
                    "secrets": [{"source": "token"}],
                    "deploy": {"resources": {"limits": {"memory": "1"}}},
                }},
                "volumes": {"data": {"name": "shop_data", "external": true}},
            },
            "services": [{"name": "api", "colored_name": format!("api-{color}"), "port": 8080,
                "replicas": 1, "stop_signal": null,
                "stop_grace_period": {"secs": 10, "nanos": 0}, "restart": "no"}],
            "networks": {}, "volumes": {}, "live_network": "shop_live", "environment": {},
            "directory": "/",
        }))
        .expect("a model")
    }

    fn container() -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Image": "sha256:old",
            "Config": {
                "Entrypoint": null, "Cmd": ["serve", "$HOME"], "User": "", "WorkingDir": "/app",
                "Env": ["A=old", "STREAM=orders-blue", "PRICE=5$"],
                "StopTimeout": 30,
                "Labels": {"com.docker.compose.project": "shop", "team": "a"},
                "Healthcheck": {"Test": ["CMD", "/probe"], "Interval": 2_000_000_000_u64},
            },
            "HostConfig": {"Memory": 1048576, "RestartPolicy": {"Name": "always"},
                "Tmpfs": {"/tmp": "size=1m"}},
            "Mounts": [
                {"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "other", "Destination": "/other", "RW": true},
                {"Type": "volume", "Name": "0".repeat(64), "Destination": "/cache", "RW": true},
                {"Type": "bind", "Source": "/etc/shop", "Destination": "/etc/shop", "RW": false},
                {"Type": "bind", "Source": "/token", "Destination": "/run/secrets/token", "RW": false},
                {"Type": "tmpfs", "Source": "", "Destination": "/tmp", "RW": true},
            ],
        }))
        .expect("a container")
    }

    fn rewritten(color: Color) -> (ComposeModel, Value) {
        let renderings: Renderings = Color::BOTH
            .map(|color| (color, Role::Live, Rendering::Docker(model(color))))
            .to_vec();
        let mut compose = model(color);
        let plain = by_color(&renderings, "api");
        rewrite(&mut compose, "api", &container(), &plain, color);
        let service = compose.model["services"][format!("api-{color}")].clone();
        (compose, service)
    }

    #[test]
    fn a_plain_container_comes_back_as_it_was_started() {
        let (compose, api) = rewritten(Color::Blue);
        assert_eq!(api["image"], "sha256:old");
        assert_eq!(api["command"], json!(["serve", "$$HOME"]));
        assert_eq!(api["entrypoint"], json!([]));
        assert_eq!(api.get("user"), None);
        assert_eq!(api["working_dir"], "/app");
        assert_eq!(api["healthcheck"]["interval"], "2000000us");
        assert_eq!(api["mem_limit"], "1048576");
        assert_eq!(api["deploy"], json!({}));
        assert_eq!(api["labels"], json!({"baton.app": "shop", "team": "a"}));
        assert_eq!(api["tmpfs"], json!(["/tmp:size=1m"]));
        // Of the file's, since the color has networks of its own kind.
        assert_eq!(api["networks"], json!({"shop": null}));
        let entry = &compose.services[0];
        assert_eq!(entry.restart, "always");
        assert_eq!(entry.stop_grace_period.as_secs(), 30);
    }

    #[test]
    fn its_environment_is_its_own_but_for_what_the_color_says() {
        let (_, blue) = rewritten(Color::Blue);
        assert_eq!(
            blue["environment"],
            json!({"A": "old", "STREAM": "orders-blue", "PRICE": "5$$",
                "BATON_COLOR": "blue", "BATON_RELEASE": RELEASE_PLACEHOLDER})
        );
        let (_, green) = rewritten(Color::Green);
        assert_eq!(green["environment"]["A"], "old");
        assert_eq!(green["environment"]["STREAM"], "orders-green");
    }

    #[test]
    fn its_mounts_are_its_own_but_for_secrets() {
        let (compose, api) = rewritten(Color::Blue);
        assert_eq!(
            api["volumes"],
            json!([
                {"type": "volume", "source": "data", "target": "/data"},
                {"type": "volume", "source": "other", "target": "/other"},
                {"type": "volume", "target": "/cache"},
                {"type": "bind", "source": "/etc/shop", "target": "/etc/shop", "read_only": true},
            ])
        );
        let other = &compose.model["volumes"]["other"];
        assert_eq!(*other, json!({"name": "other", "external": true}));
    }
}
