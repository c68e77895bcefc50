//! A proxy, apps and clients by hand: raw sockets, so that a test says which bytes go when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use baton_proxy::{
    Access, Instance, Mode, Page, Protocol, Proxy, Route, RouteCounters, RouteLimits, RoutingTable,
    SessionRule, Settings, Split, StreamMode, StreamRule,
};

/// Longer than anything here takes; what passes it has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A proxy on a free port with one worker.
pub struct Front {
    pub proxy: Arc<Proxy>,
    pub address: SocketAddr,
    pub counters: Arc<RouteCounters>,
}

/// One route for every host; what a test does not say is as a deploy would have it.
pub struct Plan {
    pub instances: Vec<Arc<Instance>>,
    pub mode: Mode,
    pub max_wait: Duration,
    pub limits: RouteLimits,
    pub path: &'static str,
    pub strip_path: bool,
    pub protocol: Protocol,
    pub redirect_https: Option<u16>,
    pub redirect_host: Option<&'static str>,
    pub streams: Vec<StreamRule>,
    pub default_stream_mode: StreamMode,
    pub halves: Vec<Arc<Instance>>,
    pub sessions: Option<Arc<SessionRule>>,
    pub pinned: Vec<Arc<Instance>>,
    pub split: Option<Split>,
    pub streams_wait: bool,
    pub access: Option<Access>,
    pub page: Option<Page>,
}

impl Plan {
    pub fn to(instances: &[&Arc<Instance>]) -> Plan {
        Plan {
            instances: instances.iter().map(|i| Arc::clone(i)).collect(),
            mode: Mode::Serve,
            max_wait: PATIENCE,
            limits: RouteLimits {
                body: 0,
                header_bytes: 64 * 1024,
                idle: PATIENCE,
            },
            path: "/",
            strip_path: false,
            protocol: Protocol::Http1,
            redirect_https: None,
            redirect_host: None,
            streams: Vec::new(),
            default_stream_mode: StreamMode::Drain,
            halves: Vec::new(),
            sessions: None,
            pinned: Vec::new(),
            split: None,
            streams_wait: false,
            access: None,
            page: None,
        }
    }
}

impl Front {
    pub fn start(plan: Plan) -> Front {
        Front::with(plan, |_| {})
    }

    /// With settings of its own. Loopback is a trusted proxy unless they say otherwise.
    pub fn with(plan: Plan, change: impl FnOnce(&mut Settings)) -> Front {
        let mut settings = Settings {
            http: vec![([127, 0, 0, 1], 0).into()],
            workers: 1,
            ..Settings::default()
        };
        change(&mut settings);
        let proxy = Proxy::start(settings).expect("the proxy starts");
        let front = Front {
            address: proxy.http_addrs()[0],
            proxy,
            counters: Arc::default(),
        };
        front.publish(plan);
        front
    }

    pub fn publish(&self, plan: Plan) {
        let route = Route {
            app: "shop".into(),
            hosts: vec!["*".into()],
            path: plan.path.into(),
            strip_path: plan.strip_path,
            protocol: plan.protocol,
            redirect_https: plan.redirect_https,
            redirect_host: plan.redirect_host.map(Arc::from),
            limits: plan.limits,
            max_wait: plan.max_wait,
            mode: plan.mode,
            instances: plan.instances,
            streams: plan.streams.into(),
            default_stream_mode: plan.default_stream_mode,
            halves: plan.halves,
            sessions: plan.sessions,
            pinned: plan.pinned,
            split: plan.split.map(Arc::new),
            streams_wait: plan.streams_wait,
            access: plan.access.map(Arc::new),
            error_page: None,
            page: plan.page.map(Arc::new),
            counters: Arc::clone(&self.counters),
        };
        let table = RoutingTable::new(vec![Arc::new(route)]).expect("no conflict");
        self.proxy.publish(Arc::new(table));
    }

    pub fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.address).expect("the proxy listens"))
    }

    /// One request on a connection of its own.
    pub fn get(&self, target: &str) -> Message {
        let mut client = self.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        client.response()
    }
}

