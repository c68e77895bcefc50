//! Event streams that are opened once and read to the end of the demo. Each color numbers the events
//! of a connection from 0, so the reader can tell that none is missing and none comes twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A stream that says nothing for so long has been lost: its events are 100 ms apart.
const SILENCE: Duration = Duration::from_secs(5);

/// What the readers saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// How many were opened.
    pub opened: usize,
    /// How many of them were still connected at the end.
    pub connected: u64,
    pub events: u64,
    /// Events that were missing, or came twice.
    pub wrong: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    connected: AtomicU64,
    events: AtomicU64,
    wrong: AtomicU64,
}

/// Tasks that each read one stream.
#[derive(Debug)]
pub struct Streams {
    opened: usize,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Streams {
    /// Opens so many at once.
    pub fn open(address: SocketAddr, opened: usize) -> Streams {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..opened {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                if read(address, &shared).await.is_some() {
                    shared.connected.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Streams {
            opened,
            shared,
            tasks,
        }
    }

    /// Stops reading, and counts.
    pub async fn finish(mut self) -> Seen {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        Seen {
            opened: self.opened,
            connected: self.shared.connected.load(Ordering::Relaxed),
            events: self.shared.events.load(Ordering::Relaxed),
            wrong: self.shared.wrong.load(Ordering::Relaxed),
        }
    }
}

/// Reads one stream until it is told to stop; None when the stream ended before.
async fn read(address: SocketAddr, shared: &Shared) -> Option<()> {
    let tcp = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .ok()?;
    tokio::spawn(connection);
    let request = Request::builder()
        .uri("/sse?every_ms=100")
        .header(http::header::HOST, "demo.test")
        .body(Empty::<Bytes>::new())
        .ok()?;
    let mut response = sender.send_request(request).await.ok()?;
    if response.status() != StatusCode::OK {
        return None;
    }
    let mut lines = Lines::default();
    while !shared.stop.load(Ordering::Relaxed) {
        let frame = timeout(SILENCE, response.frame()).await.ok()??.ok()?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let (events, wrong) = lines.take(&data);
        shared.events.fetch_add(events, Ordering::Relaxed);
        shared.wrong.fetch_add(wrong, Ordering::Relaxed);
    }
    Some(())
}

/// The `data:` lines of one stream, whatever pieces they come in: `data: r2 17`.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    /// The number that came last, by release.
    last: BTreeMap<String, u64>,
}

impl Lines {
    /// Events in this piece, and how many of them were not the next one of their release.
    fn take(&mut self, piece: &[u8]) -> (u64, u64) {
        let (mut events, mut wrong) = (0, 0);
        for byte in piece {
            if *byte != b'\n' {
                self.partial.push(*byte);
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            let line = String::from_utf8_lossy(&line);
            if let Some(data) = line.strip_prefix("data: ") {
                events += 1;
                wrong += u64::from(!self.is_next(data));
            }
        }
        (events, wrong)
    }

    /// A color that is joined (again) counts from 0.
    fn is_next(&mut self, data: &str) -> bool {
        let Some((release, number)) = data.split_once(' ') else {
            return false;
        };
        let Ok(number) = number.parse::<u64>() else {
            return false;
        };
        let before = self.last.insert(release.to_owned(), number);
        number == 0 || before == Some(number - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_two_releases_are_followed_across_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"id: 0\ndata: r1 0\n\nid: 1\nda"), (1, 0));
        assert_eq!(lines.take(b"ta: r1 1\n\ndata: r2 0\n\n"), (2, 0));
        assert_eq!(lines.take(b"data: r1 2\n\ndata: r2 1\n\n"), (2, 0));
    }

    #[test]
    fn missing_and_repeated_events_are_wrong() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(b"data: r1 0\n\ndata: r1 2\n\n"), (2, 1));
        assert_eq!(lines.take(b"data: r1 2\n\n"), (1, 1));
        assert_eq!(lines.take(b"data: r1 0\n\n"), (1, 0));
    }
}
