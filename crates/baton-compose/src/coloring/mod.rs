//! The docker model of one color, made from what `docker compose config` says of the user's files
//! (DESIGN.md §3.1, Engines.md §1). Every key that is changed or dropped becomes a [`Notice`].

mod refuse;
mod service;
mod shared;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

pub(crate) use refuse::refuse;

use crate::color::{AppName, Color, Role};
use crate::error::Collector;
use crate::policy::Policy;
use crate::project::{Image, Notice};
use crate::rendering::ComposeModel;

/// The user's app in one color and role.
#[derive(Debug)]
pub(crate) struct Coloring<'a> {
    pub(crate) app: &'a AppName,
    pub(crate) color: Color,
    pub(crate) role: Role,
    /// What `docker compose config` printed.
    pub(crate) model: &'a Value,
    /// The services to color.
    pub(crate) policies: &'a BTreeMap<String, Policy>,
    pub(crate) images: &'a BTreeMap<String, Image>,
    pub(crate) directory: &'a Path,
}

/// What was told on the way.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) notices: Vec<Notice>,
    pub(crate) problems: Collector,
}

impl Told {
    pub(crate) fn notice(&mut self, key: impl Into<String>, text: impl Into<String>) {
        let notice = Notice {
            key: key.into(),
            text: text.into(),
        };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

impl Coloring<'_> {
    /// `api-blue`
    fn colored_name(&self, service: &str) -> String {
        format!("{service}-{}", self.color)
    }

    /// `services` of the user's model.
    fn user_service(&self, name: &str) -> Map<String, Value> {
        object(&self.model["services"][name])
    }

    /// Is this a service with `x-baton` that a preview does not start?
    fn left_out(&self, service: &str) -> bool {
        self.role == Role::Preview
            && !self.policies.contains_key(service)
            && self.model["services"][service].get("x-baton").is_some()
    }

    /// Makes the colored model. `environment` for secrets is the caller's to fill in.
    pub(crate) fn color(&self, told: &mut Told) -> ComposeModel {
        let project = self.app.color_project(self.color);
        let mut services = Map::new();
        let mut colored = Vec::new();
        for (name, policy) in self.policies {
            let (definition, service) = self.service(name, policy, told);
            services.insert(service.colored_name.clone(), Value::Object(definition));
            colored.push(service);
        }
        let (networks, shared_networks) = self.networks(&services);
        let (volumes, shared_volumes) = self.volumes(&services);
        let mut model = Map::new();
        model.insert("name".to_owned(), Value::from(project.clone()));
        for (section, entries) in [
            ("networks", networks),
            ("volumes", volumes),
            ("secrets", self.files("secrets", &services, told)),
            ("configs", self.files("configs", &services, told)),
        ] {
            if !entries.is_empty() {
                model.insert(section.to_owned(), Value::Object(entries));
            }
        }
        model.insert("services".to_owned(), Value::Object(services));
        ComposeModel {
            project,
            model: Value::Object(model),
            services: colored,
            networks: shared_networks,
            volumes: shared_volumes,
            live_network: format!("{}_live", self.app),
            environment: BTreeMap::new(),
            directory: self.directory.to_owned(),
        }
    }

    /// Several services of one color find each other by their plain names on a network of their own.
    /// Docker asks a container's networks for a name in the order of their names (seen on Engine
    /// 20.10): `shop-blue_color` comes before `shop_live`, where the other color may answer, and
    /// before `shop_default`, where an adopted `r0` does. An internal one would be asked last.
    fn private_network(&self) -> Option<(String, Value)> {
        (self.policies.len() > 1).then(|| {
            let name = format!("{}_color", self.app.color_project(self.color));
            (PRIVATE_NETWORK.to_owned(), json!({ "name": name }))
        })
    }
}

/// Key of [`Coloring::private_network`] in the colored model.
const PRIVATE_NETWORK: &str = "baton-color";

/// A mapping, or an empty one.
fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Text that Baton adds to a model: `$` would be interpolated by Compose.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// Text that Baton reads from a model for itself.
pub(crate) fn unescaped(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("$$", "$")),
        Value::Array(items) => items.iter().map(unescaped).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, item)| (key.clone(), unescaped(item)))
            .collect(),
        other => other.clone(),
    }
}
