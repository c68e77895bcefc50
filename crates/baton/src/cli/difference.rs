//! What differs between a plain service's part of the file and its container. Values that may be secret
//! (environment, labels, commands) are not shown, their names are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One line a key. `model`: `docker compose config --format json`; `container` and `image`: what
/// `docker inspect` says. Never empty: keys that a container does not show are said to be that.
#[must_use]
pub fn of(model: &Value, service: &str, container: &Value, image: &Value) -> Vec<String> {
    let file = &model["services"][service];
    let (runs, default) = (&container["Config"], &image["Config"]);
    let host = &container["HostConfig"];
    let mut changes = Vec::new();
    if let Some(wanted) = file["image"].as_str() {
        shown("image", text(&runs["Image"]), wanted, &mut changes);
    }
    variables(file, runs, default, &mut changes);
    for (key, field) in [("command", "Cmd"), ("entrypoint", "Entrypoint")] {
        let wanted = match words(&file[key]) {
            Some(wanted) => Some(wanted),
            // Another entrypoint takes the image's command away.
            None if key == "command" && !file["entrypoint"].is_null() => None,
            None => words(&default[field]),
        };
        if wanted.unwrap_or_default() != words(&runs[field]).unwrap_or_default() {
            changes.push(format!("{key}: changed"));
        }
    }
    for (key, field) in [("user", "User"), ("working_dir", "WorkingDir")] {
        let wanted = file[key].as_str().unwrap_or(text(&default[field]));
        shown(key, text(&runs[field]), wanted, &mut changes);
    }
    let restart = text(&host["RestartPolicy"]["Name"]);
    let wanted = file["restart"].as_str().unwrap_or("no");
    let wanted = wanted.split(':').next().unwrap_or_default();
    if file["deploy"]["restart_policy"].is_null() {
        shown("restart", restart, wanted, &mut changes);
    }
    sets(
        "ports",
        &ports_bound(host),
        &ports_wanted(file),
        &mut changes,
    );
    sets(
        "volumes",
        &mounted(container),
        &mounts_wanted(model, file),
        &mut changes,
    );
    sets(
        "networks",
        &joined(container),
        &networks_wanted(model, file),
        &mut changes,
    );
    labels(file, runs, default, &mut changes);
    let test = |health: &Value, key: &str| words(&health[key]);
    if !file["healthcheck"].is_null()
        && test(&file["healthcheck"], "test") != test(&runs["Healthcheck"], "Test")
    {
        changes.push("healthcheck: changed".to_owned());
    }
    if changes.is_empty() {
        changes.push("another key than those that its container shows".to_owned());
    }
    changes
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `docker compose config` doubles each `$`.
fn unescaped(text: &str) -> String {
    text.replace("$$", "$")
}

fn shown(key: &str, runs: &str, wanted: &str, changes: &mut Vec<String>) {
    let wanted = unescaped(wanted);
    let or_none = |text: &str| match text {
        "" => "(none)".to_owned(),
        text => text.to_owned(),
    };
    if runs != wanted {
        changes.push(format!("{key}: {} → {}", or_none(runs), or_none(&wanted)));
    }
}

fn words(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?;
    Some(list.iter().map(|word| unescaped(text(word))).collect())
}

fn pairs(list: &Value) -> BTreeMap<&str, &str> {
    let list = list.as_array().into_iter().flatten();
    list.map(|item| text(item).split_once('=').unwrap_or((text(item), "")))
        .collect()
}

fn variables(file: &Value, runs: &Value, default: &Value, changes: &mut Vec<String>) {
    let (runs, default) = (pairs(&runs["Env"]), pairs(&default["Env"]));
    let mut wanted: BTreeMap<&str, String> = default
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    for (name, value) in file["environment"].as_object().into_iter().flatten() {
        // Without a value it is not set: nobody had one to give.
        if !value.is_null() {
            wanted.insert(name, unescaped(text(value)));
        }
    }
    let names: BTreeSet<&str> = runs.keys().chain(wanted.keys()).copied().collect();
    for name in names {
        let how = match (runs.get(name), wanted.get(name)) {
            (None, Some(_)) => "added",
            (Some(_), None) => "removed",
            (Some(runs), Some(wanted)) if runs != wanted => "changed",
            _ => continue,
        };
        changes.push(format!("environment.{name}: {how} (value not shown)"));
    }
}

fn labels(file: &Value, runs: &Value, default: &Value, changes: &mut Vec<String>) {
    let of = |value: &Value| -> BTreeMap<String, String> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .filter(|(name, _)| !name.starts_with("com.docker.compose."))
            .map(|(name, value)| (name.clone(), unescaped(text(value))))
            .collect()
    };
    let (runs, mut wanted) = (of(&runs["Labels"]), of(&default["Labels"]));
    wanted.extend(of(&file["labels"]));
    let names: BTreeSet<&String> = runs.keys().chain(wanted.keys()).collect();
    for name in names {
        if runs.get(name) != wanted.get(name) {
            changes.push(format!("labels.{name}: changed"));
        }
    }
}

