//! One connection, plain or with TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// `authority`: PEM of who signed the server's certificate; None: plain. `protocol` is for ALPN.
pub(super) async fn connect(
    address: SocketAddr,
    host: &str,
    authority: Option<&str>,
    protocol: &[u8],
) -> io::Result<Box<dyn Io>> {
    let stream = TcpStream::connect(address).await?;
    over(stream, host, authority, protocol).await
}

/// The same from an address of this machine's own (IPv4).
pub(super) async fn connect_from(
    from: IpAddr,
    address: SocketAddr,
    host: &str,
    authority: Option<&str>,
    protocol: &[u8],
) -> io::Result<Box<dyn Io>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(address).await?;
    over(stream, host, authority, protocol).await
}

async fn over(
    stream: TcpStream,
    host: &str,
    authority: Option<&str>,
    protocol: &[u8],
) -> io::Result<Box<dyn Io>> {
    stream.set_nodelay(true)?;
    let Some(authority) = authority else {
        return Ok(Box::new(stream));
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots
            .add(certificate.map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?,
    ))
}
