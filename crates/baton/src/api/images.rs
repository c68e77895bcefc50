//! Images for the docker engine, from a command that may be on another machine.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use baton_engine::WantedImage;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::{Api, ApiError, body, stream};
use crate::wire::{FetchLine, Loaded};

/// `POST /v1/images/load`: an archive as `docker save` writes it, of any size.
pub(super) async fn load(State(api): State<Api>, archive: Body) -> Result<Json<Loaded>, ApiError> {
    let archive = archive.into_data_stream();
    let archive = archive.map(|chunk| chunk.map_err(std::io::Error::other));
    let images = api.control.load_images(archive.boxed()).await?;
    Ok(Json(Loaded { images }))
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
