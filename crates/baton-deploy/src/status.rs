//! `baton status --json`, word for word (DESIGN.md §4). New fields may be added, none renamed.

use serde::{Deserialize, Serialize};

use crate::certificates::CertificateStatus;
use crate::plan::{StepName, Strategy};
use crate::release::ReleaseId;
use crate::router::StreamFigures;
use crate::slots::{SlotRole, Weight};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    pub apps: Vec<AppStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AppStatus {
    pub name: String,
    pub strategy: Strategy,
    pub live: Option<baton_compose::Color>,
    /// Null once the command's part has ended.
    pub deploy: Option<RunningDeploy>,
    pub colors: Colors,
    pub hosts: Vec<String>,
    /// Of `tls: auto`, where the daemon gets them.
    #[serde(default)]
    pub certificates: Vec<CertificateStatus>,
    pub paused: bool,
    /// Every request is answered with a page.
    #[serde(default)]
    pub maintenance: bool,
    /// What a person should know: an instance that restarts, a plain container that came back.
    pub warnings: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RunningDeploy {
    pub id: i64,
    pub step: StepName,
    /// 0–100, by steps done.
    pub percent: u8,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Colors {
    pub blue: ColorStatus,
    pub green: ColorStatus,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ColorStatus {
    pub release: Option<ReleaseId>,
    pub image: Option<String>,
    pub role: SlotRole,
    pub weight: Weight,
    /// What became of its event streams, WebSockets and sessions, since its instances run.
    #[serde(default)]
    pub streams: StreamFigures,
    pub instances: Vec<InstanceStatus>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InstanceStatus {
    pub id: String,
    pub service: String,
    pub address: Option<String>,
    pub healthy: bool,
    pub requests_in_flight: u64,
    pub sse: u64,
    pub websockets: u64,
    /// Sessions of `x-baton.sessions` that are in use there.
    #[serde(default)]
    pub sessions: u64,
    pub memory_bytes: u64,
    pub restarts: u32,
}
