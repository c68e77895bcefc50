//! The control API: JSON over HTTP/1.1 on the Unix socket.
//!
//! | module | routes |
//! | --- | --- |
//! | [`deploys`] | `POST /v1/deploys`, `PUT /v1/deploys/{id}/images`, `GET /v1/deploys/{id}/progress` |
//! | [`apps`] | `POST /v1/apps/{app}/rollback`, `switch`, `canary`, `cancel`, `pause`, `resume`, `maintenance`; `DELETE /v1/apps/{app}` |
//! | [`look`] | `GET /v1/daemon`, `/v1/status`, `/v1/app`, `/v1/apps/{app}/releases`, `receipts`, `logs`, `observe`, `/v1/events`; `POST /v1/check` |
//! | [`upgrade`] | `POST /v1/upgrade` |
//! | [`peer`] | who calls: `SO_PEERCRED` |
//! | [`stream`] | JSON lines that outlive a client that goes away |
//!
//! Errors are `{"error":{"message","exit_code"}}`; the command passes the exit code on.

mod apps;
mod deploys;
mod look;
pub mod peer;
mod stream;
mod upgrade;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use baton_compose::AppName;
use baton_deploy::outcome::ExitCode;
use baton_deploy::{ControlPlane, DeployError};
use http::StatusCode;
use serde::de::DeserializeOwned;

use crate::daemon::upgrades::Upgrades;
use crate::wire::{DaemonInfo, ErrorBody, ErrorDetail};

/// Largest request in bytes: a rendered project with its environment, four times over.
const LARGEST_REQUEST: usize = 64 * 1024 * 1024;

/// What every route works on.
#[derive(Debug, Clone)]
pub struct Api {
    control: Arc<ControlPlane>,
    daemon: Arc<DaemonInfo>,
    upgrades: Upgrades,
    /// Deploys whose command line has reported the end of its fetch.
    fetched: Arc<Mutex<BTreeSet<i64>>>,
}

impl Api {
    /// The API of one control plane.
    #[must_use]
    pub fn new(control: Arc<ControlPlane>, daemon: DaemonInfo, upgrades: Upgrades) -> Api {
        Api {
            control,
            daemon: Arc::new(daemon),
            upgrades,
            fetched: Arc::default(),
        }
    }

    /// The routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/deploys", post(deploys::deploy))
            .route("/v1/deploys/{id}/images", put(deploys::images))
            .route("/v1/deploys/{id}/progress", get(deploys::progress))
            .route("/v1/apps/{app}/rollback", post(apps::rollback))
            .route("/v1/apps/{app}/switch", post(apps::switch))
            .route("/v1/apps/{app}/canary", post(apps::canary))
            .route("/v1/apps/{app}/cancel", post(apps::cancel))
            .route("/v1/apps/{app}/pause", post(apps::pause))
            .route("/v1/apps/{app}/resume", post(apps::resume))
            .route("/v1/apps/{app}/maintenance", post(apps::maintenance))
            .route("/v1/apps/{app}", delete(apps::remove))
            .route("/v1/apps/{app}/releases", get(look::releases))
            .route("/v1/apps/{app}/receipts", get(look::receipts))
            .route("/v1/apps/{app}/logs", get(look::logs))
            .route("/v1/apps/{app}/observe", get(look::observe))
            .route("/v1/daemon", get(look::daemon))
            .route("/v1/app", get(look::app))
            .route("/v1/status", get(look::status))
            .route("/v1/events", get(look::events))
            .route("/v1/check", post(look::check))
            .route("/v1/upgrade", post(upgrade::upgrade))
            .fallback(no_such_route)
            .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
            .with_state(self)
    }

    /// Notes that the fetch of a deploy was reported; false when it had been before.
    fn mark_fetched(&self, deploy: i64) -> bool {
        self.fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(deploy)
    }

    fn forget_fetched(&self, deploy: i64) {
        self.fetched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&deploy);
    }
}

/// An answer other than 2xx.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    detail: ErrorDetail,
}

impl ApiError {
    fn usage(message: impl Into<String>) -> ApiError {
        ApiError {
            status: StatusCode::BAD_REQUEST,
            detail: ErrorDetail {
                message: message.into(),
                exit_code: ExitCode::Usage as u8,
            },
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> ApiError {
        let exit_code = error.exit_code();
        let status = match (&error, exit_code) {
            (DeployError::NoSuchApp { .. }, _) => StatusCode::NOT_FOUND,
            (_, ExitCode::Usage) => StatusCode::BAD_REQUEST,
            (_, ExitCode::Locked) => StatusCode::CONFLICT,
            (_, ExitCode::Refused) => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError {
            status,
            detail: ErrorDetail {
                message: error.to_string(),
                exit_code: exit_code as u8,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = ErrorBody { error: self.detail };
        (self.status, axum::Json(body)).into_response()
    }
}

/// Reads a JSON body; our own error shape, where axum's would be plain text.
fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ApiError::usage(format!(
            "this daemon ({}) does not understand the request: {error}; is the command of another version?",
            env!("CARGO_PKG_VERSION")
        ))
    })
}

/// Runs what changes something to its end, even when the client goes away meanwhile: the server would
/// otherwise drop it half done.
async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, DeployError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(ApiError::from(DeployError::Other(format!(
            "this broke inside the daemon, its log says more: {error}"
        )))),
    }
}

fn app_name(text: &str) -> Result<AppName, ApiError> {
    text.parse().map_err(ApiError::usage)
}

async fn no_such_route(uri: http::Uri) -> ApiError {
    ApiError {
        status: StatusCode::NOT_FOUND,
        detail: ErrorDetail {
            message: format!(
                "this daemon ({}) knows no {}; is the command of a newer version?",
                env!("CARGO_PKG_VERSION"),
                uri.path()
            ),
            exit_code: ExitCode::Error as u8,
        },
    }
}
