//! Apps that emit what a test says, and clients that read it event by event.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use baton_proxy::{Instance, StreamMode, StreamRule};

use crate::kit::{App, Front, Message, PATIENCE, Plan, Wire, eventually};

pub const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An app with one path: every GET is a stream that stays open, and gets what is emitted from then on.
pub struct Source {
    pub app: App,
    open: Arc<Mutex<Vec<TcpStream>>>,
    heads: Arc<Mutex<Vec<Message>>>,
}

impl Source {
    pub fn start() -> Source {
        Source::greeting(|_| EVENTS.into())
    }

    /// `greet`: what a request is answered with at once; nothing: no stream. The head is a part of it.
    pub fn greeting(greet: impl Fn(&Message) -> String + Send + Sync + 'static) -> Source {
        Source::at(([127, 0, 0, 1], 0).into(), greet)
    }

    pub fn at(
        address: SocketAddr,
        greet: impl Fn(&Message) -> String + Send + Sync + 'static,
    ) -> Source {
        let (open, heads) = (
            Arc::<Mutex<Vec<TcpStream>>>::default(),
            Arc::<Mutex<Vec<Message>>>::default(),
        );
        let (streams, seen) = (Arc::clone(&open), Arc::clone(&heads));
        let app = App::bind(address, false, move |mut wire| {
            while let Some(head) = wire.try_head() {
                wire.read_exact(head.length());
                let greeting = greet(&head);
                {
                    // One at a time, so that what is emitted follows the greeting.
                    let mut streams = streams.lock().unwrap();
                    seen.lock().unwrap().push(head);
                    let _ = wire.stream.write_all(greeting.as_bytes());
                    streams.push(wire.stream.try_clone().unwrap());
                }
            }
        });
        Source { app, open, heads }
    }

    pub fn instance(&self) -> &Arc<Instance> {
        &self.app.instance
    }

    /// To every stream that is open, as one chunk.
    pub fn emit(&self, text: &str) {
        self.emit_raw(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }

    pub fn emit_raw(&self, bytes: &[u8]) {
        let mut open = self.open.lock().unwrap();
        open.retain_mut(|stream| stream.write_all(bytes).is_ok());
    }

    /// Ends every stream, as an emitter does whose time is over.
    pub fn complete(&self) {
        self.emit_raw(b"0\r\n\r\n");
        self.open.lock().unwrap().clear();
    }

    /// Drops every connection, as a process that is killed does.
    pub fn kill(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let socket = socket2::Socket::from(stream);
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn request(&self, number: usize) -> Message {
        self.await_requests(number + 1);
        self.heads.lock().unwrap()[number].clone()
    }

    /// Waits until so many requests have been answered.
    pub fn await_requests(&self, count: usize) {
        eventually("it is asked", || self.requests() >= count);
    }
}

/// One mode for every path: requests go to `instances`, streams have halves on `halves`.
pub fn plan(mode: StreamMode, instances: &[&Source], halves: &[&Source]) -> Plan {
    let all = |sources: &[&Source]| -> Vec<_> {
        sources.iter().map(|s| Arc::clone(s.instance())).collect()
    };
    let mut plan = Plan::to(&[]);
    plan.instances = all(instances);
    plan.halves = all(halves);
    plan.streams = vec![StreamRule::new("/**", mode)];
    plan
}

/// A browser's stream: whole events, however they are chunked.
pub struct Listener {
    wire: Wire,
    pub head: Message,
    body: Vec<u8>,
    /// The body has ended cleanly.
    pub ended: bool,
}

impl Listener {
    pub fn open(front: &Front) -> Listener {
        Listener::with(front, "")
    }

    /// Once the stream is known to be one: what is published from now on concerns it.
    pub fn counted(front: &Front) -> Listener {
        let open = || front.counters.streams.open.load(Relaxed);
        let before = open();
        let listener = Listener::open(front);
        eventually("it is a stream", || open() > before);
        listener
    }

    /// With more fields, each with its CRLF.
    pub fn with(front: &Front, fields: &str) -> Listener {
        let mut wire = front.client();
        wire.send(format!(
            "GET /sse?room=1 HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n{fields}\r\n"
        ));
        let head = wire.head();
        Listener {
            wire,
            head,
            body: Vec::new(),
            ended: false,
        }
    }

    /// The next event with its blank line; None at the end of the stream.
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = crate::kit::find(&self.body, b"\n\n") {
                let event: Vec<u8> = self.body.drain(..end + 2).collect();
                return Some(String::from_utf8(event).unwrap());
            }
            if self.ended {
                return None;
            }
            let chunk = self.wire.chunk();
            if chunk.is_empty() {
                self.ended = true;
                assert_eq!(self.wire.read_line(), "");
            }
            self.body.extend(chunk);
        }
    }

    /// The data of the next event that has any.
    pub fn data(&mut self) -> String {
        loop {
            let event = self.next().expect("the stream goes on");
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            if let Some(data) = data {
                return data.to_owned();
            }
        }
    }

    /// The connection, for the next request.
    pub fn into_wire(self) -> Wire {
        assert!(self.ended && self.body.is_empty());
        self.wire
    }

    /// The connection ends in the middle of the body.
    pub fn breaks(mut self) -> bool {
        self.wire.is_closed()
    }

    /// Nothing comes for a while.
    pub fn is_quiet(&mut self) -> bool {
        let short = std::time::Duration::from_millis(150);
        self.wire.stream.set_read_timeout(Some(short)).unwrap();
        let mut byte = [0];
        let quiet = self.body.is_empty()
            && self.wire.ahead.is_empty()
            && matches!(self.wire.stream.peek(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        self.wire.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }
}

/// Publishes a table with a half more, and waits until every stream has it.
pub fn attach(front: &Front, plan: Plan) {
    front.publish(plan);
    eventually("every stream has attached", || {
        front.proxy.table().routes()[0].unattached() == 0
    });
}
