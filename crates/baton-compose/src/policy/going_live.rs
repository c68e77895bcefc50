//! How a release goes live: the plan, and what is run or told on the way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Three plans over the same steps.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All instances of the new release start in the other color, then traffic switches once.
    #[default]
    BlueGreen,
    /// Instance by instance; never fewer than `deploy.replicas` serve.
    Rolling,
    /// A share of the clients first, more of them as long as nothing is worse.
    Canary,
}

impl Strategy {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::BlueGreen => "blue-green",
            Strategy::Rolling => "rolling",
            Strategy::Canary => "canary",
        }
    }
}

/// `canary` (DESIGN.md §7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Percent of the clients, rising, 1–100. What is 100 is the switch.
    pub steps: Vec<u8>,
    /// How long each step takes at least.
    pub hold: Duration,
    /// Requests that the canary must have had in a step before the next one.
    pub min_requests: u64,
    pub gate: Gate,
    /// `X-Baton-Canary: always|never` decides for a client that sends it.
    pub header: bool,
}

impl Default for Canary {
    fn default() -> Canary {
        Canary {
            steps: vec![5, 25, 50, 100],
            hold: Duration::from_secs(120),
            min_requests: 300,
            gate: Gate::Auto,
            header: true,
        }
    }
}

/// What passes a step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    /// Time and `min_requests`, as long as the verdict is not against it.
    #[default]
    Auto,
    /// A person: `baton canary resume`.
    Manual,
}

/// May two copies of the app run at once?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// They must: refused when memory is short.
    #[default]
    Required,
    /// Stop-first with held requests when memory is short.
    Preferred,
    /// Always stop-first.
    Never,
}

impl Overlap {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Overlap::Required => "required",
            Overlap::Preferred => "preferred",
            Overlap::Never => "never",
        }
    }
}

/// `migrate`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    /// Argument vector; never a shell.
    pub command: Vec<String>,
    pub timeout: Duration,
}

impl Migrate {
    pub const TIMEOUT: Duration = Duration::from_secs(300);
}

/// `activate`: a POST of `{"active":true|false}` to `path` of each instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    pub path: String,
    /// How long the answer to `false` may take: it says that no job runs any more.
    pub wait: Duration,
}

impl Activate {
    pub const WAIT: Duration = Duration::from_secs(60);
}

/// Commands that run on the machine of the daemon, in the folder of the compose file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct Hooks {
    /// One that fails stops the deploy.
    pub before_start: Vec<HookCommand>,
    pub before_switch: Vec<HookCommand>,
    /// One that fails is a warning.
    pub after_switch: Vec<HookCommand>,
    pub after_deploy: Vec<HookCommand>,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookCommand {
    /// A line for `sh -c`.
    Shell(String),
    /// Argument vector.
    Exec(Vec<String>),
}
