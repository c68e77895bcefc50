//! Networks, volumes, secrets and configs: what a color shares with the user's project.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Coloring, PRIVATE_NETWORK, Told, object};
use crate::rendering::SharedResource;

type Shared = (Map<String, Value>, BTreeMap<String, SharedResource>);

impl Coloring<'_> {
    /// The networks that the colored services are on: the user's as external ones, and the private
    /// one of the color.
    pub(super) fn networks(&self, services: &Map<String, Value>) -> Shared {
        let used = services
            .values()
            .filter_map(|service| service.get("networks")?.as_object())
            .flat_map(|networks| networks.keys().cloned())
            .filter(|key| key != PRIVATE_NETWORK)
            .collect();
        let (mut entries, shared) = self.share("networks", &used);
        entries.extend(self.private_network());
        (entries, shared)
    }

    pub(super) fn volumes(&self, services: &Map<String, Value>) -> Shared {
        let used = services
            .values()
            .filter_map(|service| service.get("volumes")?.as_array())
            .flatten()
            .filter(|mount| mount["type"] == "volume")
            .filter_map(|mount| mount["source"].as_str())
            .map(str::to_owned)
            .collect();
        self.share("volumes", &used)
    }

    /// Makes entries of the user's model external, by the name that they have in the engine.
    fn share(&self, section: &str, used: &BTreeSet<String>) -> Shared {
        let mut entries = Map::new();
        let mut shared = BTreeMap::new();
        for key in used {
            let mut definition = object(&self.model[section][key]);
            let name = match definition.remove("name") {
                Some(Value::String(name)) => name,
                _ => format!("{}_{key}", self.app),
            };
            let external = definition.remove("external") == Some(Value::Bool(true));
            entries.insert(key.clone(), json!({ "name": name, "external": true }));
            shared.insert(
                name.replace("$$", "$"),
                SharedResource {
                    key: key.clone(),
                    project: (!external).then(|| self.app.to_string()),
                    definition: Value::Object(definition),
                },
            );
        }
        (entries, shared)
    }

    /// `secrets` or `configs` that the colored services use.
    pub(super) fn files(
        &self,
        section: &str,
        services: &Map<String, Value>,
        told: &mut Told,
    ) -> Map<String, Value> {
        let used: BTreeSet<&str> = services
            .values()
            .filter_map(|service| service.get(section)?.as_array())
            .flatten()
            .filter_map(|entry| entry["source"].as_str().or_else(|| entry.as_str()))
            .collect();
        let mut entries = Map::new();
        for key in used {
            let definition = object(&self.model[section][key]);
            if let Some(Value::String(file)) = definition.get("file") {
                told.notice(
                    format!("{section}.{key}.file"),
                    format!("{file} is not part of a release: a rollback sees today's content"),
                );
            }
            entries.insert(key.to_owned(), Value::Object(definition));
        }
        entries
    }

    /// Names of the environment variables that secrets and configs of `model` take their content
    /// from, each with its key path.
    pub(crate) fn variables(model: &Value) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for section in ["secrets", "configs"] {
            for (key, entry) in model[section].as_object().into_iter().flatten() {
                if let Some(name) = entry["environment"].as_str() {
                    variables.push((format!("{section}.{key}.environment"), name.to_owned()));
                }
            }
        }
        variables
    }
}
