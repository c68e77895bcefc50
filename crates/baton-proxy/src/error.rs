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

#[cfg(test)]
mod tests {
    use super::ProxyError;
    use std::io;

    #[test]
    fn what_the_kernel_refuses_is_told_with_what_to_do() {
        let address = "0.0.0.0:80".parse().unwrap();
        let told = |errno: rustix::io::Errno| {
            let source = io::Error::from_raw_os_error(errno.raw_os_error());
            ProxyError::listen(address, source).to_string()
        };
        assert_eq!(
            told(rustix::io::Errno::ACCESS),
            "cannot listen on 0.0.0.0:80: ports below 1024 need the capability CAP_NET_BIND_SERVICE; \
             run as root, use `baton install`, or give a port from 1024 on"
        );
        assert!(told(rustix::io::Errno::ADDRINUSE).contains("another process has this port"));
        assert!(told(rustix::io::Errno::ADDRNOTAVAIL).contains("does not have that address"));
        assert!(told(rustix::io::Errno::NOBUFS).starts_with("cannot listen on 0.0.0.0:80: "));
    }
}
