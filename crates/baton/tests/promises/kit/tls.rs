//! A certificate authority of the test's own.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Files for `tls: {cert, key}`, and the authority that a client trusts.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// PEM.
    pub(crate) authority: String,
}

/// A certificate for `host`, written into `folder`.
pub(crate) fn certificate(folder: &Path, host: &str) -> Certificate {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([host.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let (cert_path, key_path) = (
        folder.join(format!("{host}.pem")),
        folder.join(format!("{host}.key")),
    );
    std::fs::write(&cert_path, certificate.pem()).unwrap();
    std::fs::write(&key_path, key.serialize_pem()).unwrap();
    Certificate {
        cert: cert_path,
        key: key_path,
        authority: authority.pem(),
    }
}
