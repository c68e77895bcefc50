//! `notify`: who is told what a deploy comes to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One entry of `notify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub to: Destination,
    #[serde(default)]
    pub language: Language,
    /// What is told; empty: all of it.
    #[serde(default)]
    pub events: Vec<NewsKind>,
}

/// Where it is told. The address is a secret: whoever knows it can write there. Empty where the file's
/// variable was not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Destination {
    /// An incoming webhook of Slack, or of what speaks its format.
    Slack {
        url: Secret,
    },
    Discord {
        url: Secret,
    },
    /// Baton's own JSON, signed where a secret is given.
    Webhook {
        url: Secret,
        secret: Option<Secret>,
    },
}

impl Destination {
    /// `slack`, `discord`, `webhook`
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Destination::Slack { .. } => "slack",
            Destination::Discord { .. } => "discord",
            Destination::Webhook { .. } => "webhook",
        }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Destination::Slack { url }
            | Destination::Discord { url }
            | Destination::Webhook { url, .. } => &url.0,
        }
    }
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    #[default]
    En,
    Ko,
}

/// What the team may be told of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewsKind {
    Started,
    /// The new release has the traffic.
    Switched,
    /// It did not come up; the old release serves as before.
    Failed,
    /// Someone went back to an earlier release.
    RolledBack,
    /// It had served users, and was taken back.
    TakenBack,
    /// The old color has ended: the receipt's figures.
    Done,
}

impl NewsKind {
    pub const ALL: [NewsKind; 6] = [
        NewsKind::Started,
        NewsKind::Switched,
        NewsKind::Failed,
        NewsKind::RolledBack,
        NewsKind::TakenBack,
        NewsKind::Done,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            NewsKind::Started => "started",
            NewsKind::Switched => "switched",
            NewsKind::Failed => "failed",
            NewsKind::RolledBack => "rolled_back",
            NewsKind::TakenBack => "taken_back",
            NewsKind::Done => "done",
        }
    }
}

impl Notify {
    #[must_use]
    pub fn wants(&self, kind: NewsKind) -> bool {
        self.events.is_empty() || self.events.contains(&kind)
    }
}
