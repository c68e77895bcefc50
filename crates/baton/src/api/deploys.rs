//! A deploy: asked for, fed with images, followed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::response::Response;
use baton_deploy::request::DeployRequest;

use super::caller::Caller;
use super::stream::{self, Fetcher};
use super::{Api, ApiError, body, to_its_end};
use crate::wire::{Done, FetchReport};

/// `POST /v1/deploys`: progress as JSON lines, from the first moment on.
pub(super) async fn deploy(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    bytes: Bytes,
) -> Result<Response, ApiError> {
    let mut request: DeployRequest = body(&bytes)?;
    request.by = caller.by(request.by.as_deref());
    let control = Arc::clone(&api.control);
    let running = to_its_end(async move { control.deploy(request).await }).await?;
    Ok(stream::progress(
        api,
        running.deploy,
        running.progress,
        Fetcher::ThisClient,
    ))
}

/// `PUT /v1/deploys/{id}/images`: what the command line pulled or built.
pub(super) async fn images(
    State(api): State<Api>,
    Path(deploy): Path<i64>,
    bytes: Bytes,
) -> Result<Json<Done>, ApiError> {
    let report = match body(&bytes)? {
        FetchReport::Images(images) => Ok(images),
        FetchReport::Error(reason) => Err(reason),
    };
    api.mark_fetched(deploy);
    to_its_end(async move { api.control.fetched(deploy, report).await }).await?;
    Ok(Json(Done {
        message: "taken".to_owned(),
    }))
}

/// `GET /v1/deploys/{id}/progress`: all of it from its beginning, then what comes.
pub(super) async fn progress(
    State(api): State<Api>,
    Path(deploy): Path<i64>,
) -> Result<Response, ApiError> {
    let receiver = api.control.follow(deploy).await?;
    Ok(stream::progress(api, deploy, receiver, Fetcher::Nobody))
}
