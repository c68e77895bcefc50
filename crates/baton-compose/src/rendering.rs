//! One color in one role, ready for an engine to start. Stored with the release, so that a rollback,
//! a restart of the daemon and a reboot need no file of the user's.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::project::FetchedImages;
use crate::xbaton::scalar;

/// Stands for the release's number (`r7`) in a rendering: the number is given by the daemon after the
/// command line has rendered. Lower case with dashes so that it is valid wherever `r7` would be.
pub const RELEASE_PLACEHOLDER: &str = "baton-release-number";

/// What an engine is handed to start one color.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "engine")]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful per release; never in a collection of many"
)]
pub enum Rendering {
    Docker(ComposeModel),
    Process(ProcessModel),
}

/// A Compose model of one color, for `docker compose -p PROJECT -f - up -d`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ComposeModel {
    /// `shop-blue`.
    pub project: String,
    /// The colored model. Images stand as `sha256:<ID>` once fetched.
    pub model: Value,
    pub services: Vec<ColoredService>,
    /// Networks and volumes of the user's project that must exist first: Engine API name → the
    /// definition from the user's model with the labels that Compose expects (Engines.md §1).
    pub networks: BTreeMap<String, SharedResource>,
    pub volumes: BTreeMap<String, SharedResource>,
    /// `shop_live`: the network on which the plain services find the live color by its plain name.
    /// It is to be made `internal`: joining another network moves the default route of a running
    /// container when its name sorts before the container's own (`shop_live` < `shop_shop`), and
    /// that cuts connections to the outside (seen on Engine 20.10).
    pub live_network: String,
    /// Environment for `up`: values of secrets and configs with `environment: X`.
    pub environment: BTreeMap<String, String>,
    /// Working folder for relative paths that Compose left relative.
    pub directory: PathBuf,
}

/// A network or volume of the user's project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharedResource {
    /// The key in the user's file (`shop`), for the label `com.docker.compose.network`/`.volume`.
    pub key: String,
    /// Compose project for the label; None for an `external` one, which is made without labels.
    pub project: Option<String>,
    /// `driver`, `driver_opts`, `internal`, `ipam`, `labels`, … as `docker compose config` prints
    /// them: `$` stands as `$$`.
    pub definition: Value,
}

/// How one user's service stands in the colored model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColoredService {
    /// The user's name: `api`.
    pub name: String,
    /// The name in the colored model: `api-blue`.
    pub colored_name: String,
    /// Port that the app listens on; None for a worker.
    pub port: Option<u16>,
    /// Container replicas.
    pub replicas: u32,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Duration,
    /// The `restart:` of the file, which only the live color gets.
    pub restart: String,
    /// Names by which other services find the live color on [`ComposeModel::live_network`]: the
    /// user's service name first, then the aliases and the `hostname` that the file gave it. Empty in
    /// a preview, which answers to none of them.
    #[serde(default)]
    pub live_aliases: Vec<String>,
}

/// The process engine's model: one entry per service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessModel {
    pub services: Vec<ProcessService>,
}

/// One `command:` to run as a child process group.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessService {
    pub name: String,
    /// Argument vector; never a shell.
    pub command: Vec<String>,
    /// The whole environment, `BATON_*` included; `PORT` is added by the engine.
    pub environment: BTreeMap<String, String>,
    pub working_dir: PathBuf,
    pub user: Option<String>,
    pub replicas: u32,
    /// Takes traffic: gets a `PORT`.
    pub listens: bool,
    /// A port the user fixed in `x-baton.port`; None: the engine picks a free one per instance.
    pub port: Option<u16>,
    pub stop_signal: Option<String>,
    pub stop_grace_period: Duration,
}

/// What a masked value is shown as.
const MASK: &str = "***";

impl Rendering {
    /// The rendering with its release's number wherever the file asked for `${BATON_RELEASE}`:
    /// `r7` for 7.
    #[must_use]
    pub fn with_release(&self, release: u64) -> Rendering {
        let number = format!("r{release}");
        let mut rendering = self.clone();
        let fill = |text: &mut String| {
            if text.contains(RELEASE_PLACEHOLDER) {
                *text = text.replace(RELEASE_PLACEHOLDER, &number);
            }
        };
        match &mut rendering {
            Rendering::Docker(compose) => {
                each_string(&mut compose.model, &fill);
                compose.environment.values_mut().for_each(fill);
            }
            Rendering::Process(process) => {
                for service in &mut process.services {
                    service.command.iter_mut().for_each(fill);
                    service.environment.values_mut().for_each(fill);
                }
            }
        }
        rendering
    }

