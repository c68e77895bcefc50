//! One color in one role, ready for an engine to start. Stored with the release, so that a rollback,
//! a restart of the daemon and a reboot need no file of the user's.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Stands for the release's number (`r7`) in a rendering: the number is given by the daemon after the
/// command line has rendered. Lower case with dashes so that it is valid wherever `r7` would be.
pub const RELEASE_PLACEHOLDER: &str = "baton-release-number";

/// What an engine is handed to start one color.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "engine")]
pub enum Rendering {
    Docker(ComposeModel),
    Process(ProcessModel),
}

/// A Compose model of one color, for `docker compose -p PROJECT -f - up -d`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComposeModel {
    /// `shop-blue`.
    pub project: String,
    /// The colored model. Images stand as `sha256:<ID>` once fetched.
    pub model: serde_json::Value,
    pub services: Vec<ColoredService>,
    /// Networks and volumes of the user's project that must exist first: Engine API name → the
    /// definition from the user's model with the labels that Compose expects (Engines.md §1).
    pub networks: BTreeMap<String, SharedResource>,
    pub volumes: BTreeMap<String, SharedResource>,
    /// `shop_live`: the network on which the plain services find the live color by its plain name.
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
    /// `driver`, `driver_opts`, `internal`, `ipam`, `labels`, … as the file says.
    pub definition: serde_json::Value,
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
}

/// The process engine's model: one entry per service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessModel {
    pub services: Vec<ProcessService>,
}

/// One `command:` to run as a child process group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
