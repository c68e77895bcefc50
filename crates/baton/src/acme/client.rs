//! HTTPS to the authority: a connection for each request. There are a dozen of them for a certificate.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::CliError;

/// One request and its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer: a chain is some kilobytes.
const LARGEST: usize = 1024 * 1024;

/// Asks servers that are certified by one of its roots.
#[derive(Debug, Clone)]
pub(super) struct Https(Arc<ClientConfig>);

impl Https {
    /// `ca`: a PEM file with the roots, instead of the machine's.
    ///
    /// # Errors
    /// There is no root to trust.
    pub(super) fn new(ca: Option<&std::path::Path>) -> Result<Https, CliError> {
        let mut roots = RootCertStore::empty();
        match ca {
            Some(path) => {
                let refuse = |reason: String| {
                    CliError::Usage(format!("--acme-ca {}: {reason}", path.display()))
                };
                let certificates = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| refuse(error.to_string()))?;
                roots.add_parsable_certificates(certificates);
                if roots.is_empty() {
                    return Err(refuse("it holds no certificate in PEM form".to_owned()));
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
                if roots.is_empty() {
                    return Err(CliError::Other(
                        "this machine has no certificates of authorities to trust (Debian: the package ca-certificates); without them no certificate can be got".to_owned(),
                    ));
                }
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CliError::other("TLS", error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Https(Arc::new(config)))
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let config = Arc::clone(&self.0);
        Box::pin(async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let late = || format!("no answer within {} s", PATIENCE.as_secs());
            let asked = tokio::time::timeout(PATIENCE, ask(config, request)).await;
            let answer = asked.unwrap_or_else(|_| Err(late()));
            answer.map_err(|reason| Error::Other(format!("{host}: {reason}").into()))
        })
    }
}

async fn ask(
    config: Arc<ClientConfig>,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, String> {
    let uri = request.uri();
    let host = uri.host().ok_or("the address has no host")?;
    let bare = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let tcp = TcpStream::connect((bare.as_str(), uri.port_u16().unwrap_or(443))).await;
    let tcp = tcp.map_err(|error| format!("cannot connect: {error}"))?;
    let name = ServerName::try_from(bare).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(config).connect(name, tcp).await;
    let stream = stream.map_err(|error| format!("TLS: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // Ends with the answer, or with the sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!("a connection to the authority broke: {error}");
        }
    });
    let answer = sender.send_request(in_origin_form(request)?).await;
    let (parts, body) = answer.map_err(|error| error.to_string())?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok(http::Response::from_parts(parts, Full::new(body)).into())
}

/// As HTTP/1.1 wants it (RFC 9112 §3.2.1).
fn in_origin_form(
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Request<BodyWrapper<Bytes>>, String> {
    let uri = request.uri().clone();
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let host = HeaderValue::from_str(authority.unwrap_or_default()).map_err(|e| e.to_string())?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse::<Uri>().map_err(|e| e.to_string())?;
    request.headers_mut().insert(http::header::HOST, host);
    Ok(request)
}
