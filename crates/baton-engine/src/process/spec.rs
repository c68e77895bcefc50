//! What is written down about a process: by the engine before it starts (`Spec`), by the shim once it
//! runs (`Running`) and once it has ended (`Ended`).

use baton_compose::Role;
use baton_compose::rendering::ProcessService;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::shield::Birth;
use crate::engine::{Address, Slot};
use crate::{Exit, Instance, InstanceId, InstanceState};

/// One life of one replica: what to run. Holds secrets (the environment), so it has no `Debug`, is
/// only ever written to a 0600 file, and reaches the shim as that file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) slot: Slot,
    pub(super) release: u64,
    pub(super) role: Role,
    /// 1-based.
    pub(super) replica: u32,
    /// Unique over all starts of this engine's life, and rising.
    pub(super) start: u64,
    pub(super) restarts: u32,
    /// Value of `PORT`; None for workers.
    pub(super) port: Option<u16>,
    #[serde(default)]
    pub(super) birth: Birth,
    pub(super) service: ProcessService,
}

impl Spec {
    pub(super) fn id(&self) -> InstanceId {
        InstanceId(format!(
            "{}/{}/{}/{}",
            self.slot, self.service.name, self.replica, self.start
        ))
    }

    /// How the instance is shown in messages: `shop-blue/api#1`.
    pub(super) fn title(&self) -> String {
        format!("{}/{}#{}", self.slot, self.service.name, self.replica)
    }

    /// Would starting `other` give the very same process?
    pub(super) fn runs_the_same_as(&self, other: &Spec) -> bool {
        self.release == other.release && self.role == other.role && self.service == other.service
    }

    pub(super) fn instance(
        &self,
        state: InstanceState,
        started_at: Option<OffsetDateTime>,
    ) -> Instance {
        let runs = state == InstanceState::Running;
        Instance {
            id: self.id(),
            slot: Some(self.slot.clone()),
            service: self.service.name.clone(),
            replica: self.replica,
            release: Some(self.release),
            state,
            address: self.port.filter(|_| runs).map(|port| Address {
                ip: std::net::Ipv4Addr::LOCALHOST.into(),
                port,
                published: false,
            }),
            started_at,
            restarts: self.restarts,
            image: self.service.command.join(" "),
        }
    }
}

/// A process told apart from any later one with the same number: by its start time, in clock ticks
/// since boot (`/proc/PID/stat`, field 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessRef {
    pub(super) pid: i32,
    pub(super) start_time: u64,
}

/// Written by the shim when the command runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) shim: ProcessRef,
    /// Leads a process group of its own.
    pub(super) child: ProcessRef,
    /// `/proc/sys/kernel/random/boot_id`: start times of another boot mean nothing.
    pub(super) boot: String,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) started_at: OffsetDateTime,
    /// `oom_kill` of `/proc/vmstat` when it started.
    pub(super) oom_kills: u64,
    /// `oom_score_adj` that it has without a shield.
    #[serde(default)]
    pub(super) oom_score_adj: i32,
}

/// Written by the shim when the command has ended, or could not be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Exit code, or 128 + signal.
    pub(super) code: i32,
    pub(super) error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) ended_at: OffsetDateTime,
    pub(super) oom_kills: u64,
    /// Settled by the engine once it saw the end: Engines.md §2's rule for telling an OOM kill.
    #[serde(default)]
    pub(super) oom_killed: bool,
}

impl Ended {
    pub(super) fn exit(&self) -> Exit {
        Exit {
            code: Some(self.code),
            oom_killed: self.oom_killed,
            error: self.error.clone(),
        }
    }
}
