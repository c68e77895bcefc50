//! The proof printed and stored at the end of a deploy.

use baton_compose::Color;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use crate::figures::SideFigures;
use crate::plan::{DeployKind, StepName, Strategy};
use crate::release::ReleaseId;
use crate::router::StreamFigures;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Receipt {
    pub deploy: i64,
    pub app: String,
    pub kind: DeployKind,
    #[serde(default)]
    pub strategy: Strategy,
    pub release: ReleaseId,
    pub previous: Option<ReleaseId>,
    pub color: Color,
    /// `live`, `failed`, `cancelled`, `taken back`.
    pub outcome: String,
    /// Why it did not stay, with its numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub ended_at: OffsetDateTime,
    pub by: Option<String>,
    /// Requests went through Baton. Else `requests`, `failed`, `held` and `longest_gap_ms` say nothing:
    /// the nginx that carried them knows.
    #[serde(default = "counted", skip_serializing_if = "Clone::clone")]
    pub counted: bool,
    /// Figures between the deploy's start and the end of its tail.
    pub requests: u64,
    pub failed: u64,
    pub held: u64,
    /// Longest time that a request was held in milliseconds.
    pub longest_gap_ms: u64,
    /// In flight on the old color at the switch, and answered by it.
    pub in_flight_at_switch: u64,
    /// Cut because its time was over: `drain.connections` for requests, `drain.websockets` and some
    /// seconds for streams and WebSockets.
    pub cut: u64,
    /// What became of event streams, WebSockets and sessions, by the color that they were on; only
    /// colors of which there is something to say.
    #[serde(default)]
    pub streams: Vec<(Color, StreamFigures)>,
    #[serde(default)]
    pub messages: MessageFigures,
    /// Time from the first to the last step, and each step's own, in milliseconds.
    pub duration_ms: u64,
    pub steps: Vec<StepTime>,
    /// What *watch* has compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<Watched>,
    /// What memory the two colors used at most, in bytes.
    pub memory: Vec<(Color, u64)>,
}

/// The new release against the time before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Watched {
    /// How long it was watched.
    pub seconds: u64,
    pub before: SideFigures,
    pub after: SideFigures,
}

/// Messages of Redis Streams that the old color had when the deploy switched (Streams.md §3).
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct MessageFigures {
    /// Went to the new color, because the old one did not handle them.
    pub moved: u64,
    /// Of those, the ones that the old color had been given: the new one may handle them again.
    pub moved_pending: u64,
    /// Acknowledged by Baton, because their entries were trimmed or deleted while pending.
    pub trimmed: u64,
    /// Pending since before the deploy, and left alone.
    pub before: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StepTime {
    pub step: StepName,
    pub ms: u64,
}

fn counted() -> bool {
    true
}
