//! A drain costs no HTTP/2 client a request, not even one that never sends a request again: what was on its
//! way, or in the client's own queue, when GOAWAY came is served (RFC 9113 §6.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_proxy::{Protocol, Proxy, Settings};
use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::origin::{self, Origin, Sender};
use crate::tls_certificate_is_chosen_by_name::client as tls_client;

const PATIENCE: Duration = Duration::from_secs(20);

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// The two ways in which a proxy is left.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Drain {
    /// Another process accepts.
    Upgrade,
    /// Nobody does.
    Sigterm,
}

const BOTH: [Drain; 2] = [Drain::Upgrade, Drain::Sigterm];

impl Drain {
    /// Begins it; the task ends with the last connection.
    fn begin(self, proxy: &Arc<Proxy>) -> tokio::task::JoinHandle<()> {
        let proxy = Arc::clone(proxy);
        if self == Drain::Upgrade {
            proxy.retire();
        }
        tokio::spawn(async move {
            match self {
                Drain::Upgrade => proxy.ended().await,
                Drain::Sigterm => proxy.shutdown(PATIENCE).await,
            }
        })
    }
}

fn proxy_to(app: &Origin) -> Arc<Proxy> {
    let settings = Settings {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        certificates: vec![origin::certificate(&["a.test"])],
        ..origin::settings()
    };
    origin::proxy_to(app, Protocol::Http1, settings)
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let ended = timeout(PATIENCE, future).await;
    ended.unwrap_or_else(|_| panic!("waited for {what}"))
}

async fn over_tls(stream: TcpStream) -> Box<dyn Io> {
    let name = ServerName::try_from("a.test").unwrap();
    let connector = TlsConnector::from(tls_client(&[b"h2"]));
    Box::new(connector.connect(name, stream).await.unwrap())
}

/// Plain, or with TLS.
async fn connect(proxy: &Proxy, tls: bool) -> Box<dyn Io> {
    if tls {
        over_tls(TcpStream::connect(proxy.https_addrs()[0]).await.unwrap()).await
    } else {
        Box::new(TcpStream::connect(proxy.http_addrs()[0]).await.unwrap())
    }
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let builder = Request::get(format!("http://a.test{path}")).version(Version::HTTP_2);
    builder.body(Empty::new()).unwrap()
}

