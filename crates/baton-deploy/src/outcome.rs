//! How a command ended, and with which exit code (DESIGN.md §4).

use serde::{Deserialize, Serialize};

use crate::receipt::Receipt;
use crate::release::ReleaseId;

/// The result of a deploy, rollback or switch: the last line of `--json`.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Outcome {
    pub ok: bool,
    pub exit_code: ExitCode,
    pub app: String,
    pub deploy: Option<i64>,
    pub release: Option<ReleaseId>,
    pub live: Option<baton_compose::Color>,
    /// One sentence: what happened.
    pub message: String,
    /// For a failed start: what is known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Once the tail has ended (`--wait drained`), else what is known at the switch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Done = 0,
    Error = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The new release failed, the old one serves.
    ReleaseFailed = 3,
    /// The new release had served users and was taken back.
    TakenBack = 4,
    /// Another deploy holds the lock.
    Locked = 5,
    /// Preflight refused.
    Refused = 6,
}

impl schemars::JsonSchema for ExitCode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ExitCode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "0 done, 1 error, 2 usage, 3 the new release failed, 4 it was taken back, 5 another deploy holds the lock, 6 preflight refused",
            "type": "integer", "minimum": 0, "maximum": 6
        })
    }
}

impl Serialize for ExitCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(*self as u8)
    }
}

impl<'de> Deserialize<'de> for ExitCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExitCode, D::Error> {
        Ok(match u8::deserialize(deserializer)? {
            0 => ExitCode::Done,
            2 => ExitCode::Usage,
            3 => ExitCode::ReleaseFailed,
            4 => ExitCode::TakenBack,
            5 => ExitCode::Locked,
            6 => ExitCode::Refused,
            _ => ExitCode::Error,
        })
    }
}

/// Why a new release did not come up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// Which instance, e.g. `api 1 (green)`.
    pub instance: String,
    /// Probes of the health check, oldest first; equal ones in a row counted.
    pub probes: Vec<Probe>,
    /// How it ended, if it did: `exit code 3`, `killed because memory ran out`.
    pub exit: Option<String>,
    pub exit_code: Option<i32>,
    pub oom_killed: bool,
    /// The last 30 lines it wrote.
    pub log: Vec<String>,
}

/// One or several equal probes in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Probe {
    /// Milliseconds after the start of the instance: first and last of the row.
    pub first_ms: u64,
    pub last_ms: u64,
    pub times: u32,
    /// `503 Service Unavailable: "starting"`, `connection refused`, `302 to /login`.
    pub result: String,
}
