//! One client connection: HTTP/1.1 ([`h1`], our own engine) or HTTP/2 ([`h2`], hyper's).

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::io::{ClientStream, Peer};
use crate::worker::WorkerContext;

mod farewell;
mod frames;
pub(crate) mod h1;
pub(crate) mod h2;

/// RFC 9113 §3.4.
const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long a connection that has sent nothing may still send its first request when the proxy is
/// shutting down: it may be on its way.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What a plain connection begins with.
enum Opening {
    Http1,
    H2,
    /// Closed, or nothing came in time.
    Nothing,
}

/// A plain connection: HTTP/2 if it begins with the preface, else HTTP/1.1.
pub(crate) async fn serve_plain(context: Rc<WorkerContext>, peer: Peer, stream: TcpStream) {
    match opening(&context, &stream).await {
        Opening::Http1 => h1::serve(context, peer, ClientStream::Plain(stream)).await,
        // Boxed: an HTTP/1.1 connection should not be as large as an HTTP/2 one.
        Opening::H2 => {
            Box::pin(h2::serve(context, peer, None, ClientStream::Plain(stream))).await;
        }
        Opening::Nothing => {}
    }
}

/// Looks at the first bytes and leaves them where they are.
async fn opening(context: &WorkerContext, stream: &TcpStream) -> Opening {
    let limit = Instant::now() + context.settings().limits.header_timeout;
    let mut seen = [0; H2_PREFACE.len()];
    loop {
        let peek = timeout_at(limit, stream.peek(&mut seen));
        let length = tokio::select! {
            biased;
            peeked = peek => match peeked {
                Ok(Ok(length)) if length > 0 => length,
                _ => return Opening::Nothing,
            },
            () = no_longer_awaited(context) => return Opening::Nothing,
        };
        if seen[..length] == H2_PREFACE[..length] {
            if length == H2_PREFACE.len() {
                return Opening::H2;
            }
            // A part of the preface. The bytes that are there keep the socket readable, so only
            // time tells whether more came; a client that sends the preface in pieces is rare.
            sleep(Duration::from_millis(5)).await;
        } else {
            return Opening::Http1;
        }
    }
}

async fn no_longer_awaited(context: &WorkerContext) {
    context.shutdown().begun().await;
    sleep(LAST_CHANCE).await;
}

/// Tells a client with too many connections so, and closes.
pub(crate) async fn refuse_http1(stream: ClientStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\n\
        Content-Type: text/plain\r\n\
        Content-Length: 21\r\n\
        Retry-After: 1\r\n\
        Connection: close\r\n\r\n\
        Too many connections\n";
    say_and_close(stream, ANSWER).await;
}

/// The same over HTTP/2: empty SETTINGS, then GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.5, §6.8, §7).
pub(crate) async fn refuse_h2(stream: ClientStream) {
    const FRAMES: &[u8] = &[
        0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
        0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, // GOAWAY
    ];
    say_and_close(stream, FRAMES).await;
}

/// Writes, then reads until the client closes, for a moment: closing with unread bytes would reset the
/// connection, and the client might not see what was said.
async fn say_and_close(mut stream: ClientStream, bytes: &[u8]) {
    const PATIENCE: Duration = Duration::from_secs(1);
    let said = async {
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut unread = [0; 512];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // Whatever went wrong, the connection ends here.
    let _ = timeout(PATIENCE, said).await;
}
