//! What can go wrong outside a request.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::route::Conflict;

/// Each variant says what was being done, to what, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error(
        "cannot listen on {address}: another process has this port; stop it (`ss -ltnp` names it) or give another port"
    )]
    PortTaken { address: SocketAddr },
    #[error(
        "cannot listen on {address}: ports below 1024 need the capability CAP_NET_BIND_SERVICE; run as root, use `baton install`, or give a port from 1024 on"
    )]
    PortNotAllowed { address: SocketAddr },
    #[error(
        "cannot listen on {address}: this machine does not have that address; `ip address` lists those that it has"
    )]
    NoSuchAddress { address: SocketAddr },
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot take over a listener: {source}; start without handing over")]
    Inherit { source: io::Error },
    #[error(
        "cannot start proxy worker {worker}: {source}; check the limits of threads and open files"
    )]
    Worker { worker: usize, source: io::Error },
    #[error("certificate {path}: {reason}")]
    Certificate { path: PathBuf, reason: String },
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

impl ProxyError {
    pub(crate) fn listen(address: SocketAddr, source: io::Error) -> ProxyError {
        match source.kind() {
            io::ErrorKind::AddrInUse => ProxyError::PortTaken { address },
            io::ErrorKind::PermissionDenied => ProxyError::PortNotAllowed { address },
            io::ErrorKind::AddrNotAvailable => ProxyError::NoSuchAddress { address },
            _ => ProxyError::Listen { address, source },
        }
    }
}