/// Sends one request after the other until the connection takes no more, and none of them twice.
async fn ask_on(mut sender: Sender<Empty<Bytes>>, answered: Arc<AtomicU64>) {
    loop {
        let answer = match sender.try_send_request(get("/")).await {
            Ok(answer) => answer,
            Err(mut refused) => {
                // It was never sent: the client knew of the GOAWAY.
                let unsent = refused.take_message().is_some();
                assert!(unsent, "a request was lost: {:?}", refused.into_error());
                return;
            }
        };
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "app");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clients that are never idle, one drain after the other, each at another moment.
async fn busy_clients(tls: bool) {
    let app = origin::origin("app").await;
    let mut total = 0;
    for round in 0..24 {
        let proxy = proxy_to(&app);
        let answered = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..12 {
            let io = TokioIo::new(connect(&proxy, tls).await);
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                    .await
                    .unwrap();
            tokio::spawn(connection);
            for _ in 0..3 {
                clients.spawn(ask_on(sender.clone(), Arc::clone(&answered)));
            }
        }
        within("requests", async {
            while answered.load(Ordering::Relaxed) < 50 {
                sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // Any moment of an exchange, and another one in each round.
        sleep(Duration::from_micros(round * 370 % 5_000)).await;
        let drained = BOTH[round as usize % 2].begin(&proxy);
        within("the clients", async {
            while let Some(ended) = clients.join_next().await {
                ended.unwrap_or_else(|error| panic!("round {round}, TLS {tls}: {error}"));
            }
        })
        .await;
        within("the drain", drained).await.unwrap();
        total += answered.load(Ordering::Relaxed);
    }
    println!("TLS {tls}: 24 drains, {total} requests, none lost");
}

#[tokio::test]
async fn busy_clients_lose_nothing() {
    busy_clients(false).await;
}

#[tokio::test]
async fn busy_clients_lose_nothing_over_tls() {
    busy_clients(true).await;
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const HIGHEST: u32 = 0x7fff_ffff;

/// What has come, and a client that writes its frames itself.
struct Raw {
    io: Box<dyn Io>,
    unread: Vec<u8>,
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    fn new(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
        let payload = payload.to_vec();
        Frame {
            kind,
            flags,
            stream,
            payload,
        }
    }

    /// `GET /` from `a.test`, HPACK without a dynamic entry.
    fn get(stream: u32) -> Frame {
        let flags = END_HEADERS | END_STREAM;
        Frame::new(HEADERS, flags, stream, b"\x82\x86\x84\x01\x06a.test")
    }

    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// What a connection says of itself at any time.
    fn is_of_the_connection(&self) -> bool {
        self.kind == WINDOW_UPDATE || (self.kind, self.flags) == (SETTINGS, ACK)
    }

    /// Of a GOAWAY: the last stream, and that nothing is wrong.
    fn last_stream(&self) -> u32 {
        assert_eq!(&self.payload[4..8], [0; 4], "NO_ERROR");
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

impl Raw {
    /// Says the preface, and nothing else.
    async fn new(io: Box<dyn Io>) -> Raw {
        let mut raw = Raw {
            io,
            unread: Vec::new(),
        };
        let mut opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        opening.extend(Frame::new(SETTINGS, 0, 0, &[]).bytes());
        raw.io.write_all(&opening).await.unwrap();
        raw
    }

    async fn write(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
        self.io.write_all(&bytes).await.unwrap();
    }

    /// The next frame; None: the connection has ended in order.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.take() {
                Some(frame) if frame.is_of_the_connection() => continue,
                Some(frame) => return Some(frame),
                None => {}
            }
            let mut piece = [0; 4096];
            match within("a frame", self.io.read(&mut piece)).await.unwrap() {
                0 => {
                    assert!(self.unread.is_empty(), "it ends within a frame");
                    return None;
                }
                length => self.unread.extend(&piece[..length]),
            }
        }
    }

    /// A frame that has come already.
    fn take(&mut self) -> Option<Frame> {
        let length = match *self.unread {
            [a, b, c, ..] => usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            _ => return None,
        };
        if self.unread.len() < 9 + length {
            return None;
        }
        let rest = self.unread.split_off(9 + length);
        let whole = std::mem::replace(&mut self.unread, rest);
        Some(Frame {
            kind: whole[3],
            flags: whole[4],
            stream: u32::from_be_bytes(whole[5..9].try_into().unwrap()),
            payload: whole[9..].to_vec(),
        })
    }

    /// Reads until a request's answer is whole.
    async fn answer(&mut self, stream: u32) {
        loop {
            let frame = self.next().await.expect("an answer");
            if frame.stream == stream && matches!(frame.kind, HEADERS | DATA) {
                if frame.flags & END_STREAM != 0 {
                    return;
                }
            } else {
                assert_eq!(frame.kind, SETTINGS, "{frame:?}");
            }
        }
    }
}

fn pong(ping: &Frame) -> Frame {
    Frame::new(PING, ACK, 0, &ping.payload)
}

/// A client whose answers to PING overtake the requests that it has queued, as those of the `h2` crate do.
async fn goodbye(drain: Drain, tls: bool) {
    let app = origin::origin("app").await;
    let proxy = proxy_to(&app);
    let mut raw = Raw::new(connect(&proxy, tls).await).await;
    raw.write(&[Frame::get(1)]).await;
    raw.answer(1).await;
    let drained = drain.begin(&proxy);
    let first = raw.next().await.unwrap();
    assert_eq!((first.kind, first.last_stream()), (GOAWAY, HIGHEST));
    // Whatever came with it is answered first.
    if let Ok(frame) = timeout(Duration::from_millis(20), raw.next()).await {
        let frame = frame.unwrap();
        assert_eq!(frame.kind, PING, "{frame:?}");
        raw.write(&[pong(&frame)]).await;
    }
    raw.write(&[Frame::get(3)]).await;
    raw.answer(3).await;
    let mut last = HIGHEST;
    while let Some(frame) = raw.next().await {
        match frame.kind {
            PING => raw.write(&[pong(&frame)]).await,
            GOAWAY => {
                assert!(last == HIGHEST, "nothing after the true one: {frame:?}");
                last = frame.last_stream();
            }
            _ => panic!("{frame:?}"),
        }
    }
    assert_eq!(last, 3, "the last one that was served");
    drop(raw);
    within("the drain", drained).await.unwrap();
}

#[tokio::test]
async fn requests_behind_the_first_goaway_are_served() {
    for drain in BOTH {
        goodbye(drain, false).await;
        goodbye(drain, true).await;
    }
}

/// A connection that the old process has accepted, in whatever it was: its first request is waited for, and
/// only then GOAWAY is said.
#[tokio::test]
async fn a_connection_that_has_just_come_has_its_first_request() {
    for drain in BOTH {
        let app = origin::origin("app").await;
        let proxy = proxy_to(&app);
        let mut opened = Raw::new(connect(&proxy, false).await).await;
        let settings = opened.next().await.unwrap();
        assert_eq!(settings.kind, SETTINGS);
        // Accepted, without a byte of TLS.
        let tcp = TcpStream::connect(proxy.https_addrs()[0]).await.unwrap();
        // The one after it has been greeted, so that it has been accepted.
        connect(&proxy, true).await;
        let drained = drain.begin(&proxy);
        let mut greeted = Raw::new(over_tls(tcp).await).await;
        assert_eq!(greeted.next().await.unwrap().kind, SETTINGS);
        for raw in [&mut opened, &mut greeted] {
            let early = timeout(Duration::from_millis(50), raw.next()).await;
            assert!(early.is_err(), "before it could ask: {early:?}");
            raw.write(&[Frame::get(1)]).await;
            let goodbye = raw.next().await.unwrap();
            assert_eq!((goodbye.kind, goodbye.last_stream()), (GOAWAY, HIGHEST));
            raw.answer(1).await;
        }
        drop((opened, greeted));
        within("the drain", drained).await.unwrap();
    }
}

/// The end of an answer is still on its way when the connection has nothing left to do, and the client goes
/// on opening its windows: closing then would reset the connection, and lose it.
#[tokio::test]
async fn slow_readers_get_their_last_answer_whole() {
    let lengths = tokio::join!(slow_reader(Drain::Upgrade), slow_reader(Drain::Sigterm));
    assert_eq!(lengths, (10 << 20, 10 << 20));
}

async fn slow_reader(drain: Drain) -> usize {
    let app = origin::origin("app").await;
    let proxy = proxy_to(&app);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(proxy.http_addrs()[0]).await.unwrap();
    let mut raw = Raw::new(Box::new(stream)).await;
    let window = (16_u32 << 20).to_be_bytes();
    let ask = b"\x82\x86\x04\x06/bytes\x01\x06a.test";
    raw.write(&[
        // A stream's window at first: none (RFC 9113 §6.5.2).
        Frame::new(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
        Frame::new(WINDOW_UPDATE, 0, 0, &window),
        Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, ask),
    ])
    .await;
    while raw.next().await.unwrap().kind != HEADERS {}
    let drained = drain.begin(&proxy);
    // Every GOAWAY has been said, and the answer is all that is left.
    loop {
        let frame = raw.next().await.unwrap();
        match frame.kind {
            PING => raw.write(&[pong(&frame)]).await,
            GOAWAY if frame.last_stream() == 1 => break,
            _ => assert_eq!(frame.kind, GOAWAY),
        }
    }
    raw.write(&[Frame::new(WINDOW_UPDATE, 0, 1, &window)]).await;
    let mut length = 0;
    loop {
        let frame = raw.next().await.expect("the answer");
        assert_eq!(frame.kind, DATA);
        length += frame.payload.len();
        if frame.flags & END_STREAM != 0 {
            break;
        }
        let more = u32::try_from(frame.payload.len()).unwrap();
        let update = Frame::new(WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
        raw.write(&[update]).await;
        sleep(Duration::from_millis(2)).await;
    }
    assert!(raw.next().await.is_none(), "a clean end");
    drop(raw);
    within("the drain", drained).await.unwrap();
    length
}
