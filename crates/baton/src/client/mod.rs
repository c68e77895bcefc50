//! The command line's side of the API: HTTP/1.1, JSON, and JSON lines, over the control socket or, with
//! `BATON_HOST`, to another machine ([`place`]).

pub mod place;

use std::path::PathBuf;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::place::Place;

use crate::error::CliError;
use crate::wire::{DEPLOY_HEADER, ErrorBody};

/// What is sent.
pub type Outgoing = BoxBody<Bytes, std::io::Error>;

/// Speaks to one daemon; each call is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    place: Place,
}

impl Client {
    /// Nothing is connected before the first call.
    #[must_use]
    pub fn new(socket: PathBuf) -> Client {
        Client::at(Place::Socket(socket))
    }

    /// The same of any place.
    #[must_use]
    pub fn at(place: Place) -> Client {
        Client { place }
    }

    /// The daemon is on another machine, or is spoken to as if it were.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        !matches!(self.place, Place::Socket(_))
    }

    /// Where the daemon is, for a person.
    #[must_use]
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// One JSON answer.
    ///
    /// # Errors
    /// No daemon, its refusal, or an answer that is no such JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.call(Method::GET, path, &()).await
    }

    /// Sends a JSON body, reads one JSON answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, CliError> {
        let response = self.send(method, path, body).await?;
        let bytes = self.collect(response.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.strange(path, &error))
    }

    /// Sends a JSON body, reads JSON lines as they come.
    ///
    /// # Errors
    /// No daemon, or its refusal before the first line.
    pub async fn lines(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<Lines, CliError> {
        let response = self.send(method, path, body).await?;
        let deploy = response
            .headers()
            .get(DEPLOY_HEADER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Lines {
            deploy,
            place: self.place(),
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    /// Sends bytes as they come, reads one JSON answer.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        media_type: &str,
        body: Outgoing,
    ) -> Result<T, CliError> {
        let response = self.exchange(Method::POST, path, media_type, body).await?;
        let bytes = self.collect(response.into_body()).await?;
        serde_json::from_slice(&bytes).map_err(|error| self.strange(path, &error))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<http::Response<Incoming>, CliError> {
        let body = if method == Method::GET {
            Vec::new()
        } else {
            serde_json::to_vec(body).map_err(|error| CliError::other(path, error))?
        };
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        self.exchange(method, path, "application/json", body.boxed())
            .await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Outgoing,
    ) -> Result<http::Response<Incoming>, CliError> {
        let stream = self.place.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.lost(&error))?;
        // Ends with the response body, or when the daemon goes away.
        tokio::spawn(connection);

        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, self.place.host())
            .header(http::header::CONTENT_TYPE, media_type);
        if let Some(token) = self.place.authorization() {
            request = request.header(http::header::AUTHORIZATION, token);
        }
        let request = request
            .body(body)
            .map_err(|error| CliError::other(path, error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = self.collect(response.into_body()).await?;
        Err(refusal(status, &bytes))
    }

    async fn collect(&self, body: Incoming) -> Result<Bytes, CliError> {
        match body.collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&self, error: &hyper::Error) -> CliError {
        CliError::Lost {
            place: self.place(),
            reason: error.to_string(),
        }
    }

    /// Command line and daemon speak the same version, but for the moment of an upgrade.
    fn strange(&self, path: &str, error: &serde_json::Error) -> CliError {
        CliError::Other(format!(
            "the daemon's answer to {path} is not understood ({error}); is it of another version than this command ({})?",
            env!("CARGO_PKG_VERSION")
        ))
    }
}

/// What an answer other than 2xx says.
fn refusal(status: StatusCode, body: &[u8]) -> CliError {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => CliError::Daemon {
            message: body.error.message,
            exit_code: body.error.exit_code,
        },
        Err(_) => CliError::Other(format!(
            "the daemon answered {status}: {}",
            String::from_utf8_lossy(body).trim()
        )),
    }
}

/// JSON lines, as the daemon writes them.
#[derive(Debug)]
pub struct Lines {
    /// The deploy that the lines are about, where they are about one.
    pub deploy: Option<i64>,
    place: String,
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line without its end; None after the last one.
    ///
    /// Cancel safe: what has been read stays in the buffer.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn next(&mut self) -> Result<Option<String>, CliError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                if line.is_empty() {
                    continue;
                }
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    return Err(CliError::Lost {
                        place: self.place.clone(),
                        reason: error.to_string(),
                    });
                }
                None => return Ok(None),
            }
        }
    }
}

/// `path?key=value…` from a serializable struct; None values are left out.
#[must_use]
pub fn with_query(path: &str, query: &impl Serialize) -> String {
    let fields = match serde_json::to_value(query) {
        Ok(serde_json::Value::Object(fields)) => fields,
        // A struct of plain fields always becomes an object.
        _ => return path.to_owned(),
    };
    let pairs: Vec<String> = fields
        .into_iter()
        .filter_map(|(key, value)| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(format!("{key}={}", escape(&text))),
            other => Some(format!("{key}={other}")),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

/// Percent-encodes everything but unreserved characters (RFC 3986 §2.3).
#[must_use]
pub fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::EventsQuery;

    #[test]
    fn queries_leave_out_what_was_not_said() {
        let query = EventsQuery {
            app: None,
            tail: 20,
            follow: true,
        };
        assert_eq!(
            with_query("/v1/events", &query),
            "/v1/events?tail=20&follow=true"
        );
        let query = EventsQuery {
            app: Some("a b&c".into()),
            ..query
        };
        assert_eq!(
            with_query("/v1/events", &query),
            "/v1/events?app=a%20b%26c&tail=20&follow=true"
        );
    }

    #[test]
    fn a_refusal_keeps_its_exit_code() {
        let error = refusal(
            StatusCode::CONFLICT,
            br#"{"error":{"message":"another deploy runs","exit_code":5}}"#,
        );
        assert_eq!(error.exit_code(), 5);
        assert_eq!(error.to_string(), "another deploy runs");
        assert_eq!(refusal(StatusCode::NOT_FOUND, b"no").exit_code(), 1);
    }
}