/// An app: each connection is given to a closure, on a thread.
pub struct App {
    pub instance: Arc<Instance>,
    pub connections: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl App {
    pub fn start(serve: impl Fn(Wire) + Send + Sync + 'static) -> App {
        App::bind(([127, 0, 0, 1], 0).into(), false, serve)
    }

    pub fn bind(
        address: SocketAddr,
        published: bool,
        serve: impl Fn(Wire) + Send + Sync + 'static,
    ) -> App {
        let listener = TcpListener::bind(address).expect("a free port");
        let instance = Instance::new("i", listener.local_addr().unwrap(), published);
        let (connections, open) = (
            Arc::<AtomicUsize>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let serve = Arc::new(serve);
        let (accepted, sockets) = (Arc::clone(&connections), Arc::clone(&open));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                accepted.fetch_add(1, Ordering::SeqCst);
                sockets.lock().unwrap().push(stream.try_clone().unwrap());
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    let closing = stream.try_clone().unwrap();
                    serve(Wire::new(stream));
                    // `open` has a copy that would keep it open.
                    let _ = closing.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        App {
            instance,
            connections,
            open,
        }
    }

    /// Answers every request with 200 and `body`, on connections that stay open.
    pub fn saying(body: &'static str) -> App {
        App::start(move |mut wire| {
            while let Some(head) = wire.try_head() {
                let length = head.length();
                wire.read_exact(length);
                wire.send(ok(body));
            }
        })
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes every connection, as a process that ends does.
    pub fn reset_connections(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// An h2c app: tells the request line and fields, then echoes body and trailers. `/whole` echoes once it
/// has all.
pub fn h2c_echo() -> Arc<Instance> {
    use http_body_util::BodyExt;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let instance = Instance::new("h2c", listener.local_addr().unwrap(), false);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let echo = service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                    let (parts, body) = request.into_parts();
                    let mut said = format!("{} {}", parts.method, parts.uri);
                    for (name, value) in &parts.headers {
                        said.push_str(&format!(" {name}={}", value.to_str().unwrap()));
                    }
                    let answer = hyper::Response::builder().header("x-said", said);
                    let answer = if parts.uri.path() == "/sse" {
                        answer.header("content-type", "text/event-stream")
                    } else {
                        answer
                    };
                    if parts.uri.path() == "/whole" {
                        return match body.collect().await {
                            Ok(whole) => answer.body(whole.map_err(|none| match none {}).boxed()),
                            Err(_) => answer.body(
                                http_body_util::Empty::new()
                                    .map_err(|none| match none {})
                                    .boxed(),
                            ),
                        };
                    }
                    answer.body(body.boxed())
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), echo);
                tokio::spawn(connection);
            }
        });
    });
    instance
}

/// A port that nothing listens on, and that nothing will be given: bound, not listening.
pub fn dead_address() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A head and, for answers, what came with it.
#[derive(Debug, Clone)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: String,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status in {:?}", self.head))
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").skip(1).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn length(&self) -> usize {
        self.field("content-length")
            .map_or(0, |length| length.parse().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// A socket that is read message by message.
pub struct Wire {
    pub stream: TcpStream,
    pub ahead: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            ahead: Vec::new(),
        }
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).expect("written");
    }

    /// False at the end of the stream or when the connection broke.
    pub fn fill(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(read) => {
                self.ahead.extend_from_slice(&piece[..read]);
                true
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!(
                    "nothing came; so far: {:?}",
                    String::from_utf8_lossy(&self.ahead)
                )
            }
            Err(_) => false,
        }
    }

    pub fn try_head(&mut self) -> Option<Message> {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n\r\n") {
                let head: Vec<u8> = self.ahead.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                return Some(Message {
                    head: head.trim_end().to_owned(),
                    body: Vec::new(),
                    trailers: String::new(),
                });
            }
            if !self.fill() {
                return None;
            }
        }
    }

    pub fn head(&mut self) -> Message {
        self.try_head()
            .unwrap_or_else(|| panic!("closed; so far: {:?}", String::from_utf8_lossy(&self.ahead)))
    }

    pub fn read_exact(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            assert!(self.fill(), "closed after {} of {count}", self.ahead.len());
        }
        self.ahead.drain(..count).collect()
    }

    pub fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.ahead, b"\r\n") {
                let line: Vec<u8> = self.ahead.drain(..end + 2).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            assert!(self.fill(), "closed in a line");
        }
    }

    /// One chunk's data; empty at the end of the body.
    pub fn chunk(&mut self) -> Vec<u8> {
        let size = usize::from_str_radix(&self.read_line(), 16).unwrap();
        if size == 0 {
            return Vec::new();
        }
        let data = self.read_exact(size);
        assert_eq!(self.read_exact(2), b"\r\n");
        data
    }

    /// A chunked body and its trailers.
    pub fn chunks(&mut self) -> (Vec<u8>, String) {
        let (mut body, mut trailers) = (Vec::new(), String::new());
        loop {
            let data = self.chunk();
            if data.is_empty() {
                break;
            }
            body.extend(data);
        }
        loop {
            let line = self.read_line();
            if line.is_empty() {
                return (body, trailers);
            }
            trailers.push_str(&line);
            trailers.push('\n');
        }
    }

    /// A whole final answer to anything but HEAD.
    pub fn response(&mut self) -> Message {
        let mut message = self.head();
        while message.status() < 200 && message.status() != 101 {
            message = self.head();
        }
        self.body_of(message)
    }

    pub fn body_of(&mut self, mut message: Message) -> Message {
        if message.field("transfer-encoding").is_some() {
            (message.body, message.trailers) = self.chunks();
        } else if message.field("content-length").is_some() {
            message.body = self.read_exact(message.length());
        } else if !matches!(message.status(), 101 | 204 | 304) {
            while self.fill() {}
            message.body = std::mem::take(&mut self.ahead);
        }
        message
    }

    /// Nothing more comes: the other side has closed, one way or the other.
    pub fn is_closed(&mut self) -> bool {
        self.ahead.is_empty() && !self.fill()
    }
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

/// Waits until something is so.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
