//! What is in each color of an app, and what it is for now.

use baton_compose::Color;
use serde::{Deserialize, Serialize};

use crate::release::ReleaseId;

/// What a color is for now (the `role` of `baton status --json`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SlotRole {
    /// Serves the app's hosts.
    Live,
    /// Serves its preview hosts.
    Preview,
    /// Being brought up by a deploy.
    Candidate,
    /// Stood down after its drain, still running: a rollback to it boots nothing.
    Warm,
    /// Was live; finishes its requests, streams and messages.
    Draining,
    Empty,
}

impl SlotRole {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SlotRole::Live => "live",
            SlotRole::Preview => "preview",
            SlotRole::Candidate => "candidate",
            SlotRole::Warm => "warm",
            SlotRole::Draining => "draining",
            SlotRole::Empty => "empty",
        }
    }
}

/// Weight of a color in percent of new clients, 0–100.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(try_from = "u8", into = "u8")]
pub struct Weight(u8);

impl Weight {
    pub const NONE: Weight = Weight(0);
    pub const ALL: Weight = Weight(100);

    /// None over 100.
    #[must_use]
    pub fn new(percent: u8) -> Option<Weight> {
        (percent <= 100).then_some(Weight(percent))
    }

    /// What the other color has then.
    #[must_use]
    pub fn rest(self) -> Weight {
        Weight(100 - self.0)
    }

    #[must_use]
    pub fn percent(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Weight {
    type Error = String;

    fn try_from(percent: u8) -> Result<Weight, String> {
        Weight::new(percent).ok_or_else(|| format!("a weight is 0 to 100 percent, found {percent}"))
    }
}

impl From<Weight> for u8 {
    fn from(weight: Weight) -> u8 {
        weight.0
    }
}

/// One color of an app as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotState {
    pub color: Color,
    pub role: SlotRole,
    /// None only when empty.
    pub release: Option<ReleaseId>,
}
