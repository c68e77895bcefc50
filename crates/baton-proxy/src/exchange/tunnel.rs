//! After a 101: bytes both ways, until both sides have said all.

use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::buffer::Buffer;
use crate::exchange::account::Account;
use crate::io::{ClientEnd, ClientStream, poll_read_some};
use crate::worker::WorkerContext;

/// An upgraded connection. Holds its exchange's guard for as long as it lives.
#[derive(Debug)]
pub(crate) struct Tunnel {
    account: Account,
    upstream: TcpStream,
    to_client: Way,
    to_instance: Way,
    moved: Instant,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    pending: Buffer,
    /// The sending side has ended.
    ended: bool,
    /// And the receiving side has been told.
    closed: bool,
}

/// One of the two connections broke: both end.
struct Broken;

impl Tunnel {
    /// `first`: what the instance has sent after its 101.
    pub(crate) fn new(account: Account, upstream: TcpStream, first: Buffer) -> Tunnel {
        account.upgraded();
        Tunnel {
            account,
            upstream,
            to_client: Way {
                pending: first,
                ..Way::default()
            },
            to_instance: Way::default(),
            moved: Instant::now(),
        }
    }

    /// Ready when both directions have ended, or one of them broke.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut ClientEnd,
        worker: &WorkerContext,
    ) -> Poll<()> {
        if self.account.instance().is_cut() {
            return Poll::Ready(());
        }
        let Tunnel {
            upstream,
            to_client,
            to_instance,
            ..
        } = self;
        let up = to_instance.poll(cx, &mut client.stream, upstream, worker);
        let down = to_client.poll(cx, upstream, &mut client.stream, worker);
        let (Ok(up), Ok(down)) = (up, down) else {
            return Poll::Ready(());
        };
        if up + down > 0 {
            self.account.moved(up + down);
            self.moved = Instant::now();
        }
        if self.to_client.closed && self.to_instance.closed {
            return Poll::Ready(());
        }
        // Quiet is normal as long as both sides are there; when one of them has ended, the other
        // must not stay for ever.
        let idle = self.account.route.limits.idle;
        let one_sided = self.to_client.closed || self.to_instance.closed;
        if one_sided && !idle.is_zero() && client.timer.poll_passed(cx, self.moved + idle) {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Either socket.
trait Socket: tokio::io::AsyncRead + AsyncWrite + Unpin {}
impl Socket for TcpStream {}
impl Socket for ClientStream {}

impl Way {
    /// Moves what can be moved; returns the number of bytes.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut impl Socket,
        to: &mut impl Socket,
        worker: &WorkerContext,
    ) -> Result<u64, Broken> {
        let mut moved = 0;
        while !self.closed {
            while !self.pending.is_empty() {
                match std::pin::Pin::new(&mut *to).poll_write(cx, self.pending.rest()) {
                    Poll::Ready(Ok(0) | Err(_)) => return Err(Broken),
                    Poll::Ready(Ok(count)) => self.pending.consume(&worker.buffers, count),
                    Poll::Pending => return Ok(moved),
                }
            }
            match std::pin::Pin::new(&mut *to).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(Broken),
                Poll::Pending => return Ok(moved),
            }
            if self.ended {
                match std::pin::Pin::new(&mut *to).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.closed = true,
                    Poll::Ready(Err(_)) => return Err(Broken),
                    Poll::Pending => {}
                }
                return Ok(moved);
            }
            let mut scratch = worker.buffers.read_scratch();
            match poll_read_some(from, cx, &mut scratch) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(read)) => {
                    moved += read as u64;
                    let mut rest = &scratch[..read];
                    while !rest.is_empty() {
                        match std::pin::Pin::new(&mut *to).poll_write(cx, rest) {
                            Poll::Ready(Ok(0) | Err(_)) => return Err(Broken),
                            Poll::Ready(Ok(count)) => rest = &rest[count..],
                            Poll::Pending => break,
                        }
                    }
                    self.pending.append(&worker.buffers, rest);
                }
                Poll::Ready(Err(_)) => return Err(Broken),
                Poll::Pending => return Ok(moved),
            }
        }
        Ok(moved)
    }
}