    /// The environment that the files give a service's instances; what its image adds is not in it.
    /// `$PORT` is the process engine's. Empty for a service that is not here.
    #[must_use]
    pub fn environment(&self, service: &str) -> BTreeMap<String, String> {
        match self {
            Rendering::Docker(compose) => compose.environment_of(service),
            Rendering::Process(process) => process
                .services
                .iter()
                .find(|known| known.name == service)
                .map(|known| known.environment.clone())
                .unwrap_or_default(),
        }
    }

    /// The rendering for a person to look at: values of environment variables, secrets and inline
    /// configs are masked, `BATON_*` ones excepted.
    #[must_use]
    pub fn masked(&self) -> Rendering {
        let mut rendering = self.clone();
        match &mut rendering {
            Rendering::Docker(compose) => {
                mask(&mut compose.environment);
                mask_model(&mut compose.model);
            }
            Rendering::Process(process) => {
                for service in &mut process.services {
                    mask(&mut service.environment);
                }
            }
        }
        rendering
    }
}

impl ComposeModel {
    fn environment_of(&self, service: &str) -> BTreeMap<String, String> {
        let colored = self.services.iter().find(|known| known.name == service);
        let environment = colored
            .and_then(|known| self.model.get("services")?.get(&known.colored_name))
            .and_then(|definition| definition.get("environment")?.as_object());
        environment
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                // Compose reads `$$` in a model as `$`.
                let text = scalar(value)?.replace("$$", "$");
                Some((name.clone(), text))
            })
            .collect()
    }

    /// The model with the images that the command line fetched: each service runs its image by ID.
    /// A service that is not in `images` keeps what the file named.
    #[must_use]
    pub fn with_images(&self, images: &FetchedImages) -> ComposeModel {
        let mut compose = self.clone();
        for service in &self.services {
            let Some(image) = images.get(&service.name) else {
                continue;
            };
            if let Some(definition) = compose
                .model
                .get_mut("services")
                .and_then(|services| services.get_mut(&service.colored_name))
            {
                definition["image"] = Value::from(image.id.clone());
            }
        }
        compose
    }
}

fn each_string(value: &mut Value, edit: &impl Fn(&mut String)) {
    match value {
        Value::String(text) => edit(text),
        Value::Array(items) => items.iter_mut().for_each(|item| each_string(item, edit)),
        Value::Object(map) => map.values_mut().for_each(|item| each_string(item, edit)),
        _ => {}
    }
}

fn mask(environment: &mut BTreeMap<String, String>) {
    for (name, value) in environment {
        if !name.starts_with("BATON_") {
            *value = MASK.to_owned();
        }
    }
}

fn mask_model(model: &mut Value) {
    let each = |section: Option<&mut Value>, edit: fn(&mut Value)| {
        if let Some(Value::Object(entries)) = section {
            entries.values_mut().for_each(edit);
        }
    };
    each(model.get_mut("services"), |service| {
        let Some(Value::Object(environment)) = service.get_mut("environment") else {
            return;
        };
        for (name, value) in environment {
            if !name.starts_with("BATON_") && !value.is_null() {
                *value = Value::from(MASK);
            }
        }
    });
    for section in ["configs", "secrets"] {
        each(model.get_mut(section), |entry| {
            if let Some(content) = entry.get_mut("content") {
                *content = Value::from(MASK);
            }
        });
    }
}

/// Names only: a model holds secrets, and `{:?}` ends up in logs.
impl fmt::Debug for ComposeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComposeModel")
            .field("project", &self.project)
            .field("services", &self.services)
            .field("networks", &self.networks.keys())
            .field("volumes", &self.volumes.keys())
            .field("environment", &self.environment.keys())
            .finish_non_exhaustive()
    }
}

/// Environment by name only: its values are secrets.
impl fmt::Debug for ProcessService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessService")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("environment", &self.environment.keys())
            .field("working_dir", &self.working_dir)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}
