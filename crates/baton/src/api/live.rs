//! What the page shows while it is open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use baton_deploy::control::Event;
use baton_deploy::status::Status;
use baton_deploy::traffic::Traffic;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Api, ApiError};
use crate::wire::{AfterQuery, Traffics};

/// The media type of server-sent events.
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// How often the status is sent.
const PERIOD: Duration = Duration::from_secs(1);
/// A status asks the engine about every instance: several pages share one.
const FRESH: Duration = Duration::from_millis(900);
/// Events of the past that a page begins with.
const PAST: usize = 40;

/// A status, and when it was asked for.
#[derive(Debug)]
pub(super) struct Seen {
    at: Instant,
    status: Arc<Status>,
}

/// `GET /v1/traffic`.
pub(super) async fn traffic(
    State(api): State<Api>,
    Query(query): Query<AfterQuery>,
) -> Json<Traffics> {
    Json(Traffics {
        traffic: api.control.traffic(query.after_ms.unwrap_or(0)),
    })
}

/// `GET /v1/live`. A browser's `EventSource` cannot send a token in a field; `fetch` reads this as well.
pub(super) async fn live(
    State(api): State<Api>,
    Query(query): Query<AfterQuery>,
) -> Result<Response, ApiError> {
    let events = api.control.events(None, PAST, true).await?;
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(tell(api, events, sender, query.after_ms.unwrap_or(0)));
    let body = ReceiverStream::new(receiver).map(Ok::<_, std::io::Error>);
    Ok(([(CONTENT_TYPE, EVENT_STREAM)], Body::from_stream(body)).into_response())
}

/// Until the page goes away.
async fn tell(
    api: Api,
    mut events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Bytes>,
    mut after_ms: i64,
) {
    let mut tick = tokio::time::interval(PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let messages = tokio::select! {
            event = events.recv() => match event {
                Some(event) => vec![message("event", &event)],
                None => return,
            },
            _ = tick.tick() => {
                let traffic: Vec<Traffic> = api.control.traffic(after_ms);
                let newest = traffic.iter().flat_map(|app| &app.samples).map(|s| s.at_ms).max();
                after_ms = newest.unwrap_or(after_ms);
                let status = status(&api).await;
                let mut messages = vec![message("status", &*status)];
                messages.extend(newest.map(|_| message("traffic", &traffic)));
                messages
            }
            () = sender.closed() => return,
        };
        for message in messages {
            if sender.send(message).await.is_err() {
                return;
            }
        }
    }
}

async fn status(api: &Api) -> Arc<Status> {
    let mut seen = api.seen.lock().await;
    if let Some(seen) = &*seen
        && seen.at.elapsed() < FRESH
    {
        return Arc::clone(&seen.status);
    }
    let status = Arc::new(api.control.status().await);
    *seen = Some(Seen {
        at: Instant::now(),
        status: Arc::clone(&status),
    });
    status
}

/// JSON has no line end of its own, so one `data` field holds it.
fn message(kind: &str, value: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(value).unwrap_or_else(|error| {
        tracing::error!(%error, "an event for the page cannot be written as JSON");
        "null".to_owned()
    });
    Bytes::from(format!("event: {kind}\ndata: {json}\n\n"))
}
