//! SNI → certificate, exact before wildcard; replaced without a restart; ALPN; resumption.

use crate::origin;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::origin::{certificate, certificate_files};
use baton_proxy::{Certificate, Protocol, Proxy, Settings};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Takes every certificate: the tests look at it themselves.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub(crate) fn client(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Arc::new(config)
}

async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::clone(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), stream)
        .await
        .unwrap()
}

/// The leaf that a client of that name is shown.
async fn shown(proxy: &Proxy, name: &str) -> Vec<u8> {
    let stream = connect(&client(&[]), proxy.https_addrs()[0], name).await;
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

fn leaf(folder: &std::path::Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(folder.join("chain.pem"))
        .unwrap()
        .to_vec()
}

async fn https(certificates: Vec<Arc<Certificate>>, workers: usize) -> Arc<Proxy> {
    let app = origin::origin("app").await;
    let settings = Settings {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        certificates,
        workers,
        ..origin::settings()
    };
    origin::proxy_to(&app, Protocol::Http1, settings)
}

#[tokio::test]
async fn exact_before_wildcard_before_the_first() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let names = [["first.test"], ["*.example.com"], ["api.example.com"]];
    let certificates: Vec<_> = folders
        .iter()
        .zip(&names)
        .map(|(folder, names)| {
            let (chain, key) = certificate_files(folder.path(), names);
            Certificate::load(&chain, &key).unwrap()
        })
        .collect();
    let leaves: Vec<_> = folders.iter().map(|folder| leaf(folder.path())).collect();
    let proxy = https(certificates, 1).await;
    assert_eq!(shown(&proxy, "api.example.com").await, leaves[2]);
    assert_eq!(shown(&proxy, "shop.example.com").await, leaves[1]);
    assert_eq!(shown(&proxy, "unknown.test").await, leaves[0]);
    assert_eq!(shown(&proxy, "127.0.0.1").await, leaves[0]);
}

#[tokio::test]
async fn new_certificates_serve_new_handshakes_and_old_connections_stay() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = https(vec![certificate(&["a.test"])], 2).await;
    let mut old = connect(&client(&[]), proxy.https_addrs()[0], "a.test").await;
    let (chain, key) = certificate_files(folder.path(), &["a.test"]);
    proxy.set_certificates(vec![Certificate::load(&chain, &key).unwrap()]);
    assert_eq!(shown(&proxy, "a.test").await, leaf(folder.path()));
    old.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let mut status = [0; 12];
    old.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

#[tokio::test]
async fn alpn_settles_the_protocol() {
    let proxy = https(vec![certificate(&["a.test"])], 1).await;
    for (offered, settled) in [
        (vec![&b"h2"[..], b"http/1.1"], Some(&b"h2"[..])),
        (vec![&b"http/1.1"[..]], Some(&b"http/1.1"[..])),
        (vec![], None),
    ] {
        let stream = connect(&client(&offered), proxy.https_addrs()[0], "a.test").await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), settled);
    }
}

#[tokio::test]
async fn a_session_is_resumed_on_any_worker() {
    let proxy = https(vec![certificate(&["a.test"])], 4).await;
    let config = client(&[]);
    for round in 0..12 {
        let mut stream = connect(&config, proxy.https_addrs()[0], "a.test").await;
        let kind = stream.get_ref().1.handshake_kind();
        let resumed = kind == Some(HandshakeKind::Resumed);
        assert_eq!(resumed, round > 0, "round {round}: {kind:?}");
        // The ticket comes after the handshake.
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_ended() {
    let app = origin::origin("app").await;
    let mut settings = Settings {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        certificates: vec![certificate(&["a.test"])],
        ..origin::settings()
    };
    settings.limits.tls_handshake_timeout = std::time::Duration::from_millis(100);
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let mut stream = TcpStream::connect(proxy.https_addrs()[0]).await.unwrap();
    let mut byte = [0];
    let closed = stream.read(&mut byte);
    let read = tokio::time::timeout(std::time::Duration::from_secs(10), closed)
        .await
        .expect("it is closed");
    assert_eq!(read.unwrap(), 0);
}
