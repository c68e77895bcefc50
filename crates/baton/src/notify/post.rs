//! One POST over HTTP or HTTPS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

/// From looking up the name to the head of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why it was not taken. The texts name no address: it is a secret.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("its address is no http:// or https:// one")]
    Address,
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("cannot connect: {0}")]
    Connect(std::io::ErrorKind),
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("it answered {0}")]
    Status(StatusCode, Option<Duration>),
}

impl NotTaken {
    /// Whether another try could end otherwise.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            NotTaken::Address => false,
            NotTaken::Status(status, _) => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    )
            }
            _ => true,
        }
    }

    /// How long it has asked to be left alone.
    #[must_use]
    pub fn asks_to_wait(&self) -> Option<Duration> {
        match self {
            NotTaken::Status(_, wait) => *wait,
            _ => None,
        }
    }
}

/// Posts; remembers what this machine trusts. The machine's certificate authorities are read once.
#[derive(Debug, Clone, Default)]
pub struct Poster(Arc<OnceCell<Arc<rustls::ClientConfig>>>);

impl Poster {
    /// # Errors
    /// It did not come to an answer of 2xx.
    pub async fn post(
        &self,
        url: &str,
        fields: &[(&'static str, String)],
        body: String,
    ) -> Result<(), NotTaken> {
        tokio::time::timeout(PATIENCE, self.try_post(url, fields, body))
            .await
            .unwrap_or(Err(NotTaken::Late))
    }

    async fn try_post(
        &self,
        url: &str,
        fields: &[(&'static str, String)],
        body: String,
    ) -> Result<(), NotTaken> {
        let uri: Uri = url.parse().map_err(|_| NotTaken::Address)?;
        let host = uri.host().ok_or(NotTaken::Address)?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(NotTaken::Address),
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((bare, port))
            .await
            .map_err(|error| NotTaken::Connect(error.kind()))?;
        let request = request(&uri, fields, body)?;
        if secure {
            let tls = self.0.get_or_try_init(trusting).await?;
            let name = ServerName::try_from(bare.to_owned()).map_err(|_| NotTaken::Address)?;
            let stream = TlsConnector::from(Arc::clone(tls))
                .connect(name, stream)
                .await;
            let stream = stream.map_err(|error| NotTaken::Tls(error.to_string()))?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        }
    }
}

fn request(
    uri: &Uri,
    fields: &[(&'static str, String)],
    body: String,
) -> Result<Request<Full<Bytes>>, NotTaken> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().ok_or(NotTaken::Address)?;
    let mut request = Request::post(target)
        .header(HOST, authority.as_str())
        .header(USER_AGENT, concat!("baton/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json");
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    request
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| NotTaken::Address)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), NotTaken> {
    let broken = |error: hyper::Error| NotTaken::Broken(error.to_string());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    // Ends with the sender, which this function drops.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(broken)?;
    if answer.status().is_success() {
        return Ok(());
    }
    let wait = answer.headers().get(RETRY_AFTER);
    let wait = wait.and_then(|value| value.to_str().ok()?.trim().parse::<f64>().ok());
    let wait = wait.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Err(NotTaken::Status(answer.status(), wait))
}

async fn trusting() -> Result<Arc<rustls::ClientConfig>, NotTaken> {
    let read = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs);
    let found = read
        .await
        .map_err(|error| NotTaken::Tls(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(NotTaken::Tls(
            "this machine trusts no certificate authority; install `ca-certificates`".to_owned(),
        ));
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .map_err(|error| NotTaken::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