fn sets(key: &str, runs: &BTreeSet<String>, wanted: &BTreeSet<String>, changes: &mut Vec<String>) {
    for gone in runs.difference(wanted) {
        changes.push(format!("{key}: - {gone}"));
    }
    for new in wanted.difference(runs) {
        changes.push(format!("{key}: + {new}"));
    }
}

/// `127.0.0.1:8080:80/tcp`, without what stands for every address and any port.
fn port(ip: &str, published: &str, target: &str) -> String {
    let ip = if matches!(ip, "0.0.0.0" | "::") {
        ""
    } else {
        ip
    };
    let parts = [ip, if published == "0" { "" } else { published }, target];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(":")
}

fn ports_bound(host: &Value) -> BTreeSet<String> {
    let bindings = host["PortBindings"].as_object().into_iter().flatten();
    bindings
        .flat_map(|(target, bound)| {
            let bound = bound.as_array().into_iter().flatten();
            bound.map(move |one| port(text(&one["HostIp"]), text(&one["HostPort"]), target))
        })
        .collect()
}

fn ports_wanted(file: &Value) -> BTreeSet<String> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.to_string(),
        other => text(other).to_owned(),
    };
    let ports = file["ports"].as_array().into_iter().flatten();
    ports
        .map(|one| {
            let protocol = one["protocol"].as_str().unwrap_or("tcp");
            let target = format!("{}/{protocol}", number(&one["target"]));
            port(text(&one["host_ip"]), &number(&one["published"]), &target)
        })
        .collect()
}

/// `shop_data:/data`; a volume without a name by its target alone.
fn mount(source: &str, target: &str, read_only: bool) -> String {
    let anonymous = source.len() == 64 && source.bytes().all(|byte| byte.is_ascii_hexdigit());
    let source = if anonymous { "" } else { source };
    let separator = if source.is_empty() { "" } else { ":" };
    let mode = if read_only { ":ro" } else { "" };
    format!("{source}{separator}{target}{mode}")
}

/// Volumes of the image itself are nobody's change, and secrets come as mounts too.
fn mounted(container: &Value) -> BTreeSet<String> {
    let mounts = container["Mounts"].as_array().into_iter().flatten();
    mounts
        .filter(|one| {
            let target = text(&one["Destination"]);
            let image = container["Config"]["Volumes"].get(target).is_some();
            let anonymous = mount(text(&one["Name"]), "", false).is_empty();
            !(target.starts_with("/run/secrets/") || image && anonymous)
        })
        .filter(|one| matches!(text(&one["Type"]), "bind" | "volume"))
        .map(|one| {
            let source = one["Name"].as_str().unwrap_or(text(&one["Source"]));
            mount(source, text(&one["Destination"]), one["RW"] == false)
        })
        .collect()
}

fn mounts_wanted(model: &Value, file: &Value) -> BTreeSet<String> {
    let volumes = file["volumes"].as_array().into_iter().flatten();
    volumes
        .filter(|one| matches!(text(&one["type"]), "bind" | "volume"))
        .filter(|one| !(text(&one["type"]) == "volume" && one["source"].is_null()))
        .map(|one| {
            let source = text(&one["source"]);
            let source = match text(&one["type"]) {
                "volume" => model["volumes"][source]["name"].as_str().unwrap_or(source),
                _ => source,
            };
            mount(source, text(&one["target"]), one["read_only"] == true)
        })
        .collect()
}

