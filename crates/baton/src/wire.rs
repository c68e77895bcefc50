//! What crosses the control socket, beside the types of `baton-deploy`.

use std::net::SocketAddr;
use std::path::PathBuf;

use baton_compose::project::{FetchedImage, FetchedImages};
use baton_compose::{Color, EngineKind};
use baton_deploy::receipt::Receipt;
use baton_deploy::release::{Release, ReleaseId};
use baton_deploy::slots::SlotRole;
use baton_deploy::token::{Scope, TokenInfo};
use baton_deploy::traffic::Traffic;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// `GET /v1/daemon`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonInfo {
    pub version: String,
    pub pid: u32,
    /// Addresses of the plain listeners, with the ports they got.
    pub http: Vec<SocketAddr>,
    /// The same of the TLS listeners.
    pub https: Vec<SocketAddr>,
    /// The same of the status page and the API.
    #[serde(default)]
    pub dashboard: Vec<SocketAddr>,
    /// The last upgrade that this process has begun and that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade_failed: Option<UpgradeFailed>,
}

/// `POST /v1/upgrade`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeRequest {
    pub binary: PathBuf,
    /// How long the old process may take to finish what it has.
    pub drain_ms: u64,
}

/// Its answer: the new process is ready, and takes over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeAccepted {
    pub pid: u32,
    pub version: String,
    pub old_pid: u32,
    pub old_version: String,
}

/// It did not, after all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeFailed {
    /// Of the process that has failed.
    pub pid: u32,
    pub message: String,
}

/// Response field with the id of an accepted deploy, so that a command can re-attach to it even
/// when the connection breaks before the first line.
pub const DEPLOY_HEADER: &str = "baton-deploy";

/// Body of every answer that is not 2xx.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

/// What went wrong, and the exit code that the command passes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    pub message: String,
    pub exit_code: u8,
}

/// `PUT /v1/deploys/{id}/images`: how the command line's fetch ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FetchReport {
    Images(FetchedImages),
    /// Why pulling or building failed.
    Error(String),
}

/// One line of `baton releases`. A release itself is not sent: it holds the app's environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseSummary {
    pub release: ReleaseId,
    pub image: String,
    /// Image IDs by service.
    pub images: FetchedImages,
    pub engine: EngineKind,
    /// Where it is now; None when it does not run.
    pub color: Option<Color>,
    pub role: Option<SlotRole>,
    #[serde(with = "time::serde::rfc3339")]
    #[schemars(with = "String")]
    pub created_at: OffsetDateTime,
}

impl ReleaseSummary {
    /// The part of a release that may be shown.
    #[must_use]
    pub fn new(release: &Release, place: Option<(Color, SlotRole)>) -> ReleaseSummary {
        ReleaseSummary {
            release: release.id,
            image: release.image(),
            images: release.images.clone(),
            engine: release.engine(),
            color: place.map(|(color, _)| color),
            role: place.map(|(_, role)| role),
            created_at: release.created_at,
        }
    }
}

/// `GET /v1/apps/{app}/releases`, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Releases {
    pub releases: Vec<ReleaseSummary>,
}

/// `GET /v1/apps/{app}/receipts`, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Receipts {
    pub receipts: Vec<Receipt>,
}

/// `GET /v1/app`: which app a command without `--app` means.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OneApp {
    pub app: String,
}

/// Query of `/v1/app`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct OneAppQuery {
    pub name: Option<String>,
}

/// Query of `/v1/apps/{app}/receipts`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptsQuery {
    pub limit: usize,
}

/// Query of `/v1/events`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EventsQuery {
    pub app: Option<String>,
    pub tail: usize,
    pub follow: bool,
}

/// Query of `/v1/apps/{app}/logs`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LogsQuery {
    pub color: Option<Color>,
    pub tail: usize,
    pub follow: bool,
}

/// `GET /v1/apps/{app}/observe`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ObserveQuery {
    pub path: String,
}

/// Answer of `pause`, `resume` and `remove`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    pub message: String,
}

/// `GET /v1/me`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Me {
    pub name: String,
    pub scope: Scope,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub expires_at: Option<OffsetDateTime>,
}

/// `GET /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    pub tokens: Vec<TokenInfo>,
}

/// `POST /v1/tokens`. The only place that ever holds a token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    pub token: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// Query of `/v1/live` and `/v1/traffic`: samples after this, in milliseconds since 1970.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AfterQuery {
    #[serde(default)]
    pub after_ms: Option<i64>,
}

/// `GET /v1/traffic`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Traffics {
    pub traffic: Vec<Traffic>,
}

/// `POST /v1/images/load`: names of the images, or IDs of those without a name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Loaded {
    pub images: Vec<String>,
}

/// One line of `POST /v1/images/fetch`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum FetchLine {
    /// About the pull.
    Note { text: String },
    /// The last line when all went well.
    Image(FetchedImage),
    /// The last line otherwise.
    Failed { message: String },
}
