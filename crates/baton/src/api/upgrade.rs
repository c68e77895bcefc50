//! Another binary in the place of this one.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use baton_deploy::outcome::ExitCode;
use http::StatusCode;

use super::peer::Peer;
use super::{Api, ApiError, body};
use crate::wire::{ErrorDetail, UpgradeAccepted, UpgradeRequest};

/// `POST /v1/upgrade`: answered when the new process is ready. It is the daemon when `/v1/daemon` answers
/// with its pid; `upgrade_failed` says why it never will.
pub(super) async fn upgrade(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    bytes: Bytes,
) -> Result<Json<UpgradeAccepted>, ApiError> {
    let request: UpgradeRequest = body(&bytes)?;
    if !peer.may_upgrade() {
        return Err(ApiError {
            status: StatusCode::FORBIDDEN,
            detail: ErrorDetail {
                message: "only root and the daemon's own user may upgrade it: `sudo baton upgrade`"
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
