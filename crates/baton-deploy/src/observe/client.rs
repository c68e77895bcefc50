//! Baton's own client of an event stream, directly on an instance.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_compose::Policy;
use baton_proxy::sse::{Event, Framer, IdChange, is_event_stream};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::task::AbortHandle;

use super::verdict::{Seen, Side};
use crate::health::http::{Question, open, with_host};

/// As a browser waits before it comes back.
const AGAIN: Duration = Duration::from_millis(500);

/// Streams that end at once are not asked for ever.
const MOST: u32 = 20;

/// Reads one stream, and opens it again when it ends, until it is dropped.
#[derive(Debug)]
pub(super) struct Client {
    side: Arc<Mutex<Side>>,
    task: AbortHandle,
}

impl Client {
    pub(super) fn start(
        at: SocketAddr,
        policy: &Policy,
        path: &str,
        last_event_id: Option<Vec<u8>>,
    ) -> Client {
        let side = Arc::<Mutex<Side>>::default();
        let (inner, policy, path) = (Arc::clone(&side), policy.clone(), path.to_owned());
        let task = tokio::spawn(async move {
            let mut id = last_event_id;
            while lock(&inner).ended < MOST {
                if let Err(reason) = read(at, &policy, &path, &mut id, &inner).await {
                    // Later than the first answer it may be the end of the instance.
                    let mut side = lock(&inner);
                    if side.events.is_empty() && side.ended == 0 {
                        side.refused = Some(reason);
                    }
                    return;
                }
                lock(&inner).ended += 1;
                tokio::time::sleep(AGAIN).await;
            }
        });
        Client {
            side,
            task: task.abort_handle(),
        }
    }

    pub(super) fn side(&self) -> Side {
        lock(&self.side).clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(side: &Mutex<Side>) -> MutexGuard<'_, Side> {
    side.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection until the app ends it.
async fn read(
    at: SocketAddr,
    policy: &Policy,
    path: &str,
    id: &mut Option<Vec<u8>>,
    side: &Mutex<Side>,
) -> Result<(), String> {
    let mut headers = HeaderMap::new();
    with_host(&mut headers, policy, at);
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    if let Some(Ok(value)) = id.as_ref().map(|id| HeaderValue::from_bytes(id)) {
        headers.insert("last-event-id", value);
    }
    let question = Question {
        method: "GET",
        path,
        headers,
        protocol: policy.protocol,
        body: "",
    };
    let answer = open(at, &question).await?;
    let kind = answer.headers().get(CONTENT_TYPE);
    if answer.status() != 200 || !kind.is_some_and(|kind| is_event_stream(kind.as_bytes())) {
        let kind = kind
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or("nothing");
        return Err(format!("GET {path}: {}, {kind}", answer.status()));
    }
    let mut body = answer.into_body();
    let mut framer = Framer::new();
    let mut first = true;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let mut input: &[u8] = &data;
        while let Ok(Some(event)) = framer.next(&mut input) {
            match event.id() {
                IdChange::Set(new) => *id = Some(new.to_vec()),
                IdChange::Reset => *id = None,
                IdChange::Keep => {}
            }
            if event.dispatches() {
                lock(side).events.push(seen(&event, first));
                first = false;
            }
        }
    }
    Ok(())
}

fn seen(event: &Event<'_>, first: bool) -> Seen {
    let mut hasher = DefaultHasher::new();
    let id = match event.id() {
        IdChange::Set(id) => Some(id.to_vec()),
        IdChange::Reset | IdChange::Keep => None,
    };
    id.hash(&mut hasher);
    event.name().hash(&mut hasher);
    for data in event.data() {
        data.hash(&mut hasher);
    }
    let name = match event.name() {
        b"" => "message".to_owned(),
        name => String::from_utf8_lossy(name).into_owned(),
    };
    Seen {
        id,
        name,
        print: hasher.finish(),
        first,
    }
}
