//! `--dashboard`: the status page and the API over TCP. On the threads of the control plane, never on those
//! of the proxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::error::CliError;

/// For a TLS handshake, and for the head of a request.
const SLOW: Duration = Duration::from_secs(10);
/// Connections at once: a few people and pipelines, never enough to take the files that the proxy needs.
const CONNECTIONS: usize = 256;
/// After an `accept` that failed because the machine has run out of something.
const AGAIN: Duration = Duration::from_millis(200);

/// What `--dashboard…` means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub addresses: Vec<SocketAddr>,
    /// PEM files: a chain, and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Names that the page may be reached by.
    pub names: Vec<String>,
}

impl Settings {
    /// # Errors
    /// A token would cross a network in the clear; one of two files is missing.
    pub fn new(
        addresses: Vec<SocketAddr>,
        files: (Option<PathBuf>, Option<PathBuf>),
        names: Vec<String>,
    ) -> Result<Settings, CliError> {
        let tls = match files {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(CliError::Usage(
                    "--dashboard-cert and --dashboard-key belong together: one is missing".into(),
                ));
            }
        };
        let open = addresses.iter().find(|at| !at.ip().is_loopback());
        if let (None, Some(address)) = (&tls, open) {
            return Err(CliError::Usage(format!(
                "--dashboard {address}: without TLS everybody on the way could read the tokens\n  \
                 give a certificate with --dashboard-cert and --dashboard-key, or listen on 127.0.0.1 and reach it through a tunnel or another server"
            )));
        }
        Ok(Settings {
            addresses,
            tls,
            names,
        })
    }
}

/// Files, and what was read from them last.
#[derive(Debug)]
pub struct Tls {
    chain: PathBuf,
    key: PathBuf,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// # Errors
    /// A file cannot be read, or is no certificate, or no key for it.
    pub fn open(chain: &Path, key: &Path) -> Result<Tls, CliError> {
        Ok(Tls {
            config: RwLock::new(read(chain, key)?),
            chain: chain.to_owned(),
            key: key.to_owned(),
        })
    }

    /// Reads the files again; on an error the old certificate stays.
    pub fn reload(&self) {
        match read(&self.chain, &self.key) {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
            }
            Err(error) => tracing::error!(%error, "the page keeps its certificate"),
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, CliError> {
    let at = |flag: &str, path: &Path, error: &dyn std::fmt::Display| {
        CliError::Usage(format!("--dashboard-{flag} {}: {error}", path.display()))
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| at("cert", chain, &error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| at("key", key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(certificates, private)
        })
        .map_err(|error| at("cert", chain, &error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Answers until the runtime ends, which has to be entered.
pub fn serve(listeners: Vec<TcpListener>, tls: Option<&Arc<Tls>>, router: &Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    for listener in listeners {
        let accepting = accept(listener, tls.cloned(), router.clone(), Arc::clone(&room));
        tokio::spawn(accepting);
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    room: Arc<Semaphore>,
) {
    loop {
        // Closed never: without it nothing would be accepted any more.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the page accepts nobody for a moment");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _permit = permit;
            connection(stream, tls, router).await;
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<Tls>>, router: Router) {
    // An answer is sent at once, however short.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return http(stream, router).await;
    };
    let handshake = TlsAcceptor::from(tls.config()).accept(stream);
    match tokio::time::timeout(SLOW, handshake).await {
        Ok(Ok(stream)) => http(stream, router).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake with the page failed"),
        Err(_) => tracing::debug!("a TLS handshake with the page took too long"),
    }
}

async fn http(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SLOW)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the page broke");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(address: &str, files: (Option<&str>, Option<&str>)) -> Result<Settings, CliError> {
        let files = (files.0.map(PathBuf::from), files.1.map(PathBuf::from));
        Settings::new(vec![address.parse().unwrap()], files, Vec::new())
    }

    #[test]
    fn tokens_cross_no_network_in_the_clear() {
        assert!(settings("127.0.0.1:7070", (None, None)).is_ok());
        assert!(settings("[::1]:7070", (None, None)).is_ok());
        assert!(settings("0.0.0.0:7070", (Some("c"), Some("k"))).is_ok());
        for open in ["0.0.0.0:7070", "[::]:7070", "203.0.113.9:7070"] {
            let refused = settings(open, (None, None)).unwrap_err();
            assert_eq!(refused.exit_code(), 2);
            assert!(refused.to_string().contains("without TLS"), "{refused}");
        }
        let half = settings("127.0.0.1:7070", (Some("c"), None)).unwrap_err();
        assert!(half.to_string().contains("belong together"), "{half}");
    }
}
