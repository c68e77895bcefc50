//! JSON lines towards a client that may go away at any moment.

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};

use super::Api;
use crate::wire::DEPLOY_HEADER;

/// The media type of JSON lines.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Lines of a log or of events: a slow reader slows the source, and its end ends it.
pub(super) fn lines<T: Serialize + Send + 'static>(receiver: mpsc::Receiver<T>) -> Response {
    let body = ReceiverStream::new(receiver).map(|item| Ok::<_, std::io::Error>(line(&item)));
    ([(CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response()
}

/// Who fetches images for a deploy whose progress is streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fetcher {
    /// The client of this very stream: when it goes away before its images are there, nobody will
    /// ever bring them, and the deploy must not wait with the app's lock in its hand.
    ThisClient,
    /// Nobody: a rollback, a switch, or a second look at a deploy.
    Nobody,
}

/// Progress of a deploy. A client that reads slowly or goes away never holds the deploy up: a task of
/// its own takes the progress at once, until its end.
pub(super) fn progress(
    api: Api,
    deploy: i64,
    receiver: mpsc::Receiver<Progress>,
    fetcher: Fetcher,
) -> Response {
    let (sender, lines) = mpsc::unbounded_channel();
    tokio::spawn(pump(api, deploy, receiver, sender, fetcher));
    let body = UnboundedReceiverStream::new(lines).map(Ok::<_, std::io::Error>);
    (
        [
            (CONTENT_TYPE.as_str(), NDJSON.to_owned()),
            (DEPLOY_HEADER, deploy.to_string()),
        ],
        Body::from_stream(body),
    )
        .into_response()
}

async fn pump(
    api: Api,
    deploy: i64,
    mut receiver: mpsc::Receiver<Progress>,
    sender: mpsc::UnboundedSender<Bytes>,
    fetcher: Fetcher,
) {
    let mut client_is_there = true;
    let mut fetching = false;
    loop {
        tokio::select! {
            progress = receiver.recv() => {
                let Some(progress) = progress else { break };
                match &progress {
                    Progress::StepStarted { step: StepName::Fetch } => fetching = true,
                    Progress::StepSucceeded { step: StepName::Fetch, .. }
                    | Progress::StepFailed { step: StepName::Fetch, .. } => fetching = false,
                    _ => {}
                }
                // An error: the client is gone, which `closed` below tells as well.
                let _ = sender.send(line(&progress));
            }
            () = sender.closed(), if client_is_there => client_is_there = false,
        }
        if fetching && !client_is_there && fetcher == Fetcher::ThisClient {
            fetching = false;
            give_up_fetch(&api, deploy).await;
        }
    }
    api.forget_fetched(deploy);
}

async fn give_up_fetch(api: &Api, deploy: i64) {
    if !api.mark_fetched(deploy) {
        return;
    }
    let reason = "the command line went away before the images were there".to_owned();
    if let Err(error) = api.control.fetched(deploy, Err(reason)).await {
        tracing::debug!(deploy, %error, "nobody waited for the fetch any more");
    }
}

fn line(item: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(item).unwrap_or_else(|error| {
        tracing::error!(%error, "a line of an answer cannot be written as JSON");
        Vec::new()
    });
    text.push(b'\n');
    Bytes::from(text)
}
