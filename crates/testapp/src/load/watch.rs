//! Clients of event streams that write down exactly what they heard: each event with its token, each
//! end, each piece that is no whole event. They come back as an `EventSource` does.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use super::wire;
use crate::scene::event::Told;

/// `reconnection time` of the clients until a `retry:` says another.
const RETRY: Duration = Duration::from_millis(100);

/// Who watches what.
#[derive(Debug, Clone)]
pub struct WatchPlan {
    pub address: SocketAddr,
    /// Host that is asked for (and, with TLS, the server's name).
    pub host: String,
    /// PEM of the certificate authority; None: plain. HTTP/2 without it is h2c.
    pub tls: Option<String>,
    /// 0: HTTP/1.1, a connection each; otherwise HTTP/2 with so many streams on a connection.
    pub streams_per_http2: usize,
    /// Each listens to `/sse/{user}`.
    pub users: Vec<String>,
    /// Field lines sent with each request, e.g. a cookie.
    pub fields: Vec<(String, String)>,
}

/// What one user's client heard.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// Every event with a token, in the order of arrival.
    pub events: Vec<Told>,
    /// Names of events with a name (`event:`).
    pub named: Vec<String>,
    /// Pieces that are no whole event of the scene's.
    pub torn: Vec<String>,
    /// Streams that were opened with 200.
    pub opened: u64,
    /// Streams that ended properly, and those that broke off; both are noticed by the client.
    pub ended: u64,
    pub broken: u64,
    /// Connections and requests that failed, and answers other than 200.
    pub failed: Vec<String>,
    /// `Last-Event-ID` of each request after the first.
    pub came_back_with: Vec<String>,
    /// What `retry:` said, in milliseconds.
    pub retries: Vec<u64>,
    /// `X-Release` of each stream that was opened.
    pub opened_by: Vec<String>,
    last_id: String,
}

impl Heard {
    /// Ends and failures that the user's page would have seen.
    #[must_use]
    pub fn interruptions(&self) -> u64 {
        self.ended + self.broken + self.failed.len() as u64
    }
}

#[derive(Debug, Default)]
struct Notes(Mutex<BTreeMap<String, Heard>>);

impl Notes {
    fn of<T>(&self, user: &str, change: impl FnOnce(&mut Heard) -> T) -> T {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(notes.entry(user.to_owned()).or_default())
    }
}

/// Clients on a thread of their own, until they are stopped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    notes: Arc<Notes>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    #[must_use]
    pub fn start(plan: WatchPlan) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let notes = Arc::new(Notes::default());
        let client = Client {
            plan: Arc::new(plan),
            stop: Arc::clone(&stop),
            notes: Arc::clone(&notes),
        };
        let thread = Some(std::thread::spawn(move || client.run()));
        Watch {
            stop,
            notes,
            thread,
        }
    }

    /// By user, so far.
    #[must_use]
    pub fn heard(&self) -> BTreeMap<String, Heard> {
        let notes = &self.notes.0;
        notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams that are open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        let open = |heard: &Heard| heard.opened - heard.ended - heard.broken;
        self.heard().values().map(open).sum()
    }

    /// Goes away as a closed tab does.
    ///
    /// # Panics
    /// When a client did.
    pub fn stop(mut self) -> BTreeMap<String, Heard> {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            assert!(
                thread.join().is_ok(),
                "a client of the event streams panicked"
            );
        }
        self.heard()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

#[derive(Clone)]
struct Client {
    plan: Arc<WatchPlan>,
    stop: Arc<AtomicBool>,
    notes: Arc<Notes>,
}

