//! One request to an instance, for the health check and the warm-up. hyper does the framing.

use std::net::SocketAddr;
use std::time::Duration;

use baton_compose::Policy;
use baton_compose::policy::{Health, Protocol};
use bytes::Bytes;
use http::header::{HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Look;

/// How a refused connection reads in a result.
pub(crate) const REFUSED: &str = "connection refused";

/// So much of a body is shown.
const SHOWN: usize = 200;

/// An answer, as far as a person needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    location: Option<String>,
    /// Its first bytes.
    body: String,
}

impl Answer {
    /// `200 OK`, `302 Found to /login`, `503 Service Unavailable: "starting"`.
    pub(crate) fn describe(&self) -> String {
        match &self.location {
            Some(location) if self.status.is_redirection() => {
                format!("{} to {location}", self.status)
            }
            _ if self.status.is_success() || self.body.trim().is_empty() => self.status.to_string(),
            _ => format!("{}: {:?}", self.status, self.body.trim()),
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Protocol,
    /// Sent with its length; empty: none.
    pub(crate) body: &'static str,
}

/// The health check of the file. Redirects are not followed: they are shown.
pub(super) async fn look(at: SocketAddr, health: &Health, policy: &Policy) -> Look {
    let mut headers = HeaderMap::new();
    for (name, value) in &health.headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            headers.insert(name, value);
        }
    }
    with_host(&mut headers, policy, at);
    let question = Question {
        method: "GET",
        path: &health.path,
        headers,
        protocol: policy.protocol,
        body: "",
    };
    match ask(at, &question, health.timeout).await {
        Ok(answer) => Look {
            healthy: health
                .expect
                .iter()
                .any(|(low, high)| (*low..=*high).contains(&answer.status.as_u16())),
            result: answer.describe(),
        },
        Err(reason) => Look::unhealthy(reason),
    }
}

/// Behind a published port only an answer proves that the app listens; which one does not matter.
pub(super) async fn any_answer(at: SocketAddr) -> Look {
    let question = Question {
        method: "GET",
        path: "/",
        headers: HeaderMap::new(),
        protocol: Protocol::Http1,
        body: "",
    };
    match ask(at, &question, Duration::from_secs(5)).await {
        Ok(answer) => Look::healthy(answer.describe()),
        Err(reason) => Look::unhealthy(reason),
    }
}

/// The app's own first host, so that an app that checks it answers as it would for a client.
pub(crate) fn with_host(headers: &mut HeaderMap, policy: &Policy, at: SocketAddr) {
    if headers.contains_key(HOST) {
        return;
    }
    let host = policy
        .hosts
        .iter()
        .find(|host| !host.contains('*'))
        .cloned()
        .unwrap_or_else(|| at.to_string());
    if let Ok(value) = HeaderValue::from_str(&host) {
        headers.insert(HOST, value);
    }
}

/// Sends one request on a connection of its own.
///
/// # Errors
/// Why there was no answer, in words for a person.
pub(crate) async fn ask(
    at: SocketAddr,
    question: &Question<'_>,
    timeout: Duration,
) -> Result<Answer, String> {
    tokio::time::timeout(timeout, exchange(at, question))
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs_f32())))
}

async fn exchange(at: SocketAddr, question: &Question<'_>) -> Result<Answer, String> {
    let stream = TcpStream::connect(at).await.map_err(|e| explain(&e))?;
    let request = request(at, question)?;
    let broken = |error: hyper::Error| format!("connected, but no answer: {error}");
    let io = TokioIo::new(stream);
    let response = match question.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
                .await
                .map_err(broken)?;
            beside(connection, sender.send_request(request)).await
        }
        Protocol::H2c => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(broken)?;
            beside(connection, sender.send_request(request)).await
        }
    };
    response.map_err(broken)
}

/// Sends one request and hands its answer over with the head; the connection is driven beside the
/// caller, as long as the body is read.
///
/// # Errors
/// Why there was no answer, in words for a person.
pub(crate) async fn open(
    at: SocketAddr,
    question: &Question<'_>,
) -> Result<http::Response<Incoming>, String> {
    let stream = TcpStream::connect(at).await.map_err(|e| explain(&e))?;
    let request = request(at, question)?;
    let broken = |error: hyper::Error| format!("connected, but no answer: {error}");
    let io = TokioIo::new(stream);
    match question.protocol {
        Protocol::Http1 => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
                .await
                .map_err(broken)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(broken)
        }
        Protocol::H2c => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .map_err(broken)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(broken)
        }
    }
}

/// Drives the connection while the answer is read; both end with the caller.
async fn beside(
    connection: impl Future<Output = hyper::Result<()>>,
    response: impl Future<Output = hyper::Result<http::Response<Incoming>>>,
) -> hyper::Result<Answer> {
    let reading = async {
        let response = response.await?;
        let (parts, body) = response.into_parts();
        Ok(Answer {
            status: parts.status,
            location: parts
                .headers
                .get(LOCATION)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body: first_bytes(body).await?,
        })
    };
    tokio::pin!(connection);
    tokio::pin!(reading);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut reading => return answer,
            // Its error comes out of the request, too.
            _ = &mut connection, if open => open = false,
        }
    }
}

async fn first_bytes(mut body: Incoming) -> hyper::Result<String> {
    let mut bytes = Vec::new();
    while bytes.len() < SHOWN {
        match body.frame().await {
            Some(frame) => bytes.extend_from_slice(&frame?.into_data().unwrap_or_default()),
            None => break,
        }
    }
    bytes.truncate(SHOWN);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn request(at: SocketAddr, question: &Question<'_>) -> Result<Request<Full<Bytes>>, String> {
    let bad = |error: http::Error| format!("cannot ask {}: {error}", question.path);
    let method = Method::from_bytes(question.method.as_bytes()).map_err(|e| bad(e.into()))?;
    let mut headers = question.headers.clone();
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static("baton"));
    let host = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .map_or_else(|| at.to_string(), str::to_owned);
    let uri = match question.protocol {
        Protocol::Http1 => {
            if !headers.contains_key(HOST) {
                let value = HeaderValue::from_str(&host).map_err(|e| bad(e.into()))?;
                headers.insert(HOST, value);
            }
            question.path.parse::<Uri>().map_err(|e| bad(e.into()))?
        }
        Protocol::H2c => {
            headers.remove(HOST);
            Uri::builder()
                .scheme("http")
                .authority(host)
                .path_and_query(question.path)
                .build()
                .map_err(bad)?
        }
    };
    let mut request = Request::new(Full::new(Bytes::from_static(question.body.as_bytes())));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// An IO error in the words of the probe history.
pub(crate) fn explain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => REFUSED.to_owned(),
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            "no route to it".to_owned()
        }
        _ => error.to_string(),
    }
}
