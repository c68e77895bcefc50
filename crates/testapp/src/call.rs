//! Calls another service by its name without pause, as a plain service of the same compose file does.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

/// One call may take so long, connecting included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// One address may take so long to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What `GET /calls` answers.
#[derive(Debug, Default, Serialize)]
struct Tally {
    calls: u64,
    failed: u64,
    by_color: BTreeMap<String, u64>,
    by_release: BTreeMap<String, u64>,
    /// The first twenty.
    errors: Vec<String>,
}

/// Calls `url` for ever, on fresh connections and on a kept one by turns, and answers `GET /calls` on
/// `PORT` (8080) with the tally, until SIGTERM.
///
/// # Errors
/// The URL cannot be read or the port cannot be bound.
pub async fn run(url: &str) -> io::Result<()> {
    let uri = parse(url)?;
    let tally = Rc::new(RefCell::new(Tally::default()));
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tokio::select! {
                () = answer_tally(&listener, &tally) => {}
                () = call_fresh(&uri, &tally) => {}
                () = call_kept(&uri, &tally) => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(())
}

/// One GET; an answer of 200–399 is healthy.
///
/// # Errors
/// Nobody answers, or with another status.
pub async fn healthcheck(url: &str) -> io::Result<()> {
    let uri = parse(url)?;
    let call = async {
        let mut sender = connect(&uri).await?;
        let response = sender
            .send_request(request(&uri))
            .await
            .map_err(io::Error::other)?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(io::Error::other(format!("{url} answered {status}")))
        }
    };
    timeout(CALL_TIMEOUT, call).await?
}

fn parse(url: &str) -> io::Result<Uri> {
    url.parse()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{url}: {error}")))
}

async fn call_fresh(uri: &Uri, tally: &RefCell<Tally>) {
    loop {
        let call = async {
            let mut sender = connect(uri).await?;
            read(
                sender
                    .send_request(request(uri))
                    .await
                    .map_err(io::Error::other)?,
            )
            .await
        };
        note(tally, "fresh", timeout(CALL_TIMEOUT, call).await);
        sleep(Duration::from_millis(5)).await;
    }
}

async fn call_kept(uri: &Uri, tally: &RefCell<Tally>) {
    let mut kept: Option<SendRequest<Empty<Bytes>>> = None;
    loop {
        let call = async {
            // What the server closed while nothing was asked is no failure.
            let mut sender = match ready(kept.take()).await {
                Some(sender) => sender,
                None => connect(uri).await?,
            };
            let response = match sender.send_request(request(uri)).await {
                Ok(response) => response,
                // A GET on a kept connection that closed under it is sent again, as clients do.
                Err(error)
                    if error.is_canceled()
                        || error.is_closed()
                        || error.is_incomplete_message() =>
                {
                    sender = connect(uri).await?;
                    sender
                        .send_request(request(uri))
                        .await
                        .map_err(io::Error::other)?
                }
                Err(error) => return Err(io::Error::other(error)),
            };
            let who = read(response).await?;
            kept = Some(sender);
            Ok(who)
        };
        let outcome = timeout(CALL_TIMEOUT, call).await;
        note(tally, "kept", outcome);
        sleep(Duration::from_millis(5)).await;
    }
}

async fn ready(kept: Option<SendRequest<Empty<Bytes>>>) -> Option<SendRequest<Empty<Bytes>>> {
    let mut sender = kept?;
    sender.ready().await.ok().map(|()| sender)
}

fn note(
    tally: &RefCell<Tally>,
    how: &str,
    outcome: Result<io::Result<Who>, tokio::time::error::Elapsed>,
) {
    let mut tally = tally.borrow_mut();
    tally.calls += 1;
    match outcome {
        Ok(Ok(who)) => {
            *tally.by_color.entry(who.color).or_default() += 1;
            *tally.by_release.entry(who.release).or_default() += 1;
        }
        Ok(Err(error)) => fail(&mut tally, format!("{how}: {error}")),
        Err(_) => fail(&mut tally, format!("{how}: no answer in {CALL_TIMEOUT:?}")),
    }
}

fn fail(tally: &mut Tally, error: String) {
    tally.failed += 1;
    if tally.errors.len() < 20 {
        tally.errors.push(error);
    }
}

#[derive(Debug)]
struct Who {
    color: String,
    release: String,
}

async fn read(response: Response<Incoming>) -> io::Result<Who> {
    if !response.status().is_success() {
        return Err(io::Error::other(format!("status {}", response.status())));
    }
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
    response
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?;
    Ok(who)
}

/// Resolves anew and tries each address in turn, as the C library's clients do.
async fn connect(uri: &Uri) -> io::Result<SendRequest<Empty<Bytes>>> {
    let host = uri.host().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(80);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(io::Error::other)?;
                tokio::spawn(connection);
                return Ok(sender);
            }
            Ok(Err(error)) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            Err(elapsed) => {
                last = io::Error::new(io::ErrorKind::TimedOut, format!("{address}: {elapsed}"))
            }
        }
    }
    Err(last)
}

fn request(uri: &Uri) -> Request<Empty<Bytes>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = path.parse().unwrap_or_default();
    let host = uri
        .authority()
        .map(|authority| authority.as_str())
        .unwrap_or_default();
    if let Ok(host) = host.parse() {
        request.headers_mut().insert("host", host);
    }
    request
}

async fn answer_tally(listener: &TcpListener, tally: &Rc<RefCell<Tally>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let tally = Rc::clone(tally);
        let service = service_fn(move |_request: Request<Incoming>| {
            let json = serde_json::to_vec(&*tally.borrow()).unwrap_or_default();
            async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(json)))) }
        });
        tokio::task::spawn_local(async move {
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
