//! The control API: JSON over HTTP/1.1, on the Unix socket and with `--dashboard` over TCP.
//!
//! | module | does |
//! | --- | --- |
//! | [`table`] | every route, once; [`openapi`] describes it |
//! | [`guard`] | who calls ([`caller`], [`peer`]), and does their token allow it? |
//! | [`door`] | over TCP: names, origins, what an answer says to a browser |
//! | [`deploys`], [`apps`], [`images`], [`tokens`] | what changes something |
//! | [`look`], [`live`] | what changes nothing |
//! | [`page`] | the files of the status page |
//! | [`upgrade`] | another binary in the place of this one |
//! | [`stream`] | JSON lines that outlive a client that goes away |
//!
//! Errors are `{"error":{"message","exit_code"}}`; the command passes the exit code on.

mod apps;
mod caller;
mod deploys;
pub mod door;
pub mod guard;
mod images;
mod live;
mod look;
pub mod openapi;
mod page;
pub mod peer;
mod stream;
mod table;
mod tokens;
mod upgrade;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use baton_compose::AppName;
use baton_deploy::outcome::ExitCode;
use baton_deploy::{ControlPlane, DeployError};
use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use self::door::Names;
use self::guard::{Door, Guard};
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
    /// Grows when a token is revoked.
    revoked: watch::Sender<u64>,
    /// The status that pages share.
    seen: Arc<tokio::sync::Mutex<Option<live::Seen>>>,
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
            revoked: watch::Sender::default(),
            seen: Arc::default(),
        }
    }

    /// The routes as the control socket serves them.
    pub fn on_socket(self) -> Router {
        self.router(Door::Socket)
    }

    /// The routes as `--dashboard` serves them, under these names.
    pub fn on_network(self, names: Names) -> Router {
        self.router(Door::Network)
            .layer(middleware::from_fn_with_state(names, door::keep))
    }

    fn router(self, door: Door) -> Router {
        let mut router = Router::new();
        for entry in table::entries() {
            let guard = Guard {
                api: self.clone(),
                door,
                access: entry.access,
            };
            let check = middleware::from_fn_with_state(guard, guard::check);
            router = router.route(entry.path, entry.handler.route_layer(check));
        }
        router
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
    fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            detail: ErrorDetail {
                message: message.into(),
                exit_code: ExitCode::Error as u8,
            },
        }
    }

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
