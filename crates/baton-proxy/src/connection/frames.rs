//! Watches the frames of an HTTP/2 connection and ends one that is only work.
//!
//! The `h2` crate bounds what CONTINUATION, tiny DATA frames and resets of requests that it has not
//! accepted yet can cost (it answers GOAWAY). It does not bound frames that cost a client nothing and
//! make us answer or think: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown ones, and resets of
//! requests that are on their way to an instance (CVE-2019-9512, -9515, CVE-2023-44487). Each of
//! those takes one token here; time and what we send give tokens back, because pings and window
//! updates of honest clients follow what they receive.
//!
//! The same bytes tell where a frame of our own fits between those of the `h2` crate: the first GOAWAY
//! (`farewell`).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::farewell::{Farewell, Lingering, Saying};
use crate::io::ClientStream;

/// Tokens of a fresh connection, and the most that one can have.
const MOST_TOKENS: u32 = 2_000;
/// Tokens that come back each second.
const TOKENS_PER_SECOND: u32 = 100;
/// Tokens for each HEADERS or DATA frame that we send: one PING (gRPC estimates bandwidth by one after
/// each burst), and an update of both windows.
const TOKENS_PER_FRAME_SENT: u32 = 3;
/// And one for so many bytes of it: some clients open their window again after each 4 KiB, twice.
const BYTES_SENT_PER_TOKEN: usize = 1024;

/// RFC 9113 §4.1, §6.
const FRAME_HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Finds the frame heads in one direction of a connection.
#[derive(Debug)]
struct Scanner {
    /// Bytes to pass over before the next head: a payload, or the client's preface.
    skip: usize,
    head: [u8; FRAME_HEAD],
    have: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    length: usize,
}

impl Scanner {
    fn new(preface: usize) -> Scanner {
        Scanner {
            skip: preface,
            head: [0; FRAME_HEAD],
            have: 0,
        }
    }

    /// Gives each frame whose head ends in `bytes`.
    fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(&Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (FRAME_HEAD - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < FRAME_HEAD {
                return;
            }
            let [a, b, c, kind, flags, ..] = self.head;
            let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.have = 0;
            self.skip = length;
            found(&Frame {
                kind,
                flags,
                length,
            });
        }
    }

    /// Bytes until the frame ends, as far as is known; 0 between two.
    fn rest(&self) -> usize {
        match self.have {
            0 => self.skip,
            have => FRAME_HEAD - have,
        }
    }
}

/// How much more of nothing a client may send.
#[derive(Debug)]
struct Budget {
    tokens: u32,
    refilled: Instant,
    bytes_sent: usize,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget {
            tokens: MOST_TOKENS,
            refilled: now,
            bytes_sent: 0,
        }
    }

    fn give(&mut self, tokens: u32) {
        self.tokens = self.tokens.saturating_add(tokens).min(MOST_TOKENS);
    }

    /// False: there is none left.
    fn take(&mut self, now: impl Fn() -> Instant) -> bool {
        if self.tokens == 0 {
            let now = now();
            let passed = now.saturating_duration_since(self.refilled).as_millis();
            let due = passed * u128::from(TOKENS_PER_SECOND) / 1_000;
            if due == 0 {
                return false;
            }
            self.refilled = now;
            self.give(u32::try_from(due).unwrap_or(MOST_TOKENS));
        }
        self.tokens -= 1;
        true
    }

    fn sent(&mut self, frame: &Frame) {
        if matches!(frame.kind, DATA | HEADERS) {
            self.bytes_sent += frame.length;
            let whole = self.bytes_sent / BYTES_SENT_PER_TOKEN;
            self.bytes_sent %= BYTES_SENT_PER_TOKEN;
            let whole = u32::try_from(whole).unwrap_or(MOST_TOKENS);
            self.give(TOKENS_PER_FRAME_SENT.saturating_add(whole));
        }
    }
}

/// Whether a frame carries something of a request. An empty DATA frame does only where it ends one.
fn carries(frame: &Frame) -> bool {
    match frame.kind {
        HEADERS | CONTINUATION => true,
        DATA => frame.length > 0 || frame.flags & END_STREAM != 0,
        _ => false,
    }
}

/// Whether one of ours may come after it: not within the fields of an answer (RFC 9113 §6.10).
fn may_be_followed(frame: &Frame) -> bool {
    !matches!(frame.kind, HEADERS | CONTINUATION) || frame.flags & END_HEADERS != 0
}

/// A client's connection whose frames are watched. A flood ends it as a read error.
#[derive(Debug)]
pub(super) struct Watched {
    stream: ClientStream,
    incoming: Scanner,
    outgoing: Scanner,
    /// One of ours may be written after the frame that was begun last. SETTINGS is the first (RFC 9113 §3.4).
    may_follow: bool,
    budget: Budget,
    farewell: Saying,
    lingering: Option<Lingering>,
}