impl Client {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let Ok(runtime) = runtime else {
            return self
                .notes
                .of("", |heard| heard.failed.push("no runtime".to_owned()));
        };
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let mut tasks = tokio::task::JoinSet::new();
            for users in self.plan.users.chunks(self.plan.streams_per_http2.max(1)) {
                if self.plan.streams_per_http2 == 0 {
                    tasks.spawn_local(self.clone().follow(users[0].clone(), None));
                } else {
                    let sender = self.connect_http2().await;
                    for user in users {
                        tasks.spawn_local(self.clone().follow(user.clone(), sender.clone()));
                    }
                }
            }
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    self.notes
                        .of("", |heard| heard.failed.push(format!("panic: {error}")));
                }
            }
        });
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// One stream after the other; the shared HTTP/2 connection is used as long as it lives.
    async fn follow(self, user: String, shared: Option<http2::SendRequest<Empty<Bytes>>>) {
        let mut first = true;
        while !self.stopped() {
            let shared = shared.clone().filter(|sender| !sender.is_closed());
            if let Err(error) = self.listen(&user, shared, first).await {
                self.notes.of(&user, |heard| heard.failed.push(error));
            }
            first = false;
            let retry = self.notes.of(&user, |heard| heard.retries.last().copied());
            if !self.stopped() {
                sleep(retry.map_or(RETRY, Duration::from_millis)).await;
            }
        }
    }

    /// One stream, from its request to its end; an error when it never opened.
    async fn listen(
        &self,
        user: &str,
        shared: Option<http2::SendRequest<Empty<Bytes>>>,
        first: bool,
    ) -> Result<(), String> {
        let http2 = self.plan.streams_per_http2 > 0;
        let request = self.request(user, http2, first)?;
        let response = if http2 {
            let mut sender = match shared {
                Some(sender) => sender,
                None => self.connect_http2().await.ok_or("connect h2")?,
            };
            sender.send_request(request).await
        } else {
            let io = self.connect(b"http/1.1").await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(io))
                .await
                .map_err(|error| error.to_string())?;
            tokio::task::spawn_local(connection);
            sender.send_request(request).await
        };
        let response = response.map_err(|error| format!("request: {error}"))?;
        if response.status() != 200 {
            return Err(format!("status {}", response.status()));
        }
        let release = response.headers().get("x-release");
        let release = release.and_then(|value| value.to_str().ok());
        let release = release.unwrap_or_default().to_owned();
        self.notes.of(user, |heard| {
            heard.opened += 1;
            heard.opened_by.push(release);
        });
        self.read(user, response.into_body()).await;
        Ok(())
    }

    async fn read(&self, user: &str, mut body: Incoming) {
        let mut page = Page::default();
        while !self.stopped() {
            // A look at `stopped` now and then, even on a silent stream.
            let Ok(frame) = timeout(Duration::from_millis(200), body.frame()).await else {
                continue;
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.notes.of(user, |heard| page.take(data, heard));
                    }
                }
                ended => {
                    self.notes.of(user, |heard| {
                        page.end(heard);
                        match ended {
                            None => heard.ended += 1,
                            Some(_) => heard.broken += 1,
                        }
                    });
                    return;
                }
            }
        }
    }

    fn request(
        &self,
        user: &str,
        http2: bool,
        first: bool,
    ) -> Result<Request<Empty<Bytes>>, String> {
        let path = format!("/sse/{user}");
        let mut builder = Request::builder().header("accept", "text/event-stream");
        builder = if http2 {
            let scheme = if self.plan.tls.is_some() {
                "https"
            } else {
                "http"
            };
            builder
                .version(Version::HTTP_2)
                .uri(format!("{scheme}://{}{path}", self.plan.host))
        } else {
            builder.uri(path).header("host", &self.plan.host)
        };
        for (name, value) in &self.plan.fields {
            builder = builder.header(name, value);
        }
        if !first {
            let id = self.notes.of(user, |heard| {
                heard.came_back_with.push(heard.last_id.clone());
                heard.last_id.clone()
            });
            if !id.is_empty() {
                builder = builder.header("last-event-id", id);
            }
        }
        builder
            .body(Empty::new())
            .map_err(|error| error.to_string())
    }

    async fn connect(&self, protocol: &[u8]) -> Result<Box<dyn wire::Io>, String> {
        let plan = &self.plan;
        wire::connect(plan.address, &plan.host, plan.tls.as_deref(), protocol)
            .await
            .map_err(|error| format!("connect: {error}"))
    }

    async fn connect_http2(&self) -> Option<http2::SendRequest<Empty<Bytes>>> {
        let io = self.connect(b"h2").await.ok()?;
        let (sender, connection) = http2::handshake(crate::app::threads(), TokioIo::new(io))
            .await
            .ok()?;
        tokio::task::spawn_local(connection);
        Some(sender)
    }
}

