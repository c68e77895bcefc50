//! Whom to ask for certificates, in whose name.

use std::path::PathBuf;

/// Let's Encrypt, production.
pub const DEFAULT_DIRECTORY: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// `--acme-email`, `--acme-directory`, `--acme-ca`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    /// Whom the authority writes to.
    pub email: String,
    /// URL of the authority's directory (RFC 8555 §7.1.1), `https://…`.
    pub directory: String,
    /// PEM file with the roots that the authority's own server is trusted by; None: those of the machine.
    pub ca: Option<PathBuf>,
}
