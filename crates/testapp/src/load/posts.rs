//! Posts that cause events, and a list of every event that was accepted: each of them is owed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use super::wire;
use crate::dice::Dice;

/// An answer that takes longer has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What is posted, to whom, how often.
#[derive(Debug, Clone)]
pub struct PostPlan {
    pub address: SocketAddr,
    pub host: String,
    /// PEM of the certificate authority; None: plain.
    pub tls: Option<String>,
    /// One is picked at random for each event.
    pub users: Vec<String>,
    /// One is picked at random for each event.
    pub kinds: Vec<Kind>,
    /// Keep-alive HTTP/1.1 connections, one post after the other on each.
    pub connections: usize,
    /// Between two posts of one connection.
    pub pause: Duration,
}

/// How an event is caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `POST /emit/{user}`: accepted at once, emitted later.
    Emit,
    /// The same with `wait=1`: the answer comes after the event.
    EmitAndWait,
    /// `POST /orders`: through the color's Redis stream.
    Order,
}

/// What was answered.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// Token → user and kind, of everything that was answered with 202.
    pub owed: BTreeMap<String, (String, Kind)>,
    /// Everything that was not.
    pub failed: Vec<String>,
}

/// Posts until it is stopped.
#[derive(Debug)]
pub struct Posts {
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
    thread: Option<JoinHandle<()>>,
}

impl Posts {
    #[must_use]
    pub fn start(plan: PostPlan) -> Posts {
        let stop = Arc::new(AtomicBool::new(false));
        let accepted = Arc::new(Mutex::new(Accepted::default()));
        let poster = Poster {
            plan: Arc::new(plan),
            stop: Arc::clone(&stop),
            accepted: Arc::clone(&accepted),
            dice: Arc::new(Dice::new()),
            next: Arc::new(AtomicU64::new(0)),
        };
        let thread = Some(std::thread::spawn(move || poster.run()));
        Posts {
            stop,
            accepted,
            thread,
        }
    }

    #[must_use]
    pub fn accepted(&self) -> Accepted {
        let accepted = self.accepted.lock();
        accepted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every post end, then stops.
    ///
    /// # Panics
    /// When a poster did.
    pub fn stop(mut self) -> Accepted {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "a poster panicked");
        }
        self.accepted()
    }
}

impl Drop for Posts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

#[derive(Clone)]
struct Poster {
    plan: Arc<PostPlan>,
    stop: Arc<AtomicBool>,
    accepted: Arc<Mutex<Accepted>>,
    dice: Arc<Dice>,
    next: Arc<AtomicU64>,
}

impl Poster {
    fn run(self) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => tokio::task::LocalSet::new().block_on(&runtime, async {
                let mut tasks = tokio::task::JoinSet::new();
                for _ in 0..self.plan.connections {
                    tasks.spawn_local(self.clone().post_on());
                }
                while let Some(ended) = tasks.join_next().await {
                    if let Err(error) = ended {
                        self.note(|accepted| accepted.failed.push(format!("panic: {error}")));
                    }
                }
            }),
            Err(error) => self.note(|accepted| accepted.failed.push(error.to_string())),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Accepted)) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut accepted);
    }

    async fn post_on(self) {
        let mut sender = None;
        while !self.stop.load(Ordering::Acquire) {
            let user = self.dice.pick(&self.plan.users).cloned();
            let kind = self.dice.pick(&self.plan.kinds).copied();
            let (Some(user), Some(kind)) = (user, kind) else {
                return;
            };
            let token = format!("t{}", self.next.fetch_add(1, Ordering::Relaxed));
            let posted = self.post(&mut sender, &user, kind, &token);
            match timeout(REQUEST_TIMEOUT, posted).await {
                Ok(Ok(())) => self.note(|accepted| {
                    accepted.owed.insert(token, (user, kind));
                }),
                Ok(Err(error)) => {
                    self.note(|accepted| accepted.failed.push(format!("{token}: {error}")));
                    sender = None;
                }
                Err(_) => {
                    self.note(|accepted| accepted.failed.push(format!("{token}: no answer")));
                    sender = None;
                }
            }
            sleep(self.plan.pause).await;
        }
    }

    async fn post(
        &self,
        kept: &mut Option<http1::SendRequest<Empty<Bytes>>>,
        user: &str,
        kind: Kind,
        token: &str,
    ) -> Result<(), String> {
        let path = match kind {
            Kind::Emit => format!("/emit/{user}?token={token}"),
            Kind::EmitAndWait => format!("/emit/{user}?token={token}&wait=1"),
            Kind::Order => format!("/orders?user={user}&token={token}"),
        };
        let mut sender = match kept.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        if sender.ready().await.is_err() {
            sender = self.connect().await?;
        }
        let request = Request::post(path)
            .header("host", &self.plan.host)
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        if status != StatusCode::ACCEPTED || body != token.as_bytes() {
            let body = String::from_utf8_lossy(&body);
            return Err(format!("status {status}: {body}"));
        }
        *kept = Some(sender);
        Ok(())
    }

    async fn connect(&self) -> Result<http1::SendRequest<Empty<Bytes>>, String> {
        let plan = &self.plan;
        let io = wire::connect(plan.address, &plan.host, plan.tls.as_deref(), b"http/1.1")
            .await
            .map_err(|error| format!("connect: {error}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|error| error.to_string())?;
        tokio::task::spawn_local(connection);
        Ok(sender)
    }
}
