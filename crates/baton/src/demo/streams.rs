//! Streams that are open at every moment of the demo. This version of Baton passes a stream through
//! and lets it end on the color where it began, so each is a long answer of known length: all its
//! events must come, and then its proper end. Then the next one is opened.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Events of one stream, 100 ms apart: about two seconds.
const EVENTS: usize = 20;

/// What became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many are open at a time.
    pub open: usize,
    pub whole: u64,
    pub cut: u64,
    pub events: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    whole: AtomicU64,
    cut: AtomicU64,
    events: AtomicU64,
}

/// Tasks that keep streams open.
#[derive(Debug)]
pub struct Streams {
    open: usize,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Streams {
    /// Opens so many at once.
    pub fn open(address: SocketAddr, open: usize) -> Streams {
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..open {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                while !shared.stop.load(Ordering::Relaxed) {
                    let counter = match stream(address, &shared).await {
                        Ok(()) => &shared.whole,
                        Err(()) => &shared.cut,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Streams {
            open,
            shared,
            tasks,
        }
    }

    /// Lets each end as it should, and counts.
    pub async fn finish(mut self) -> Ended {
        self.shared.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        Ended {
            open: self.open,
            whole: self.shared.whole.load(Ordering::Relaxed),
            cut: self.shared.cut.load(Ordering::Relaxed),
            events: self.shared.events.load(Ordering::Relaxed),
        }
    }
}

/// One stream from its first event to its end; `Err` when anything of it is missing.
async fn stream(address: SocketAddr, shared: &Shared) -> Result<(), ()> {
    let tcp = TcpStream::connect(address).await.map_err(drop)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .map_err(drop)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .uri(format!("/sse?every_ms=100&n={EVENTS}"))
        .header(http::header::HOST, "demo.test")
        .body(Empty::<Bytes>::new())
        .map_err(drop)?;
    let mut response = sender.send_request(request).await.map_err(drop)?;
    if response.status() != StatusCode::OK {
        return Err(());
    }
    let mut seen = 0;
    let mut tail = [0; 1];
    while let Some(frame) = response.frame().await {
        let Ok(data) = frame.map_err(drop)?.into_data() else {
            continue;
        };
        let events = ends_of_events(&mut tail, &data);
        shared.events.fetch_add(events as u64, Ordering::Relaxed);
        seen += events;
    }
    if seen == EVENTS { Ok(()) } else { Err(()) }
}

/// An event ends with an empty line; `last` is the byte before this piece.
fn ends_of_events(last: &mut [u8; 1], piece: &[u8]) -> usize {
    let mut ends = 0;
    for byte in piece {
        if *byte == b'\n' && last[0] == b'\n' {
            ends += 1;
            last[0] = 0;
        } else {
            last[0] = *byte;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_across_pieces() {
        let mut last = [0];
        assert_eq!(ends_of_events(&mut last, b"data: 1\n\ndata: 2\n"), 1);
        assert_eq!(ends_of_events(&mut last, b"\ndata: 3"), 1);
        assert_eq!(ends_of_events(&mut last, b"\n\n"), 1);
    }
}
