//! One service in its color.

use serde_json::{Map, Value, json};

use super::{Coloring, PRIVATE_NETWORK, Told, escaped, object};
use crate::color::Role;
use crate::policy::Policy;
use crate::read::service::{replicas, stop_grace_period};
use crate::rendering::{ColoredService, RELEASE_PLACEHOLDER};
use crate::xbaton::scalar;

impl Coloring<'_> {
    /// The definition in the colored model, and what the engine must know beside it.
    pub(super) fn service(
        &self,
        name: &str,
        policy: &Policy,
        told: &mut Told,
    ) -> (Map<String, Value>, ColoredService) {
        let path = format!("services.{name}");
        let mut definition = self.user_service(name);
        let service = ColoredService {
            name: name.to_owned(),
            colored_name: self.colored_name(name),
            port: policy.port,
            replicas: replicas(&definition, &path, &mut told.problems),
            stop_signal: definition
                .get("stop_signal")
                .and_then(Value::as_str)
                .map(str::to_owned),
            stop_grace_period: stop_grace_period(&definition, &path, &mut told.problems),
            restart: restart_policy(&definition),
            live_aliases: self.live_aliases(name, &mut definition, &path, told),
        };
        drop_keys(&mut definition, &path, told);
        notice_mounts(&definition, &path, told);
        self.image(name, &mut definition);
        self.replicas(&mut definition, service.replicas);
        self.depends_on(policy, &mut definition, &path, told);
        self.join_networks(name, &mut definition);
        self.label(name, &mut definition);
        self.environment(policy, &mut definition);
        // Only the live color gets the file's policy, from the engine: a reboot must not revive both.
        if service.restart != "no" {
            let text = format!(
                "`{}` is given to the live color only, so that a reboot does not revive both",
                service.restart
            );
            told.notice(format!("{path}.restart"), text);
        }
        definition.insert("restart".to_owned(), "no".into());
        (definition, service)
    }

    /// The user's names for this service, which only the live color may answer to.
    fn live_aliases(
        &self,
        name: &str,
        definition: &mut Map<String, Value>,
        path: &str,
        told: &mut Told,
    ) -> Vec<String> {
        let mut aliases = vec![name.to_owned()];
        let mut add = |alias: &str| {
            if !aliases.iter().any(|known| known == alias) {
                aliases.push(alias.to_owned());
            }
        };
        if let Some(Value::Object(networks)) = definition.get_mut("networks") {
            for (network, settings) in networks {
                let Some(Value::Array(names)) =
                    settings.as_object_mut().and_then(|s| s.remove("aliases"))
                else {
                    continue;
                };
                names.iter().filter_map(Value::as_str).for_each(&mut add);
                told.notice(
                    format!("{path}.networks.{network}.aliases"),
                    format!(
                        "moved to the network {}_live, where the live color answers to it",
                        self.app
                    ),
                );
            }
        }
        if let Some(Value::String(hostname)) = definition.get_mut("hostname") {
            add(hostname);
            let text = format!(
                "becomes {hostname}-blue and {hostname}-green: networks answer to a host name, and both colors would"
            );
            *hostname = self.colored_name(hostname);
            told.notice(format!("{path}.hostname"), text);
        }
        if let Some(container_name) = definition.get("container_name").and_then(Value::as_str) {
            add(container_name);
        }
        match self.role {
            Role::Live => aliases,
            // Whatever is done with it, a test server is never what other services find.
            Role::Preview => Vec::new(),
        }
    }

    /// Runs what was fetched, and only that.
    fn image(&self, name: &str, definition: &mut Map<String, Value>) {
        if let Some(image) = self.images.get(name) {
            definition.insert("image".to_owned(), Value::from(escaped(&image.reference)));
        }
        definition.insert("pull_policy".to_owned(), "never".into());
    }

    fn replicas(&self, definition: &mut Map<String, Value>, replicas: u32) {
        if replicas > 1 {
            let deploy = definition.entry("deploy").or_insert_with(|| json!({}));
            deploy["replicas"] = Value::from(replicas);
        } else if let Some(Value::Object(deploy)) = definition.get_mut("deploy") {
            deploy.remove("replicas");
        }
    }

    /// Dependencies within the color keep their conditions; those on plain services were met before.
    fn depends_on(
        &self,
        policy: &Policy,
        definition: &mut Map<String, Value>,
        path: &str,
        told: &mut Told,
    ) {
        let Some(Value::Object(dependencies)) = definition.remove("depends_on") else {
            return;
        };
        let mut kept = Map::new();
        for (other, condition) in dependencies {
            let key = format!("{path}.depends_on.{other}");
            match self.policies.get(&other) {
                // A worker may depend on a worker, and both come after the switch.
                Some(needed) if needed.worker.is_some() && policy.worker.is_none() => {
                    told.notice(key, "not waited for: a worker starts after the switch");
                }
                Some(_) => {
                    kept.insert(self.colored_name(&other), condition);
                }
                // Told once for the whole service: it is not in a preview.
                None if self.left_out(&other) => {}
                None => told.notice(key, "met before a color starts, and then left alone"),
            }
        }
        if !kept.is_empty() {
            definition.insert("depends_on".to_owned(), Value::Object(kept));
        }
    }

    fn join_networks(&self, name: &str, definition: &mut Map<String, Value>) {
        if self.private_network().is_none() || definition.contains_key("network_mode") {
            return;
        }
        let networks = definition.entry("networks").or_insert_with(|| json!({}));
        networks[PRIVATE_NETWORK] = json!({ "aliases": [name] });
    }

    fn label(&self, name: &str, definition: &mut Map<String, Value>) {
        let labels = definition.entry("labels").or_insert_with(|| json!({}));
        for (label, value) in [
            ("baton.app", self.app.as_str()),
            ("baton.color", self.color.as_str()),
            ("baton.release", RELEASE_PLACEHOLDER),
            ("baton.service", name),
        ] {
            labels[label] = value.into();
        }
    }

    fn environment(&self, policy: &Policy, definition: &mut Map<String, Value>) {
        let environment = definition.entry("environment").or_insert_with(|| json!({}));
        for (name, value) in policy
            .color_environment
            .get(&self.color)
            .into_iter()
            .flatten()
        {
            environment[name] = escaped(value).into();
        }
        if let (Role::Preview, Some(preview)) = (self.role, &policy.preview) {
            for (name, value) in &preview.environment {
                environment[name] = escaped(value).into();
            }
        }
        for (name, value) in [
            ("BATON_APP", self.app.as_str()),
            ("BATON_COLOR", self.color.as_str()),
            ("BATON_RELEASE", RELEASE_PLACEHOLDER),
            ("BATON_ROLE", self.role.as_str()),
        ] {
            environment[name] = value.into();
        }
    }
}

