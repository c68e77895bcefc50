//! Certificate files are read with their names and expiry; a bad one is named with the reason.

use crate::origin;

use std::path::Path;
use std::time::{Duration, SystemTime};

use baton_proxy::Certificate;

#[track_caller]
fn refused(chain: &Path, key: &Path, file: &Path, reason: &str) {
    let text = Certificate::load(chain, key).unwrap_err().to_string();
    assert!(text.contains(&file.display().to_string()), "{text}");
    assert!(text.contains(reason), "{text}");
}

#[test]
fn names_and_expiry_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["Shop.example.com", "*.example.com", "127.0.0.1"];
    let (chain, key) = origin::certificate_files(folder.path(), &names);
    let certificate = Certificate::load(&chain, &key).unwrap();
    let read: Vec<_> = certificate.names().collect();
    assert_eq!(read, ["shop.example.com", "*.example.com", "127.0.0.1"]);
    assert!(certificate.expires() > SystemTime::now() + Duration::from_secs(86_400));
    for (host, covered) in [
        ("shop.example.com", true),
        ("SHOP.example.com", true),
        ("a.example.com", true),
        ("a.b.example.com", false),
        ("example.com", false),
        ("127.0.0.1", true),
    ] {
        assert_eq!(certificate.covers(host), covered, "{host}");
    }
}

#[test]
fn bad_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let (chain, key) = origin::certificate_files(folder.path(), &["a.test"]);
    let (_, other_key) = origin::certificate_files(other.path(), &["a.test"]);
    let missing = folder.path().join("missing.pem");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    refused(&missing, &key, &missing, "cannot be read");
    refused(&chain, &missing, &missing, "cannot be read");
    refused(&empty, &key, &empty, "no PEM block CERTIFICATE");
    refused(&key, &key, &key, "no PEM block CERTIFICATE");
    refused(&chain, &empty, &empty, "no private key in PEM form");
    refused(
        &chain,
        &other_key,
        &other_key,
        "does not belong to the certificate in",
    );
}

#[test]
fn an_expired_certificate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let pair = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&pair).unwrap();
    let (chain, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&chain, made.pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    refused(&chain, &key, &chain, "it expired on Feb  1");
}
