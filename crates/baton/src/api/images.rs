//! Images for the docker engine, from a command that may be on another machine.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use baton_deploy::DeployError;
use baton_engine::{EngineError, WantedImage};
use futures_util::StreamExt;
use http::StatusCode;
use tokio::sync::mpsc;

use super::{Api, ApiError, body, stream};
use crate::wire::{FetchLine, Loaded};

/// `POST /v1/images/load`: an archive as `docker save` writes it, of any size.
pub(super) async fn load(State(api): State<Api>, archive: Body) -> Result<Json<Loaded>, ApiError> {
    let archive = archive.into_data_stream();
    let archive = archive.map(|chunk| chunk.map_err(std::io::Error::other));
    match api.control.load_images(archive.boxed()).await {
        Ok(images) => Ok(Json(Loaded { images })),
        // The engine is there, and did not like what it was given.
        Err(error @ DeployError::Engine(EngineError::Other { .. })) => Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            format!("{error}\n  expected an archive as `docker save IMAGE` writes it"),
        )),
        Err(error) => Err(error.into()),
    }
}

/// `POST /v1/images/fetch`: JSON lines, the image or the reason last. A client that goes away ends it.
pub(super) async fn fetch(State(api): State<Api>, bytes: Bytes) -> Result<Response, ApiError> {
    let wanted: WantedImage = body(&bytes)?;
    let (sender, lines) = mpsc::channel(64);
    let control = Arc::clone(&api.control);
    tokio::spawn(async move {
        let told = sender.clone();
        // A line that finds no room is one of many about a pull.
        let tell = move |text| drop(told.try_send(FetchLine::Note { text }));
        let work = control.fetch_image(wanted, &tell);
        let last = tokio::select! {
            fetched = work => match fetched {
                Ok(image) => FetchLine::Image(image),
                Err(error) => FetchLine::Failed { message: error.to_string() },
            },
            () = sender.closed() => return,
        };
        // Nobody to tell is no failure.
        let _ = sender.send(last).await;
    });
    Ok(stream::lines(lines))
}
