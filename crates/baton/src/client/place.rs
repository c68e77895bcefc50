//! Where the daemon is: behind a socket of this machine, or, with `BATON_HOST` and `BATON_TOKEN`, behind
//! an address of another one.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::error::CliError;

/// Until an address answers and its certificate is checked.
const CONNECT: Duration = Duration::from_secs(10);
/// Of `--dashboard`, where `BATON_HOST` names no port.
const PORT: u16 = 7070;

/// A connection of either kind.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

#[derive(Debug, Clone)]
pub enum Place {
    /// The control socket.
    Socket(PathBuf),
    Remote(Remote),
    /// `BATON_HOST` cannot be used, and why: said at the first call.
    Wrong(String),
}

/// Another machine's `--dashboard`.
#[derive(Clone)]
pub struct Remote {
    authority: Authority,
    port: u16,
    tls: bool,
    authorization: HeaderValue,
    /// PEM file of certificate authorities, in place of the machine's own.
    trusted: Option<PathBuf>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.authority)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Socket(path) => path.display().fmt(f),
            Place::Remote(remote) => remote.authority.fmt(f),
            Place::Wrong(_) => f.write_str("BATON_HOST"),
        }
    }
}

impl Place {
    /// What the environment names; None without `BATON_HOST`.
    #[must_use]
    pub fn from_environment() -> Option<Place> {
        let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
        let host = variable("BATON_HOST")?;
        let token = variable("BATON_TOKEN");
        let trusted = variable("BATON_CA").map(PathBuf::from);
        Some(match Remote::new(&host, token.as_deref(), trusted) {
            Ok(remote) => Place::Remote(remote),
            Err(reason) => Place::Wrong(reason),
        })
    }

    /// Value of the `Host` field.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Place::Remote(remote) => remote.authority.as_str(),
            _ => "baton",
        }
    }

    /// Value of the `Authorization` field.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        match self {
            Place::Remote(remote) => Some(remote.authorization.clone()),
            _ => None,
        }
    }

    /// # Errors
    /// Nobody listens there; a certificate that is not trusted; a setting that cannot be used.
    pub async fn connect(&self) -> Result<Box<dyn Io>, CliError> {
        match self {
            Place::Socket(path) => {
                let stream =
                    UnixStream::connect(path)
                        .await
                        .map_err(|error| CliError::NoDaemon {
                            socket: path.clone(),
                            reason: error.kind(),
                        })?;
                Ok(Box::new(stream))
            }
            Place::Remote(remote) => match tokio::time::timeout(CONNECT, remote.connect()).await {
                Ok(connected) => connected,
                Err(_) => Err(remote.unreachable("no answer in time")),
            },
            Place::Wrong(reason) => Err(CliError::Usage(reason.clone())),
        }
    }
}

impl Remote {
    fn new(host: &str, token: Option<&str>, trusted: Option<PathBuf>) -> Result<Remote, String> {
        let expected = || {
            format!(
                "BATON_HOST: expected an address such as https://baton.example.com:{PORT}, found {host:?}"
            )
        };
        let uri: Uri = host.parse().map_err(|_| expected())?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?.clone();
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() || host.contains('@') {
            return Err(expected());
        }
        if !tls && !is_loopback(authority.host()) {
            return Err(format!(
                "BATON_HOST {host}: over plain http everybody on the way could read the token\n  \
                 say https://, or go through a tunnel (`ssh -L {PORT}:127.0.0.1:{PORT} server`) to http://127.0.0.1:{PORT}"
            ));
        }
        let token = token.ok_or_else(|| {
            "BATON_HOST is set and BATON_TOKEN is not\n  \
             make a token on the server with `baton token create --scope deploy`, and set BATON_TOKEN to it"
                .to_owned()
        })?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| "BATON_TOKEN holds something that is no token".to_owned())?;
        authorization.set_sensitive(true);
        let port = authority.port_u16().unwrap_or(PORT);
        let authority = match authority.port_u16() {
            Some(_) => authority,
            None => format!("{authority}:{port}")
                .parse()
                .map_err(|_| expected())?,
        };
        Ok(Remote {
            port,
            authority,
            tls,
            authorization,
            trusted,
        })
    }

    fn unreachable(&self, reason: impl fmt::Display) -> CliError {
        CliError::Unreachable {
            place: self.authority.to_string(),
            reason: reason.to_string(),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, CliError> {
        let host = bare(self.authority.host());
        let stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|error| self.unreachable(error))?;
        // A small question should not wait for more to send.
        let _ = stream.set_nodelay(true);
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| self.unreachable(error))?;
        let connector = TlsConnector::from(self.client_config()?);
        let stream = connector.connect(name, stream).await.map_err(|error| {
            self.unreachable(format!(
                "{error}\n  \
                 with a certificate authority of your own, name its PEM file in BATON_CA"
            ))
        })?;
        Ok(Box::new(stream))
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, CliError> {
        let mut roots = RootCertStore::empty();
        match &self.trusted {
            Some(file) => {
                let wrong = |error: &dyn fmt::Display| {
                    CliError::Usage(format!("BATON_CA {}: {error}", file.display()))
                };
                for certificate in
                    CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?
                {
                    let certificate = certificate.map_err(|error| wrong(&error))?;
                    roots.add(certificate).map_err(|error| wrong(&error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| CliError::other("TLS", error))?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// `[::1]` without its brackets.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn is_loopback(host: &str) -> bool {
    let host = bare(host);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(host: &str) -> String {
        Remote::new(host, Some("baton_x"), None).unwrap_err()
    }

    #[test]
    fn an_address_has_a_port_and_never_a_token_in_the_clear() {
        let remote = Remote::new("https://baton.example.com", Some("baton_x"), None).unwrap();
        assert_eq!(remote.authority.as_str(), "baton.example.com:7070");
        assert!(remote.tls);
        let tunnel = Remote::new("http://[::1]:7071/", Some("baton_x"), None).unwrap();
        assert_eq!((bare(tunnel.authority.host()), tunnel.port), ("::1", 7071));
        assert!(refusal("http://baton.example.com:7070").contains("could read the token"));
        for wrong in [
            "baton.example.com",
            "ftp://x",
            "https://x/v1",
            "https://u:p@x",
        ] {
            assert!(refusal(wrong).contains("expected an address"), "{wrong}");
        }
        let missing = Remote::new("https://x", None, None).unwrap_err();
        assert!(missing.contains("BATON_TOKEN is not"), "{missing}");
        assert!(Remote::new("https://x", Some("a\nb"), None).is_err());
    }

    #[test]
    fn a_token_is_not_in_the_debug_form() {
        let remote = Remote::new("https://x", Some("baton_secret"), None).unwrap();
        assert!(!format!("{remote:?}").contains("secret"));
    }
}