/// Without the network of Baton's own.
fn joined(container: &Value) -> BTreeSet<String> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let names = networks.into_iter().flatten().map(|(name, _)| name.clone());
    names.filter(|name| !name.ends_with("_live")).collect()
}

fn networks_wanted(model: &Value, file: &Value) -> BTreeSet<String> {
    if let Some(mode) = file["network_mode"].as_str() {
        return BTreeSet::from([mode.to_owned()]);
    }
    let networks = file["networks"].as_object().into_iter().flatten();
    networks
        .map(|(key, _)| {
            let name = model["networks"][key]["name"].as_str();
            name.unwrap_or(key).to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container() -> Value {
        json!({
            "Config": {"Image": "redis:7", "Cmd": ["redis-server"], "Entrypoint": ["/entry"],
                "Env": ["PATH=/bin", "PASSWORD=secret", "OLD=1"], "User": "", "WorkingDir": "/data",
                "Labels": {"com.docker.compose.service": "redis", "team": "a"},
                "Volumes": {"/data": {}}},
            "HostConfig": {"RestartPolicy": {"Name": "always"},
                "PortBindings": {"6379/tcp": [{"HostIp": "", "HostPort": "6379"}]}},
            "Mounts": [
                {"Type": "volume", "Name": "0".repeat(64), "Destination": "/data", "RW": true},
                {"Type": "volume", "Name": "shop_conf", "Destination": "/conf", "RW": true}],
            "NetworkSettings": {"Networks": {"shop_default": {}, "shop_live": {}}},
        })
    }

    fn image() -> Value {
        json!({"Config": {"Cmd": ["redis-server"], "Entrypoint": ["/entry"], "Env": ["PATH=/bin"],
            "User": "", "WorkingDir": "/data"}})
    }

    fn model() -> Value {
        json!({
            "services": {"redis": {
                "image": "redis:7", "command": null, "entrypoint": null, "restart": "always",
                "environment": {"PASSWORD": "secret", "OLD": "1"}, "labels": {"team": "a"},
                "ports": [{"target": 6379, "published": "6379", "protocol": "tcp"}],
                "volumes": [{"type": "volume", "source": "conf", "target": "/conf"}],
                "networks": {"default": null},
            }},
            "networks": {"default": {"name": "shop_default"}},
            "volumes": {"conf": {"name": "shop_conf"}},
        })
    }

    #[test]
    fn what_is_the_same_is_not_named() {
        let same = of(&model(), "redis", &container(), &image());
        assert_eq!(same, ["another key than those that its container shows"]);
    }

    #[test]
    fn each_key_that_differs_is_named_and_no_secret_is_shown() {
        let mut model = model();
        model["services"]["redis"] = json!({
            "image": "redis:8", "command": ["redis-server", "--requirepass", "hush"],
            "entrypoint": null, "restart": "unless-stopped",
            "environment": {"PASSWORD": "hush$$", "NEW": "1"},
            "ports": [{"target": 6379, "published": "6380", "host_ip": "127.0.0.1"}],
            "volumes": [{"type": "bind", "source": "/etc/redis", "target": "/conf", "read_only": true}],
            "networks": {"back": null},
            "healthcheck": {"test": ["CMD", "redis-cli", "ping"]},
        });
        let changes = of(&model, "redis", &container(), &image());
        assert_eq!(
            changes,
            [
                "image: redis:7 → redis:8",
                "environment.NEW: added (value not shown)",
                "environment.OLD: removed (value not shown)",
                "environment.PASSWORD: changed (value not shown)",
                "command: changed",
                "restart: always → unless-stopped",
                "ports: - 6379:6379/tcp",
                "ports: + 127.0.0.1:6380:6379/tcp",
                "volumes: - shop_conf:/conf",
                "volumes: + /etc/redis:/conf:ro",
                "networks: - shop_default",
                "networks: + back",
                "labels.team: changed",
                "healthcheck: changed",
            ]
        );
    }
}
