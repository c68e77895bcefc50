//! Event streams: the emitters' routes, and the finite answer of `POST /ask`.

use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::sleep;

use super::Scene;
use crate::routes::{Body, Query, text};

impl Scene {
    /// `GET /sse/{user}`: an emitter in this process.
    pub(super) async fn subscribe(
        &self,
        user: &str,
        request: &Request<Incoming>,
        query: &Query,
    ) -> Response<Body> {
        let last_id = request
            .headers()
            .get("last-event-id")
            .and_then(|value| value.to_str().ok())
            .or_else(|| Some(query.text("lastEventId")).filter(|id| !id.is_empty()));
        let mut events = self.emitters.register(user, last_id);
        let first = match self.settings.late_headers {
            // The emitter may be closed before it ever said anything: then an empty stream.
            true => events.recv().await,
            false => None,
        };
        event_stream(pieces(first, events, self.settings.split))
    }

    /// `POST /emit/{user}`: 202 with the token at once, or with `wait=1` once it was emitted.
    pub(super) async fn accept(self: &Rc<Self>, user: &str, query: &Query) -> Response<Body> {
        let token = match query.text("token") {
            "" => format!("{}-{:x}", self.identity.release, self.dice.next()),
            token => token.to_owned(),
        };
        let random = self.dice.up_to(self.settings.delay).as_millis() as u64;
        let delay = Duration::from_millis(query.number("delay_ms", random));
        self.pending.set(self.pending.get() + 1);
        let (scene, user, later) = (Rc::clone(self), user.to_owned(), token.clone());
        let emission = async move {
            sleep(delay).await;
            scene.tell(&user, &later).await;
            scene.pending.set(scene.pending.get() - 1);
        };
        let task = tokio::task::spawn_local(emission);
        if query.number("wait", 0) == 1 && task.await.is_err() {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the event was lost\n");
        }
        text(StatusCode::ACCEPTED, token)
    }

    async fn tell(&self, user: &str, token: &str) {
        let told = |via| self.emitters.told(token, via, &self.identity.color);
        match &self.bus {
            Some(bus) => bus.publish(user, &told("bus")).await,
            None => self.emitters.emit(user, told("emit"), None),
        }
    }

    /// `POST /ask`: a finite event stream; `CALL_LOG` gets a line for each call.
    pub(super) fn ask(&self, query: &Query) -> Response<Body> {
        self.asks.set(self.asks.get() + 1);
        let token = query.text("token").to_owned();
        let release = self.identity.release.clone();
        if let Err(error) = self.log_call(&format!("{release} {token}\n")) {
            return text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("CALL_LOG: {error}\n"),
            );
        }
        let (count, every) = (query.number("n", 10), query.number("every_ms", 100));
        event_stream(stream::unfold(0, move |number| {
            let (token, release) = (token.clone(), release.clone());
            async move {
                if number >= count {
                    return None;
                }
                if number > 0 {
                    sleep(Duration::from_millis(every)).await;
                }
                let event = format!("data: {token} {release} {number}\n\n");
                Some((Bytes::from(event), number + 1))
            }
        }))
    }

    fn log_call(&self, line: &str) -> std::io::Result<()> {
        let Some(path) = &self.settings.call_log else {
            return Ok(());
        };
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path)?;
        file.write_all(line.as_bytes())
    }
}

/// The events as they come; with `split` each in two pieces, its second half later.
fn pieces(
    first: Option<Bytes>,
    events: UnboundedReceiver<Bytes>,
    split: Option<Duration>,
) -> impl Stream<Item = Bytes> {
    stream::unfold(
        (first, events, Bytes::new()),
        move |(first, mut events, rest)| async move {
            if let Some(pause) = split.filter(|_| !rest.is_empty()) {
                sleep(pause).await;
                return Some((rest, (first, events, Bytes::new())));
            }
            let mut event = match first {
                Some(event) => event,
                None => events.recv().await?,
            };
            let rest = match split {
                Some(_) => event.split_off(event.len() / 2),
                None => Bytes::new(),
            };
            Some((event, (None, events, rest)))
        },
    )
}

fn event_stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    use futures_util::StreamExt;
    let frames = pieces.map(|piece| Ok(Frame::data(piece)));
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
