//! Another binary in the place of this one.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::{Extension, Json};
use baton_deploy::outcome::ExitCode;
use http::StatusCode;

use super::caller::Caller;
use super::{Api, ApiError, body};
use crate::wire::{ErrorDetail, UpgradeAccepted, UpgradeRequest};

/// `POST /v1/upgrade`: answered when the new process is ready. It is the daemon when `/v1/daemon` answers
/// with its pid; `upgrade_failed` says why it never will.
pub(super) async fn upgrade(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Json<UpgradeAccepted>, ApiError> {
    let request: UpgradeRequest = body(&bytes)?;
    // It runs a file of this machine: no token reaches that far.
    let allowed = matches!(&caller, Caller::User(peer) if peer.may_upgrade());
    if !allowed {
        return Err(ApiError {
            status: StatusCode::FORBIDDEN,
            detail: ErrorDetail {
                message: "only root and the daemon's own user may upgrade it, on its machine: `sudo baton upgrade`"
                    .to_owned(),
                exit_code: ExitCode::Error as u8,
            },
        });
    }
    let drain = Duration::from_millis(request.drain_ms);
    let begun = api.upgrades.begin(request.binary, drain).await;
    begun.map(Json).map_err(|refused| ApiError {
        status: StatusCode::CONFLICT,
        detail: ErrorDetail {
            message: refused.message,
            exit_code: refused.exit_code,
        },
    })
}
