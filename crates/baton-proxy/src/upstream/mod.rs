//! Connections to instances, per worker.
//!
//! | module | holds |
//! | --- | --- |
//! | [`pool`] | idle HTTP/1.1 connections and the shared h2c one of each instance |
//! | [`h1`] | one exchange over HTTP/1.1 as a `Body`: what HTTP/2 clients are served by |
//! | [`h2c`] | HTTP/2 with prior knowledge (hyper) |

pub(crate) mod h1;
pub(crate) mod h2c;
pub(crate) mod pool;

use std::io;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::instance::Instance;

/// How long a published port is given to close a connection again that it has only accepted for an
/// app that does not listen: longer than docker-proxy takes to be refused on the same machine.
const PUBLISHED_PORT_CLOSES: Duration = Duration::from_millis(5);

/// Connects to an instance. Whatever error it ends in, nothing was sent (Engines.md §2).
///
/// Behind a published port the accept proves nothing. `careful`, for a request that must not be
/// repeated, waits a moment whether the port closes the connection again.
pub(crate) async fn connect(
    instance: &Instance,
    timeout: Duration,
    careful: bool,
) -> io::Result<TcpStream> {
    let socket = if instance.address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_nodelay(true)?;
    let stream = tokio::time::timeout(timeout, socket.connect(instance.address))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if careful && instance.published {
        let early = tokio::time::timeout(PUBLISHED_PORT_CLOSES, stream.readable()).await;
        if early.is_ok() && !is_quiet(&stream) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
    }
    Ok(stream)
}

/// Whether nothing has come in and the other side has not closed, as far as the last poll of the
/// runtime knows. Costs no system call on a connection that is quiet.
pub(crate) fn is_quiet(stream: &TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// The same, asked of the kernel itself: for a request that must not be repeated.
pub(crate) fn is_quiet_now(stream: &TcpStream) -> bool {
    use rustix::net::{RecvFlags, recv};
    let mut byte = [0u8];
    matches!(
        recv(stream, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT),
        Err(rustix::io::Errno::AGAIN)
    )
}
