//! Tokens: made, listed, revoked.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use baton_deploy::token::{NewToken, Scope, TokenInfo};

use super::caller::Caller;
use super::{Api, ApiError, body};
use crate::wire::{CreatedToken, Me, Tokens};

/// `GET /v1/me`.
pub(super) async fn me(Extension(caller): Extension<Caller>) -> Json<Me> {
    Json(match caller {
        Caller::Token(info) => Me {
            name: info.name,
            scope: info.scope,
            expires_at: info.expires_at,
        },
        caller => Me {
            name: caller.by(None).unwrap_or_default(),
            scope: Scope::Admin,
            expires_at: None,
        },
    })
}

/// `GET /v1/tokens`.
pub(super) async fn list(State(api): State<Api>) -> Result<Json<Tokens>, ApiError> {
    let tokens = api.control.tokens().await?;
    Ok(Json(Tokens { tokens }))
}

/// `POST /v1/tokens`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Json<CreatedToken>, ApiError> {
    let wanted: NewToken = body(&bytes)?;
    let by = caller.by(None);
    let (token, info) = api.control.create_token(wanted, by.as_deref()).await?;
    Ok(Json(CreatedToken { token, info }))
}

/// `DELETE /v1/tokens/{which}`: also ends what is streamed with it.
pub(super) async fn revoke(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(which): Path<String>,
) -> Result<Json<TokenInfo>, ApiError> {
    let by = caller.by(None);
    let info = api.control.revoke_token(&which, by.as_deref()).await?;
    api.revoked.send_modify(|times| *times += 1);
    Ok(Json(info))
}
