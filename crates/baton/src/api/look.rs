//! Looking: nothing here changes anything.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use baton_compose::Color;
use baton_deploy::control::Check;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::DeployRequest;
use baton_deploy::slots::SlotRole;
use baton_deploy::status::Status;

use super::{Api, ApiError, app_name, body, stream};
use crate::wire::{
    DaemonInfo, EventsQuery, LogsQuery, ObserveQuery, OneApp, OneAppQuery, Receipts, ReceiptsQuery,
    ReleaseSummary, Releases,
};

/// `GET /v1/status`.
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(api.control.status().await)
}

/// `GET /v1/daemon`: who answers.
pub(super) async fn daemon(State(api): State<Api>) -> Json<DaemonInfo> {
    Json(DaemonInfo {
        upgrade_failed: api.upgrades.failed(),
        ..DaemonInfo::clone(&api.daemon)
    })
}

/// `GET /v1/app?name=`: which app a command means.
pub(super) async fn app(
    State(api): State<Api>,
    Query(query): Query<OneAppQuery>,
) -> Result<Json<OneApp>, ApiError> {
    let app = api.control.app(query.name.as_deref()).await?;
    Ok(Json(OneApp {
        app: app.to_string(),
    }))
}

/// `GET /v1/apps/{app}/releases`, without what is secret in them.
pub(super) async fn releases(
    State(api): State<Api>,
    Path(app): Path<String>,
) -> Result<Json<Releases>, ApiError> {
    let name = app_name(&app)?;
    let releases = api.control.releases(&name).await?;
    let places = places(&api.control.status().await, name.as_str());
    Ok(Json(Releases {
        releases: releases
            .iter()
            .map(|release| ReleaseSummary::new(release, places.get(&release.id).copied()))
            .collect(),
    }))
}

/// Which release is in which color now.
fn places(status: &Status, app: &str) -> BTreeMap<ReleaseId, (Color, SlotRole)> {
    let colors = status
        .apps
        .iter()
        .filter(|status| status.name == app)
        .flat_map(|status| {
            [
                (Color::Blue, &status.colors.blue),
                (Color::Green, &status.colors.green),
            ]
        });
    colors
        .filter(|(_, status)| status.role != SlotRole::Empty)
        .filter_map(|(color, status)| Some((status.release?, (color, status.role))))
        .collect()
}

/// `GET /v1/apps/{app}/receipts`.
pub(super) async fn receipts(
    State(api): State<Api>,
    Path(app): Path<String>,
    Query(query): Query<ReceiptsQuery>,
) -> Result<Json<Receipts>, ApiError> {
    let receipts = api.control.receipts(&app_name(&app)?, query.limit).await?;
    Ok(Json(Receipts { receipts }))
}

/// `GET /v1/apps/{app}/logs`: JSON lines.
pub(super) async fn logs(
    State(api): State<Api>,
    Path(app): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, ApiError> {
    let app = app_name(&app)?;
    let lines = api
        .control
        .logs(&app, query.color, query.tail, query.follow)
        .await?;
    Ok(stream::lines(lines))
}

/// `GET /v1/apps/{app}/observe?path=`: JSON lines, the verdict last.
pub(super) async fn observe(
    State(api): State<Api>,
    Path(app): Path<String>,
    Query(query): Query<ObserveQuery>,
) -> Result<Response, ApiError> {
    let app = app_name(&app)?;
    let observed = api.control.observe(&app, &query.path).await?;
    Ok(stream::lines(observed))
}

/// `GET /v1/events`: JSON lines.
pub(super) async fn events(
    State(api): State<Api>,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
    let app = query.app.as_deref().map(app_name).transpose()?;
    let events = api
        .control
        .events(app.as_ref(), query.tail, query.follow)
        .await?;
    Ok(stream::lines(events))
}

/// `POST /v1/check`: what a deploy of this request would do.
pub(super) async fn check(State(api): State<Api>, bytes: Bytes) -> Result<Json<Check>, ApiError> {
    let request: DeployRequest = body(&bytes)?;
    Ok(Json(api.control.check(&request).await?))
}
