//! The connections of a load: each sends, checks the whole answer, and goes on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use super::report::Tally;
use super::{Plan, wire};

/// An answer that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run_thread(
    plan: &Arc<Plan>,
    thread: usize,
    stop: &Arc<AtomicBool>,
    tally: &Arc<Tally>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return tally.fail(format!("load runtime: {error}")),
    };
    let local = tokio::task::LocalSet::new();
    let threads = plan.threads.max(1);
    // Connection k belongs to thread k mod threads.
    let mine = |count: usize| (0..count).filter(move |k| k % threads == thread);
    local.block_on(&runtime, async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in mine(plan.http1) {
            let client = Client::new(plan, stop, tally, number);
            tasks.spawn_local(async move { client.run_http1().await });
        }
        for number in mine(plan.http2) {
            let client = Client::new(plan, stop, tally, number);
            tasks.spawn_local(async move { client.run_http2().await });
        }
        for number in mine(plan.event_streams) {
            let client = Client::new(plan, stop, tally, number);
            tasks.spawn_local(async move { client.run_events().await });
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tally.fail(format!("a load task panicked: {error}"));
            }
        }
    });
}

#[derive(Clone)]
struct Client {
    plan: Arc<Plan>,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    number: usize,
}

impl Client {
    fn new(plan: &Arc<Plan>, stop: &Arc<AtomicBool>, tally: &Arc<Tally>, number: usize) -> Client {
        Client {
            plan: Arc::clone(plan),
            stop: Arc::clone(stop),
            tally: Arc::clone(tally),
            number,
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// One connection after the other; one request after the other on each.
    async fn run_http1(self) {
        let mut count = self.number as u64;
        while !self.stopped() {
            let mut sender = match self.connect_http1().await {
                Ok(sender) => sender,
                Err(error) => {
                    self.tally.fail(format!("connect: {error}"));
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            while !self.stopped() {
                if sender.ready().await.is_err() {
                    self.tally.with(|report| report.closed_connections += 1);
                    break;
                }
                count += 1;
                let ask = Ask::of(&self.plan, count);
                let sent = Instant::now();
                let answer = timeout(REQUEST_TIMEOUT, async {
                    let response = sender
                        .send_request(ask.request(&self.plan, Version::HTTP_11))
                        .await;
                    ask.check(response.map_err(|error| error.to_string())?)
                        .await
                });
                let answer = answer
                    .await
                    .unwrap_or_else(|_| Err(format!("no answer in {REQUEST_TIMEOUT:?}")));
                if !self.note(&ask, sent, answer) {
                    break;
                }
                sleep(self.plan.pause).await;
            }
        }
    }

    async fn connect_http1(&self) -> io::Result<http1::SendRequest<Full<Bytes>>> {
        let io = connect_to(&self.plan, b"http/1.1").await?;
        let (sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    async fn run_http2(self) {
        while !self.stopped() {
            let sender = match self.connect_http2().await {
                Ok(sender) => sender,
                Err(error) => {
                    self.tally.fail(format!("connect h2: {error}"));
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let mut streams = tokio::task::JoinSet::new();
            for stream in 0..self.plan.streams_per_http2.max(1) {
                let (client, sender) = (self.clone(), sender.clone());
                streams.spawn_local(async move { client.run_http2_stream(sender, stream).await });
            }
            while streams.join_next().await.is_some() {}
            if !self.stopped() {
                self.tally.with(|report| report.closed_connections += 1);
            }
        }
    }

    async fn connect_http2(&self) -> io::Result<http2::SendRequest<Full<Bytes>>> {
        let io = connect_to(&self.plan, b"h2").await?;
        let (sender, connection) = http2::Builder::new(crate::app::threads())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .handshake(TokioIo::new(io))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }

    /// Ends when the connection does, or is about to: what the client had not sent when GOAWAY came is for
    /// the next connection.
    async fn run_http2_stream(&self, mut sender: http2::SendRequest<Full<Bytes>>, stream: usize) {
        let mut count = (self.number * 7 + stream) as u64;
        while !self.stopped() {
            if sender.ready().await.is_err() {
                return;
            }
            count += 1;
            let ask = Ask::of(&self.plan, count);
            let sent = Instant::now();
            let answer = timeout(REQUEST_TIMEOUT, async {
                let request = ask.request(&self.plan, Version::HTTP_2);
                match sender.try_send_request(request).await {
                    Ok(response) => ask.check(response).await.map(Some),
                    Err(mut refused) => match refused.take_message() {
                        Some(_unsent) => Ok(None),
                        // Its reason is below it.
                        None => Err(format!("{:?}", refused.into_error())),
                    },
                }
            });
            let answer = answer
                .await
                .unwrap_or_else(|_| Err(format!("no answer in {REQUEST_TIMEOUT:?}")));
            let Some(answer) = answer.transpose() else {
                return;
            };
            self.note(&ask, sent, answer);
            sleep(self.plan.pause).await;
        }
    }

    /// Counts; `false` when the connection cannot be used any more.
    fn note(&self, ask: &Ask, sent: Instant, answer: Result<Who, String>) -> bool {
        match answer {
            Ok(who) => {
                let small = (*ask == Ask::Small).then(|| (sent, sent.elapsed()));
                self.tally.succeed(&who.color, &who.release, small);
                true
            }
            Err(error) => {
                self.tally.fail(format!("{ask:?}: {error}"));
                false
            }
        }
    }

    /// One event stream, opened again when it ends.
    async fn run_events(self) {
        while !self.stopped() {
            match self.read_events().await {
                Ok(()) => self.tally.with(|report| report.streams_ended += 1),
                Err(error) => self.tally.with(|report| {
                    report.streams_broken += 1;
                    if report.errors.len() < 20 {
                        report.errors.push(format!("event stream: {error}"));
                    }
                }),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn read_events(&self) -> Result<(), String> {
        let mut sender = self
            .connect_http1()
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let request = request(
            &self.plan,
            Version::HTTP_11,
            "GET",
            "/sse?every_ms=100",
            Bytes::new(),
        );
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("status {}", response.status()));
        }
        self.tally.with(|report| report.streams_open += 1);
        let result = self.read_open_stream(response.into_body()).await;
        self.tally.with(|report| report.streams_open -= 1);
        result
    }

    async fn read_open_stream(&self, mut body: Incoming) -> Result<(), String> {
        while !self.stopped() {
            // A look at `stopped` now and then, even on a silent stream.
            let Ok(frame) = timeout(Duration::from_millis(500), body.frame()).await else {
                continue;
            };
            match frame {
                Some(Ok(frame)) => {
                    let events = frame
                        .data_ref()
                        .map_or(0, |data| data.windows(2).filter(|w| *w == b"\n\n").count());
                    self.tally
                        .with(|report| report.stream_events += events as u64);
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

/// Which request.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ask {
    Small,
    Slow,
    Up(u64),
    Down(u64),
}

#[derive(Debug)]
struct Who {
    color: String,
    release: String,
}

impl Ask {
    fn of(plan: &Plan, count: u64) -> Ask {
        let mix = plan.mix;
        if mix.slow_every > 0 && count.is_multiple_of(mix.slow_every) {
            Ask::Slow
        } else if mix.big_every > 0 && count.is_multiple_of(mix.big_every) {
            if (count / mix.big_every).is_multiple_of(2) {
                Ask::Up(mix.big_bytes)
            } else {
                Ask::Down(mix.big_bytes)
            }
        } else {
            Ask::Small
        }
    }

    fn request(&self, plan: &Plan, version: Version) -> Request<Full<Bytes>> {
        match self {
            Ask::Small => request(plan, version, "GET", "/", Bytes::new()),
            Ask::Slow => request(plan, version, "GET", "/slow?ms=2000", Bytes::new()),
            Ask::Up(bytes) => request(
                plan,
                version,
                "POST",
                "/upload",
                Bytes::from(vec![7_u8; *bytes as usize]),
            ),
            Ask::Down(bytes) => request(
                plan,
                version,
                "GET",
                &format!("/bytes?n={bytes}"),
                Bytes::new(),
            ),
        }
    }

    /// Reads the whole answer and checks each byte that can be known.
    async fn check(&self, response: Response<Incoming>) -> Result<Who, String> {
        let status = response.status();
        let field = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let who = Who {
            color: field("x-color"),
            release: field("x-release"),
        };
        let mut body = response.into_body();
        let (mut length, mut head) = (0_u64, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("body broke off at {length}: {error}"))?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            if let Ask::Down(_) = self {
                let wrong = data
                    .iter()
                    .zip(length..)
                    .position(|(byte, at)| u64::from(*byte) != at % 251);
                if let Some(at) = wrong {
                    return Err(format!("wrong byte at {}", length + at as u64));
                }
            } else if head.len() < 4096 {
                head.extend_from_slice(data);
            }
            length += data.len() as u64;
        }
        if !status.is_success() {
            return Err(format!(
                "status {status}: {}",
                String::from_utf8_lossy(&head[..head.len().min(200)])
            ));
        }
        match self {
            Ask::Down(bytes) if length != *bytes => Err(format!("{length} bytes came of {bytes}")),
            Ask::Up(bytes) if head != format!("{bytes} {}\n", bytes * 7).into_bytes() => {
                Err(format!(
                    "the app saw {:?} of {bytes} bytes",
                    String::from_utf8_lossy(&head)
                ))
            }
            _ => Ok(who),
        }
    }
}

async fn connect_to(plan: &Plan, protocol: &[u8]) -> io::Result<Box<dyn wire::Io>> {
    wire::connect(plan.address, &plan.host, plan.tls.as_deref(), protocol).await
}

fn request(
    plan: &Plan,
    version: Version,
    method: &str,
    path: &str,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).version(version);
    if version == Version::HTTP_2 {
        let scheme = if plan.tls.is_some() { "https" } else { "http" };
        builder = builder.uri(format!("{scheme}://{}{path}", plan.host));
    } else {
        builder = builder
            .uri(path.parse::<Uri>().unwrap_or_default())
            .header("host", &plan.host);
    }
    // Method, path and host are ours: building them cannot fail but for a host that no test gives.
    builder.body(Full::new(body)).unwrap_or_default()
}