/// The restart policy that plain Compose would give: `deploy.restart_policy` over `restart`.
fn restart_policy(definition: &Map<String, Value>) -> String {
    let deploy = definition
        .get("deploy")
        .and_then(|deploy| deploy.get("restart_policy"));
    if let Some(policy) = deploy {
        let attempts = policy.get("max_attempts").and_then(scalar);
        return match (policy["condition"].as_str(), attempts) {
            (Some("none"), _) => "no".to_owned(),
            (Some("on-failure"), Some(attempts)) => format!("on-failure:{attempts}"),
            (Some("on-failure"), None) => "on-failure".to_owned(),
            _ => "unless-stopped".to_owned(),
        };
    }
    let restart = definition.get("restart").and_then(Value::as_str);
    restart
        .filter(|text| !text.is_empty())
        .unwrap_or("no")
        .to_owned()
}

/// Removes what a colored service does not have, and says so.
fn drop_keys(definition: &mut Map<String, Value>, path: &str, told: &mut Told) {
    const DROPPED: [(&str, &str); 4] = [
        (
            "container_name",
            "dropped, so that both colors can run at once; the live color answers to this name",
        ),
        ("ports", ""),
        ("develop", "dropped: it is for `docker compose watch`"),
        ("profiles", "dropped: the service was chosen already"),
    ];
    for (key, text) in DROPPED {
        let Some(value) = definition.remove(key) else {
            continue;
        };
        if key != "ports" {
            told.notice(format!("{path}.{key}"), text);
            continue;
        }
        for port in value.as_array().into_iter().flatten() {
            let published = port.get("published").and_then(scalar).unwrap_or_default();
            let target = port.get("target").and_then(scalar).unwrap_or_default();
            let host = match published.as_str() {
                "" => "a host port".to_owned(),
                published => format!("host port {published}"),
            };
            let text =
                format!("{host} for container port {target} dropped: traffic comes through Baton");
            told.notice(format!("{path}.ports"), text);
        }
    }
    if definition.contains_key("pre_stop") {
        told.notice(
            format!("{path}.pre_stop"),
            "does not run: Baton stops containers itself",
        );
    }
    if let Some(Value::Object(deploy)) = definition.get_mut("deploy") {
        deploy.remove("restart_policy");
    }
    definition.remove("build");
    definition.remove("scale");
    definition.retain(|key, _| !key.starts_with("x-"));
}

/// What a rollback does not bring back.
fn notice_mounts(definition: &Map<String, Value>, path: &str, told: &mut Told) {
    for mount in definition
        .get("volumes")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let mount = object(mount);
        let text = |key: &str| mount.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("type"), text("source")) {
            ("bind", source) => told.notice(
                format!("{path}.volumes"),
                format!("{source} is not part of a release: a rollback sees today's files"),
            ),
            ("volume", "") => told.notice(
                format!("{path}.volumes"),
                format!(
                    "the volume at {} has no name: each release starts with an empty one",
                    text("target")
                ),
            ),
            _ => {}
        }
    }
}
