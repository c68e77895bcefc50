//! One container or process of a release.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::engine::{Address, Slot};

/// Container id, or `SLOT/SERVICE/REPLICA/START` for a process: unique over all starts of an engine's
/// life for processes, over the container's life for docker (a restarted container keeps its id).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId(pub String);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A container id is 64 digits; twelve are what Docker itself prints.
        if self.0.len() == 64 {
            f.write_str(&self.0[..12])
        } else {
            f.write_str(&self.0)
        }
    }
}

/// One container or process of a release, as it was seen last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    pub id: InstanceId,
    /// None for one that plain Compose started.
    pub slot: Option<Slot>,
    /// The user's service name: `api`.
    pub service: String,
    /// 1-based.
    pub replica: u32,
    pub release: Option<u64>,
    pub state: InstanceState,
    /// None while it does not run (Engines.md §2: an exited container still shows its last address)
    /// and for workers.
    pub address: Option<Address>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// How often it was started again.
    pub restarts: u32,
    /// Image id or command, for messages.
    pub image: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum InstanceState {
    /// Made, not yet running.
    Created,
    Running,
    Exited(Exit),
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code, 128 + signal; None where nobody could read it.
    pub code: Option<i32>,
    pub oom_killed: bool,
    /// What the engine said, e.g. `exec: "nope": executable file not found in $PATH`.
    pub error: Option<String>,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oom_killed, self.code) {
            (true, _) => f.write_str("killed because memory ran out")?,
            (false, Some(code)) if code > 128 => {
                write!(f, "ended by signal {} (exit code {code})", code - 128)?
            }
            (false, Some(code)) => write!(f, "exit code {code}")?,
            (false, None) => f.write_str("ended, exit code unknown")?,
        }
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

/// What an instance uses now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Bytes, without page cache that can be dropped.
    pub memory_bytes: u64,
    /// The most it used since its start, where the kernel tells.
    pub memory_peak_bytes: Option<u64>,
    /// Limit of its own, if it has one.
    pub memory_limit_bytes: Option<u64>,
    /// CPU time since its start.
    pub cpu: Duration,
}

/// One line an instance wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    pub service: String,
    pub replica: u32,
    pub stderr: bool,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub at: Option<OffsetDateTime>,
    /// Without its line end; invalid UTF-8 replaced.
    pub text: String,
}