impl Watched {
    pub(super) fn new(stream: ClientStream, preface: usize, farewell: Farewell) -> Watched {
        Watched {
            stream,
            incoming: Scanner::new(preface),
            outgoing: Scanner::new(0),
            may_follow: false,
            budget: Budget::new(Instant::now()),
            farewell: Saying::new(farewell),
            lingering: None,
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let (budget, may_follow) = (&mut self.budget, &mut self.may_follow);
        self.outgoing.scan(bytes, |frame| {
            budget.sent(frame);
            *may_follow = may_be_followed(frame);
        });
    }

    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let between = self.may_follow && self.outgoing.rest() == 0;
        self.farewell.poll(cx, &mut self.stream, between)
    }

    /// How many bytes may be written before [`Watched::poll_farewell`] has to be asked again.
    fn until_next_gap(&self) -> usize {
        match self.outgoing.rest() {
            _ if !self.farewell.waits() => usize::MAX,
            0 => FRAME_HEAD,
            rest => rest,
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        // A connection with nothing to write is only read from. What goes wrong here does so there, too.
        let _ = me.poll_farewell(cx);
        let before = into.filled().len();
        ready!(Pin::new(&mut me.stream).poll_read(cx, into))?;
        let mut flood = false;
        let budget = &mut me.budget;
        me.incoming.scan(&into.filled()[before..], |frame| {
            flood |= !carries(frame) && !budget.take(Instant::now);
        });
        if flood {
            into.set_filled(before);
            return Poll::Ready(Err(io::Error::other(
                "a flood of frames that carry nothing",
            )));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        ready!(me.poll_farewell(cx))?;
        let bytes = &bytes[..bytes.len().min(me.until_next_gap())];
        let written = ready!(Pin::new(&mut me.stream).poll_write(cx, bytes))?;
        me.wrote(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_farewell(cx))?;
        if self.farewell.waits() {
            let first = pieces.iter().find(|piece| !piece.is_empty());
            return self.poll_write(cx, first.map_or(&[], |piece| piece));
        }
        let me = self.get_mut();
        let written = ready!(Pin::new(&mut me.stream).poll_write_vectored(cx, pieces))?;
        let mut left = written;
        for piece in pieces {
            let part = left.min(piece.len());
            me.wrote(&piece[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        Lingering::poll_after_shutdown(&mut me.lingering, cx, &mut me.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Frame, MOST_TOKENS, Scanner, TOKENS_PER_SECOND, carries, may_be_followed};
    use std::time::{Duration, Instant};

    fn frame(kind: u8, flags: u8, length: usize) -> Frame {
        Frame {
            kind,
            flags,
            length,
        }
    }

    #[test]
    fn frames_are_found_wherever_the_reads_end() {
        let mut bytes = b"PREFACE".to_vec();
        bytes.extend([0, 0, 3, 0, 1, 0, 0, 0, 1, 7, 7, 7]);
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        bytes.extend([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for size in 1..=bytes.len() {
            let mut scanner = Scanner::new(7);
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                scanner.scan(piece, |f| found.push((f.kind, f.flags, f.length)));
            }
            assert_eq!(found, [(0, 1, 3), (4, 0, 0), (6, 0, 8)], "in {size}s");
        }
    }

    #[test]
    fn the_rest_of_a_frame_ends_where_another_may_be_written() {
        let mut scanner = Scanner::new(0);
        let mut bytes: &[u8] = &[0, 0, 3, 0, 1, 0, 0, 0, 1, 7, 7, 7];
        let mut rests = Vec::new();
        while !bytes.is_empty() {
            scanner.scan(&bytes[..1], |_| {});
            rests.push(scanner.rest());
            bytes = &bytes[1..];
        }
        assert_eq!(rests, [8, 7, 6, 5, 4, 3, 2, 1, 3, 2, 1, 0]);
    }

    #[test]
    fn fields_are_not_interrupted() {
        assert!(!may_be_followed(&frame(1, 1, 16 * 1024)));
        assert!(!may_be_followed(&frame(9, 0, 16 * 1024)));
        assert!(may_be_followed(&frame(9, 4, 1)));
        assert!(may_be_followed(&frame(1, 5, 1)));
        assert!(may_be_followed(&frame(0, 0, 1)));
    }

    #[test]
    fn tokens_end_and_come_back_with_time_and_answers() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        for _ in 0..MOST_TOKENS {
            assert!(budget.take(|| begin));
        }
        assert!(!budget.take(|| begin));
        let second = begin + Duration::from_secs(1);
        for _ in 0..TOKENS_PER_SECOND {
            assert!(budget.take(|| second));
        }
        assert!(!budget.take(|| second));
        budget.sent(&frame(0, 0, 16 * 1024));
        for _ in 0..19 {
            assert!(budget.take(|| second));
        }
        assert!(!budget.take(|| second));
    }

    #[test]
    fn what_we_answer_to_a_flood_gives_nothing_back() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        while budget.take(|| begin) {}
        budget.sent(&frame(6, 1, 8));
        budget.sent(&frame(4, 1, 0));
        assert!(!budget.take(|| begin));
    }

    #[test]
    fn an_empty_data_frame_counts_unless_it_ends_the_request() {
        assert!(!carries(&frame(0, 0, 0)));
        assert!(carries(&frame(0, 1, 0)));
        assert!(carries(&frame(0, 0, 1)));
    }
}
