//! Certificates by host name, ALPN.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::challenge::Challenges;
use crate::error::ProxyError;

pub(crate) const ALPN_H2: &[u8] = b"h2";
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
/// A certificate authority that validates a host (RFC 8737 §6.2).
pub(crate) const ALPN_ACME: &[u8] = b"acme-tls/1";

/// A certificate chain with its key, checked: the key belongs to it, and it has not expired.
pub struct Certificate {
    names: Vec<Box<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
    key: Arc<CertifiedKey>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a PEM chain (leaf first) and its PEM key.
    ///
    /// # Errors
    /// [`ProxyError::Certificate`] with the file and the reason: not readable, no certificate or key
    /// in it, a key of another certificate, expired or not valid yet.
    pub fn load(chain: &Path, key: &Path) -> Result<Arc<Certificate>, ProxyError> {
        let refuse = |path: &Path, reason: String| ProxyError::Certificate {
            path: path.to_owned(),
            reason,
        };
        let ders = CertificateDer::pem_file_iter(chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| refuse(chain, pem_reason(&e, "certificate")))?;
        let leaf = ders
            .first()
            .ok_or_else(|| refuse(chain, "it holds no PEM block CERTIFICATE".to_owned()))?;
        let leaf = read_leaf(leaf).map_err(|reason| refuse(chain, reason))?;
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| refuse(key, pem_reason(&e, "private key")))?;
        let certified = CertifiedKey::from_der(ders, private, &ring::default_provider()).map_err(
            |e| match e {
                rustls::Error::InconsistentKeys(_) => refuse(
                    key,
                    format!(
                        "this key does not belong to the certificate in {}",
                        chain.display()
                    ),
                ),
                other => refuse(key, format!("the key cannot be used: {other}")),
            },
        )?;
        Ok(Certificate::new(leaf, certified))
    }

    /// Reads a chain (leaf first) and its key out of the same PEM text, in whatever order.
    ///
    /// # Errors
    /// The reason, as of [`Certificate::load`].
    pub fn from_pem(pem: &[u8]) -> Result<Arc<Certificate>, String> {
        let certificate = Certificate::for_challenge(pem)?;
        let unusable = |error| format!("the key cannot be used: {error}");
        certificate.key.keys_match().map_err(unusable)?;
        Ok(certificate)
    }

    /// The same of one that only answers a challenge (RFC 8737 §3): it has an extension that nobody
    /// else may understand, so that whether the key belongs to it is not looked at.
    ///
    /// # Errors
    /// As of [`Certificate::from_pem`].
    pub fn for_challenge(pem: &[u8]) -> Result<Arc<Certificate>, String> {
        let ders = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| pem_reason(&e, "certificate"))?;
        let leaf = ders
            .first()
            .ok_or_else(|| "it holds no PEM block CERTIFICATE".to_owned())?;
        let leaf = read_leaf(leaf)?;
        let private =
            PrivateKeyDer::from_pem_slice(pem).map_err(|e| pem_reason(&e, "private key"))?;
        let key = ring::sign::any_supported_type(&private)
            .map_err(|e| format!("the key cannot be used: {e}"))?;
        Ok(Certificate::new(leaf, CertifiedKey::new(ders, key)))
    }

    fn new(leaf: Leaf, key: CertifiedKey) -> Arc<Certificate> {
        Arc::new(Certificate {
            names: leaf.names,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            key: Arc::new(key),
        })
    }

    /// The DNS names and addresses it is for, lower case; `*.example.com` for one level.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    /// From when on it is valid.
    #[must_use]
    pub fn begins(&self) -> SystemTime {
        self.not_before
    }

    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.not_after
    }

    /// Whether `host` (no port) is one of its names (RFC 6125 §6.4: a wildcard stands for one whole
    /// label, the leftmost).
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(suffix)),
            None => name.eq_ignore_ascii_case(host),
        })
    }
}

fn pem_reason(error: &rustls::pki_types::pem::Error, what: &str) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(io) => format!("cannot be read: {io}"),
        rustls::pki_types::pem::Error::NoItemsFound => format!("it holds no {what} in PEM form"),
        other => format!("it is not a {what} in PEM form: {other}"),
    }
}

