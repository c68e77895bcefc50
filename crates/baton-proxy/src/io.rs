//! A client's connection, plain or TLS, and who is at its other end.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::server::TlsStream;

use crate::buffer::{Buffer, Buffers};

/// Those of `Settings::trusted_proxies`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TrustedProxies(pub(crate) Vec<IpNet>);

impl TrustedProxies {
    /// Whether what comes from this address was passed on by a proxy that is believed.
    #[must_use]
    pub(crate) fn have(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

/// Who is at the other end of a client connection. Settled once, when it is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The connection is TLS.
    pub(crate) secure: bool,
    /// It came to a TLS listener on port 443, which browsers reach without a port in the address.
    pub(crate) on_443: bool,
    /// One of `Settings::trusted_proxies`: what it says about its client is believed.
    pub(crate) trusted: bool,
    /// All of them: a client may be behind several.
    pub(crate) trusted_proxies: &'static TrustedProxies,
}

impl Peer {
    /// The address as apps expect it: an IPv4 client of a `[::]` listener is written as IPv4.
    #[must_use]
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }
}

/// What a client is connected by. A rustls session is large, so it stays outside the task's future.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    /// The socket below, for its options.
    #[must_use]
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            ClientStream::Plain(stream) => stream,
            ClientStream::Tls(stream) => stream.get_ref().0,
        }
    }

    pub(crate) fn poll_read_some(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        poll_read_some(self, cx, into)
    }

    pub(crate) fn poll_write_some(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// rustls takes bytes before the socket does: what it holds is pushed out here.
    pub(crate) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            ClientStream::Plain(_) => Poll::Ready(Ok(())),
            ClientStream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

/// `AsyncRead` with a plain slice; 0 is the end.
pub(crate) fn poll_read_some<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    into: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut into = ReadBuf::new(into);
    match Pin::new(stream).poll_read(cx, &mut into) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(into.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            ClientStream::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            ClientStream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_flush_all(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            ClientStream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Bytes that a client may send ahead of the exchange that is going on: requests in a row.
const READ_AHEAD: usize = 16 * 1024;
const READ_AHEAD_STEP: usize = 4 * 1024;

/// The client's end of an HTTP/1.1 connection, over all its exchanges.
#[derive(Debug)]
pub(crate) struct ClientEnd {
    pub(crate) stream: ClientStream,
    /// Read, and not used yet.
    pub(crate) input: Buffer,
    pub(crate) timer: Timer,
}

/// The client has closed, or its connection broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl ClientEnd {
    pub(crate) fn new(stream: ClientStream) -> ClientEnd {
        ClientEnd {
            stream,
            input: Buffer::default(),
            timer: Timer::default(),
        }
    }

    /// For streams, which may be quiet for hours: has the kernel ask whether the client is still there.
    /// One that has gone without a word is noticed within two minutes.
    pub(crate) fn notice_silent_death(&self) {
        let keep_alive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(15))
            .with_retries(4);
        // Without it the stream is only noticed later: with its next event.
        let _ = socket2::SockRef::from(self.stream.socket()).set_tcp_keepalive(&keep_alive);
    }

    /// While nothing is wanted of the client: notices that it has gone, and keeps what it sends ahead.
    /// Ready only when it has gone.
    pub(crate) fn poll_watch(&mut self, cx: &mut Context<'_>, buffers: &Buffers) -> Poll<Gone> {
        while self.input.len() < READ_AHEAD {
            let mut scratch = buffers.read_scratch();
            match self
                .stream
                .poll_read_some(cx, &mut scratch[..READ_AHEAD_STEP])
            {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Gone),
                Poll::Ready(Ok(read)) => self.input.append(buffers, &scratch[..read]),
                Poll::Pending => break,
            }
        }
        Poll::Pending
    }
}

/// One timer for a whole connection. Deadlines move with every byte; the timer is only set anew when
/// it goes off too early, or would go off too late.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When `sleep` goes off.
    set: Option<Instant>,
}

impl Timer {
    /// Whether `deadline` has passed; if not, the task is woken then.
    pub(crate) fn poll_passed(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let now = Instant::now();
        if now >= deadline {
            return true;
        }
        if self.set.is_some_and(|set| now < set && set <= deadline) {
            return false;
        }
        let sleep = match &mut self.sleep {
            Some(sleep) => {
                sleep.as_mut().reset(deadline.into());
                sleep
            }
            empty => empty.insert(Box::pin(tokio::time::sleep_until(deadline.into()))),
        };
        self.set = Some(deadline);
        sleep.as_mut().poll(cx).is_ready()
    }
}
