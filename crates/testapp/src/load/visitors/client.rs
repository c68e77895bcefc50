//! One visitor: its connection, its requests, its jar.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use super::super::wire;
use super::jar::Jar;
use super::visits::Ending;
use super::{Shared, Visitor};

/// An answer that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// After a failure: a server that is down is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(20);
/// So much of an answer of Baton's own is kept.
const SHOWN: usize = 200;

/// Panics where it cannot run: the one who waits for it says so.
pub(super) fn run_thread(shared: &Arc<Shared>, thread: usize, threads: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => panic!("no runtime for visitors: {error}"),
    };
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut tasks = tokio::task::JoinSet::new();
        for visitor in shared.plan.visitors.iter().skip(thread).step_by(threads) {
            let client = Client {
                shared: Arc::clone(shared),
                visitor: visitor.clone(),
                jar: Jar::new(shared.plan.tls.is_some()),
                kept: None,
            };
            tasks.spawn_local(client.visit());
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                panic!("a visitor: {error}");
            }
        }
    });
}

struct Client {
    shared: Arc<Shared>,
    visitor: Visitor,
    jar: Jar,
    /// The connection between two requests.
    kept: Option<Connection>,
}

enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Client {
    async fn visit(mut self) {
        let requests = match self.shared.plan.requests_each {
            0 => u64::MAX,
            requests => requests,
        };
        for _ in 0..requests {
            if self.shared.stopped() {
                return;
            }
            let failed = self.visit_once().await;
            sleep(self.shared.plan.pause).await;
            if failed {
                sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// One request, counted; whether it got no whole answer.
    async fn visit_once(&mut self) -> bool {
        let sent = Instant::now();
        let ending = match timeout(REQUEST_TIMEOUT, self.ask()).await {
            Ok(Ok((fields, status, body))) => {
                self.shared.phases.record(sent, sent.elapsed());
                self.take_cookies(&fields);
                ending(&fields, status, &body)
            }
            Ok(Err(error)) => Ending::Transport(error),
            Err(_) => Ending::Transport(format!("no answer in {REQUEST_TIMEOUT:?}")),
        };
        let failed = matches!(ending, Ending::Transport(_));
        let (at, name) = (self.shared.begun.elapsed(), &self.visitor.name);
        self.shared.with(|visits| visits.note(name, at, ending));
        failed
    }

    fn take_cookies(&mut self, fields: &HeaderMap) {
        if self.visitor.cookies && self.jar.store(fields) {
            let name = self.visitor.name.clone();
            self.shared.with(|visits| {
                let trail = visits.trails.entry(name).or_default();
                trail.cookies_set += 1;
                trail.cookies.clone_from(self.jar.cookies());
            });
        }
    }

    /// The whole answer. The connection is kept only when there was one.
    async fn ask(&mut self) -> Result<(HeaderMap, u16, Bytes), String> {
        let mut connection = match self.take_kept().await {
            Some(connection) => connection,
            None => self
                .connect()
                .await
                .map_err(|error| format!("connect: {error}"))?,
        };
        let response = connection.send(self.request()?).await;
        let response = response.map_err(|error| format!("request: {error}"))?;
        let status = response.status().as_u16();
        let (head, body) = response.into_parts();
        let body = body.collect().await;
        let body = body.map_err(|error| format!("status {status}, body: {error}"))?;
        if !self.shared.plan.fresh {
            self.kept = Some(connection);
        }
        Ok((head.headers, status, body.to_bytes()))
    }

    async fn take_kept(&mut self) -> Option<Connection> {
        let mut kept = self.kept.take()?;
        if kept.ready().await {
            return Some(kept);
        }
        self.shared.with(|visits| visits.closed_connections += 1);
        None
    }

    async fn connect(&self) -> io::Result<Connection> {
        let plan = &self.shared.plan;
        let protocol: &[u8] = if self.visitor.http2 {
            b"h2"
        } else {
            b"http/1.1"
        };
        let (address, host, tls) = (plan.address, plan.host.as_str(), plan.tls.as_deref());
        let io = match self.visitor.from {
            Some(from) => wire::connect_from(from, address, host, tls, protocol).await?,
            None => wire::connect(address, host, tls, protocol).await?,
        };
        let io = TokioIo::new(io);
        if self.visitor.http2 {
            let made = http2::handshake(crate::app::threads(), io).await;
            let (sender, connection) = made.map_err(io::Error::other)?;
            tokio::task::spawn_local(connection);
            Ok(Connection::Http2(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
            tokio::task::spawn_local(connection);
            Ok(Connection::Http1(sender))
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, String> {
        let plan = &self.shared.plan;
        let mut builder = if self.visitor.http2 {
            let scheme = if plan.tls.is_some() { "https" } else { "http" };
            Request::get(format!("{scheme}://{}{}", plan.host, plan.path)).version(Version::HTTP_2)
        } else {
            Request::get(&plan.path).header("host", &plan.host)
        };
        for (name, value) in &self.visitor.fields {
            builder = builder.header(name, value);
        }
        if let Some(cookies) = self.jar.field() {
            builder = builder.header("cookie", cookies);
        }
        builder
            .body(Empty::new())
            .map_err(|error| error.to_string())
    }
}

impl Connection {
    /// Whether it can be used again.
    async fn ready(&mut self) -> bool {
        match self {
            Connection::Http1(sender) => sender.ready().await.is_ok(),
            Connection::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Connection::Http1(sender) => sender.send_request(request).await,
            Connection::Http2(sender) => sender.send_request(request).await,
        }
    }
}

/// Who gave a whole answer.
fn ending(fields: &HeaderMap, status: u16, body: &[u8]) -> Ending {
    let text = |name: &str| {
        let value = fields.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned)
    };
    match text("x-release") {
        Some(release) => Ending::Release {
            release,
            color: text("x-color").unwrap_or_default(),
            instance: text("x-instance").unwrap_or_default(),
            status,
        },
        None => Ending::Baton {
            status,
            says: String::from_utf8_lossy(&body[..body.len().min(SHOWN)])
                .trim()
                .to_owned(),
        },
    }
}
