//! What is done to one app, other than deploying to it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use baton_deploy::admission::Maintenance;
use baton_deploy::outcome::Outcome;
use baton_deploy::request::{RollbackRequest, Steer, SwitchRequest};

use super::caller::Caller;
use super::stream::{self, Fetcher};
use super::{Api, ApiError, app_name, body, to_its_end};
use crate::wire::Done;

/// `POST /v1/apps/{app}/rollback`: progress as JSON lines.
pub(super) async fn rollback(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(app): Path<String>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let mut request: RollbackRequest = body(&bytes)?;
    request.app = app_name(&app)?;
    request.by = caller.by(request.by.as_deref());
    let control = Arc::clone(&api.control);
    let running = to_its_end(async move { control.rollback(request).await }).await?;
    Ok(stream::progress(
        api,
        running.deploy,
        running.progress,
        Fetcher::Nobody,
    ))
}

/// `POST /v1/apps/{app}/promote`: without the user's files, so with the configuration that was staged.
pub(super) async fn promote(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(app): Path<String>,
) -> Result<Response, ApiError> {
    let name = app_name(&app)?;
    let by = caller.by(None);
    let control = Arc::clone(&api.control);
    let running = to_its_end(async move { control.promote(&name, by).await }).await?;
    Ok(stream::progress(
        api,
        running.deploy,
        running.progress,
        Fetcher::Nobody,
    ))
}

/// `POST /v1/apps/{app}/switch`: progress as JSON lines.
pub(super) async fn switch(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(app): Path<String>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let mut request: SwitchRequest = body(&bytes)?;
    request.app = app_name(&app)?;
    request.by = caller.by(request.by.as_deref());
    let control = Arc::clone(&api.control);
    let running = to_its_end(async move { control.switch(request).await }).await?;
    Ok(stream::progress(
        api,
        running.deploy,
        running.progress,
        Fetcher::Nobody,
    ))
}

/// `POST /v1/apps/{app}/canary`: steers the one that runs.
pub(super) async fn canary(
    State(api): State<Api>,
    Path(app): Path<String>,
    bytes: Bytes,
) -> Result<Json<Done>, ApiError> {
    let steer: Steer = body(&bytes)?;
    let app = app_name(&app)?;
    api.control.steer(&app, steer)?;
    Ok(done(match steer {
        Steer::Set(weight) => format!(
            "{app}: {}% of the clients, until `resume`",
            weight.percent()
        ),
        Steer::Hold => format!("{app}: the canary is held"),
        Steer::Resume => format!("{app}: the canary goes on"),
        Steer::Abort => format!("{app}: the canary is taken back"),
    }))
}

/// `POST /v1/apps/{app}/cancel`: how the deploy that ran ended.
pub(super) async fn cancel(
    State(api): State<Api>,
    Path(app): Path<String>,
) -> Result<Json<Outcome>, ApiError> {
    let app = app_name(&app)?;
    let outcome = to_its_end(async move { api.control.cancel(&app).await }).await?;
    Ok(Json(outcome))
}

/// `POST /v1/apps/{app}/pause`: new requests are held.
pub(super) async fn pause(
    State(api): State<Api>,
    Path(app): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let name = app_name(&app)?;
    to_its_end(async move { api.control.pause(&name).await }).await?;
    Ok(done(format!("{app} is paused: new requests are held")))
}

/// `POST /v1/apps/{app}/resume`: held requests go on.
pub(super) async fn resume(
    State(api): State<Api>,
    Path(app): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let name = app_name(&app)?;
    to_its_end(async move { api.control.resume(&name).await }).await?;
    Ok(done(format!("{app} takes requests again")))
}

/// `POST /v1/apps/{app}/maintenance`: every new request is answered with a page, or none any more.
pub(super) async fn maintenance(
    State(api): State<Api>,
    Path(app): Path<String>,
    bytes: Bytes,
) -> Result<Json<Done>, ApiError> {
    let wanted: Option<Maintenance> = body(&bytes)?;
    let name = app_name(&app)?;
    let message = match wanted {
        Some(_) => format!("{app} is in maintenance: every request is answered with a page (503)"),
        None => format!("{app} takes requests again"),
    };
    to_its_end(async move { api.control.maintain(&name, wanted).await }).await?;
    Ok(done(message))
}

/// `DELETE /v1/apps/{app}`: drained, stopped, forgotten.
pub(super) async fn remove(
    State(api): State<Api>,
    Path(app): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let name = app_name(&app)?;
    to_its_end(async move { api.control.remove(&name).await }).await?;
    Ok(done(format!(
        "{app} is removed; its networks, volumes and plain services were left as they are"
    )))
}

fn done(message: String) -> Json<Done> {
    Json(Done { message })
}