/// The stream as a browser reads it (WHATWG HTML, 9.2.6), as far as the scene's app uses it: lines
/// end with LF or CRLF.
#[derive(Debug, Default)]
struct Page {
    /// Bytes of a line without its end.
    line: Vec<u8>,
    id: Option<String>,
    name: String,
    data: Vec<String>,
    /// Something of an event has come.
    begun: bool,
}

impl Page {
    fn take(&mut self, bytes: &[u8], heard: &mut Heard) {
        for byte in bytes {
            if *byte == b'\n' {
                let line = String::from_utf8_lossy(&self.line).into_owned();
                self.line.clear();
                self.field(line.trim_end_matches('\r'), heard);
            } else {
                self.line.push(*byte);
            }
        }
    }

    fn field(&mut self, line: &str, heard: &mut Heard) {
        if line.is_empty() {
            return self.dispatch(heard);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            // A comment.
            "" => return,
            // The app gives each event one id at most, and none with a colon.
            "id" if self.id.is_some() || value.contains(':') => heard.torn.push(line.to_owned()),
            "id" => self.id = Some(value.to_owned()),
            "event" => self.name = value.to_owned(),
            "data" => self.data.push(value.to_owned()),
            "retry" => match value.parse() {
                Ok(millis) => heard.retries.push(millis),
                Err(_) => heard.torn.push(line.to_owned()),
            },
            // The app sends no other: it must be a piece of something.
            _ => heard.torn.push(line.to_owned()),
        }
        self.begun = true;
    }

    fn dispatch(&mut self, heard: &mut Heard) {
        let page = std::mem::take(self);
        if let Some(id) = page.id {
            heard.last_id = id;
        }
        if page.data.is_empty() {
            return;
        }
        if !page.name.is_empty() {
            return heard.named.push(page.name);
        }
        let data = page.data.join("\n");
        match serde_json::from_str(&data) {
            Ok(told) => heard.events.push(told),
            Err(_) => heard.torn.push(data),
        }
    }

    /// What is left of an event when the stream ends must be nothing.
    fn end(&mut self, heard: &mut Heard) {
        if self.begun || !self.line.is_empty() {
            let line = String::from_utf8_lossy(&self.line);
            heard.torn.push(format!("the end came in an event: {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"id: 7
data: {"token":"t1","release":"r1","color":"blue","n":1,"pid":2,"via":"emit","by":"blue"}

"#;

    fn hear(pieces: &[&str]) -> Heard {
        let (mut page, mut heard) = (Page::default(), Heard::default());
        for piece in pieces {
            page.take(piece.as_bytes(), &mut heard);
        }
        page.end(&mut heard);
        heard
    }

    #[test]
    fn whole_events_are_heard_however_they_are_cut() {
        for at in 0..=EVENT.len() {
            let heard = hear(&[":hello\nretry: 300\n\n", &EVENT[..at], &EVENT[at..]]);
            assert_eq!(heard.events.len(), 1, "cut at {at}");
            assert_eq!(heard.events[0].token, "t1");
            assert_eq!(
                (heard.last_id.as_str(), heard.retries.as_slice()),
                ("7", &[300][..])
            );
            assert!(heard.torn.is_empty(), "cut at {at}: {:?}", heard.torn);
        }
    }

    #[test]
    fn an_end_within_an_event_is_seen() {
        for at in 1..EVENT.len() {
            let heard = hear(&[&EVENT[..at]]);
            assert_eq!(
                (heard.events.len(), heard.torn.len()),
                (0, 1),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn half_an_event_before_a_whole_one_is_seen() {
        for at in 1..EVENT.len() {
            let heard = hear(&[&EVENT[..at], EVENT]);
            // Only a cut behind a whole line leaves no trace: then nothing is missing but an id.
            let whole_line = EVENT.as_bytes()[at - 1] == b'\n' && at < 7;
            assert!(
                whole_line || !heard.torn.is_empty(),
                "cut at {at}: {heard:?}"
            );
        }
    }
}