/// What the first certificate of a chain says.
struct Leaf {
    names: Vec<Box<str>>,
    not_before: SystemTime,
    not_after: SystemTime,
}

fn read_leaf(der: &CertificateDer<'_>) -> Result<Leaf, String> {
    let (_, certificate) = X509Certificate::from_der(der)
        .map_err(|e| format!("its first certificate cannot be parsed: {e}"))?;
    let validity = certificate.validity();
    let now = SystemTime::now();
    if at(validity.not_after.timestamp()) < now {
        return Err(format!("it expired on {}; renew it", validity.not_after));
    }
    if at(validity.not_before.timestamp()) > now {
        return Err(format!(
            "it is not valid before {}; check the clock of this machine",
            validity.not_before
        ));
    }
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|e| format!("its names cannot be parsed: {e}"))?;
    let names = alternatives.map_or_else(Vec::new, |names| {
        names
            .value
            .general_names
            .iter()
            .filter_map(name_of)
            .collect()
    });
    Ok(Leaf {
        names,
        not_before: at(validity.not_before.timestamp()),
        not_after: at(validity.not_after.timestamp()),
    })
}

fn at(timestamp: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(timestamp).unwrap_or(0))
}

fn name_of(name: &GeneralName<'_>) -> Option<Box<str>> {
    match name {
        GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase().into()),
        GeneralName::IPAddress(bytes) => {
            let address: std::net::IpAddr = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).ok()?.into(),
                16 => <[u8; 16]>::try_from(*bytes).ok()?.into(),
                _ => return None,
            };
            Some(address.to_string().into())
        }
        _ => None,
    }
}

/// The certificates in use; replaced whole, without a restart and without closing a connection.
#[derive(Debug)]
pub(crate) struct Certificates {
    all: ArcSwap<Vec<Arc<Certificate>>>,
    challenges: Arc<Challenges>,
}

impl Certificates {
    pub(crate) fn new(
        certificates: Vec<Arc<Certificate>>,
        challenges: Arc<Challenges>,
    ) -> Certificates {
        Certificates {
            all: ArcSwap::from_pointee(certificates),
            challenges,
        }
    }

    pub(crate) fn replace(&self, certificates: Vec<Arc<Certificate>>) {
        self.all.store(Arc::new(certificates));
    }

    /// The one for a name: an exact one before a wildcard, and the first of all where none fits (a
    /// client that sends no name, or insists on another, sees whom it reached).
    pub(crate) fn find(&self, host: Option<&str>) -> Option<Arc<Certificate>> {
        let all = self.all.load();
        let exact = |certificate: &&Arc<Certificate>| {
            host.is_some_and(|host| certificate.names().any(|n| n.eq_ignore_ascii_case(host)))
        };
        let covering =
            |certificate: &&Arc<Certificate>| host.is_some_and(|h| certificate.covers(h));
        all.iter()
            .find(exact)
            .or_else(|| all.iter().find(covering))
            .or_else(|| all.first())
            .cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut offered = hello.alpn().into_iter().flatten();
        // An authority offers this alone (RFC 8737 §3); without a challenge it has come in vain.
        if offered.next() == Some(ALPN_ACME) {
            let certificate = self.challenges.certificate(hello.server_name()?)?;
            return Some(Arc::clone(&certificate.key));
        }
        let certificate = self.find(hello.server_name())?;
        Some(Arc::clone(&certificate.key))
    }
}

/// TLS 1.2 and 1.3, h2 before HTTP/1.1, resumption by tickets; one for all workers, so that a client
/// resumes on whichever it meets next.
pub(crate) fn server_config(
    certificates: Arc<Certificates>,
) -> Result<Arc<ServerConfig>, ProxyError> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = [ALPN_H2, ALPN_HTTP1, ALPN_ACME].map(<[u8]>::to_vec).into();
    config.ticketer = ring::Ticketer::new()?;
    Ok(Arc::new(config))
}
