//! Sessions in an app's memory: their clients stay with the instance that has them, all others follow the
//! switch.

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_proxy::{EndWebSockets, Instance, Mode, SessionRule, StreamMode};

use crate::kit::{App, Front, Message, Plan, Wire, eventually};

const COOKIE: &str = "SID";
const TICK: &[u8] = b"data: tick\n\n";

/// Counts the requests of each session, in its memory.
#[derive(Clone)]
struct Servlet {
    name: &'static str,
    sessions: Arc<Mutex<HashMap<String, usize>>>,
    given: Arc<AtomicUsize>,
}

impl Servlet {
    fn start(name: &'static str) -> App {
        let servlet = Servlet::new(name);
        App::start(move |wire| servlet.serve(wire))
    }

    fn new(name: &'static str) -> Servlet {
        Servlet {
            name,
            sessions: Arc::default(),
            given: Arc::default(),
        }
    }

    fn serve(&self, mut wire: Wire) {
        while let Some(head) = wire.try_head() {
            let session = head.field("cookie").and_then(|cookie| {
                let value = cookie.split("SID=").nth(1)?;
                Some(value.split(';').next()?.to_owned())
            });
            let path = head.head.split(' ').nth(1).unwrap();
            let answer = self.answer(path, session.as_deref());
            wire.send(answer);
            if path == "/events" {
                while wire.stream.write_all(TICK).is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            if path == "/ws" {
                while wire.fill() {
                    let said = std::mem::take(&mut wire.ahead);
                    wire.send(said);
                }
            }
        }
    }

    fn answer(&self, path: &str, session: Option<&str>) -> String {
        let mut sessions = self.sessions.lock().unwrap();
        let body = match session.and_then(|session| sessions.get_mut(session)) {
            Some(count) => {
                *count += 1;
                format!("{} {count}", self.name)
            }
            None => format!("{} stranger", self.name),
        };
        let set = match path {
            "/login" | "/renew" => {
                let id = self.given.fetch_add(1, Ordering::SeqCst);
                let id = format!("{}-{id}", self.name);
                let count = session.and_then(|session| sessions.remove(session));
                sessions.insert(id.clone(), count.unwrap_or(0));
                format!("Set-Cookie: SID={id}; Path=/; HttpOnly\r\n")
            }
            "/logout" => {
                sessions.remove(session.unwrap_or_default());
                "Set-Cookie: SID=; Max-Age=0; Path=/\r\n".to_owned()
            }
            "/events" => {
                return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned();
            }
            "/ws" => {
                return "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                        Upgrade: websocket\r\n\r\n"
                    .to_owned();
            }
            "/java" => "Set-Cookie: JSESSIONID=1; Path=/\r\n".to_owned(),
            _ => String::new(),
        };
        format!(
            "HTTP/1.1 200 OK\r\n{set}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

fn plan(instances: &[&Arc<Instance>], pinned: &[&Arc<Instance>], keep: Duration) -> Plan {
    Plan {
        sessions: Some(Arc::new(SessionRule {
            cookie: COOKIE.into(),
            keep,
        })),
        pinned: pinned.iter().map(|i| Arc::clone(i)).collect(),
        ..Plan::to(instances)
    }
}

/// As the control plane does it.
fn switch(front: &Front, old: &Arc<Instance>, new: &Arc<Instance>, keep: Duration) {
    old.pin();
    front.publish(plan(&[new], &[old], keep));
    old.close();
}

struct Browser {
    wire: Wire,
    cookie: Option<String>,
}

impl Browser {
    fn new(front: &Front) -> Browser {
        Browser {
            wire: front.client(),
            cookie: None,
        }
    }

    fn send(&mut self, path: &str, more: &str) {
        let cookie = match &self.cookie {
            Some(cookie) => format!("Cookie: theme=dark; {cookie}; lang=ko\r\n"),
            None => String::new(),
        };
        self.wire.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{cookie}{more}\r\n"
        ));
    }

    fn get(&mut self, path: &str) -> Message {
        self.send(path, "");
        let answer = self.wire.response();
        if let Some(set) = answer.field("set-cookie") {
            let pair = set.split(';').next().unwrap().to_owned();
            self.cookie = (!pair.ends_with('=')).then_some(pair);
        }
        answer
    }

    fn text(&mut self, path: &str) -> String {
        self.get(path).text().to_owned()
    }
}

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_hundred_clients_keep_their_session_through_a_switch() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let keep = Duration::from_secs(3);
    let front = Front::start(plan(&[&blue.instance], &[], keep));
    let mut clients: Vec<_> = (0..100).map(|_| Browser::new(&front)).collect();
    for client in &mut clients {
        client.get("/login");
        assert_eq!(client.text("/"), "blue 1");
    }
    assert_eq!(front.proxy.sessions_left(&blue.instance), 100);
    switch(&front, &blue.instance, &green.instance, keep);
    for round in 2..5 {
        for (number, client) in clients.iter_mut().enumerate() {
            if number % 2 == 0 {
                client.wire = front.client();
            }
            assert_eq!(client.text("/"), format!("blue {round}"));
        }
        let mut new = Browser::new(&front);
        assert_eq!(new.text("/"), "green stranger");
        new.get("/login");
        assert_eq!(new.text("/"), "green 1");
        // A cookie that nobody knows keeps nobody on the old release.
        new.cookie = Some(format!("SID=made-up-{round}"));
        assert_eq!(new.text("/"), "green stranger");
    }
    assert_eq!(front.proxy.sessions_left(&blue.instance), 100);
    assert_eq!(blue.instance.requests_in_flight(), 0);
    // One goes on, the others are idle.
    eventually("only one is left", || {
        assert!(clients[0].text("/").starts_with("blue "));
        front.proxy.sessions_left(&blue.instance) == 1
    });
    eventually("it is idle", || {
        front.proxy.sessions_left(&blue.instance) == 0
    });
    front.publish(plan(&[&green.instance], &[], keep));
    front.proxy.unpin(&blue.instance);
    let drained = blue.instance.drained();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(drained);
    let ended = &blue.instance.counters.sessions_ended;
    assert_eq!(ended.load(Ordering::Relaxed), 0);
    assert_eq!(clients[0].text("/"), "green stranger");
}

#[test]
fn a_new_id_is_followed_and_a_deleted_one_forgotten() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut client = Browser::new(&front);
    client.get("/login");
    client.get("/");
    switch(&front, &blue.instance, &green.instance, LONG);
    client.get("/renew");
    assert_eq!(client.text("/"), "blue 3");
    assert_eq!(front.proxy.sessions_left(&blue.instance), 1);
    client.get("/logout");
    assert_eq!(front.proxy.sessions_left(&blue.instance), 0);
    assert_eq!(client.text("/"), "green stranger");
}

#[test]
fn sessions_from_before_the_proxy_are_learned_from_requests() {
    let servlet = Servlet::new("blue");
    let sessions = Arc::clone(&servlet.sessions);
    sessions.lock().unwrap().insert("early".to_owned(), 0);
    let (blue, green) = (
        App::start(move |wire| servlet.serve(wire)),
        Servlet::start("green"),
    );
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut client = Browser::new(&front);
    client.cookie = Some("SID=early".to_owned());
    assert_eq!(client.text("/"), "blue 1");
    switch(&front, &blue.instance, &green.instance, LONG);
    // Twice: of two paths.
    client.cookie = Some("SID=other; SID=early".to_owned());
    assert_eq!(client.text("/"), "blue stranger", "the app takes the first");
    client.cookie = Some("SID=early".to_owned());
    assert_eq!(client.text("/"), "blue 2");
}

#[test]
fn each_replica_has_its_own() {
    let apps = ["one", "two", "three"].map(Servlet::start);
    let instances: Vec<_> = apps.iter().map(|app| &app.instance).collect();
    let front = Front::start(plan(&instances, &[], LONG));
    let mut names = Vec::new();
    for _ in 0..12 {
        let mut client = Browser::new(&front);
        client.get("/login");
        let first = client.text("/");
        for count in 2..6 {
            let name = first.split(' ').next().unwrap();
            assert_eq!(client.text("/"), format!("{name} {count}"));
        }
        names.push(first);
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 3, "all of them are used: {names:?}");
}

#[test]
fn streams_and_websockets_of_a_session_stay_too() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut before = Browser::new(&front);
    before.send("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(before.wire.head().status(), 101);
    let mut client = Browser::new(&front);
    client.get("/login");
    let mut early = Browser {
        wire: front.client(),
        cookie: client.cookie.clone(),
    };
    early.send("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(early.wire.head().status(), 101);
    switch(&front, &blue.instance, &green.instance, LONG);
    let mut events = Browser {
        wire: front.client(),
        cookie: client.cookie.clone(),
    };
    events.send("/events", "");
    assert_eq!(events.wire.head().status(), 200);
    let mut socket = Browser {
        wire: front.client(),
        cookie: client.cookie.clone(),
    };
    socket.send("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(socket.wire.head().status(), 101);
    let gauge = &blue.instance.counters.websockets;
    eventually("all are open", || gauge.load(Ordering::Relaxed) == 3);
    blue.instance.end_websockets(EndWebSockets {
        spread: Duration::ZERO,
        pinned: false,
        ..EndWebSockets::default()
    });
    assert_eq!(before.wire.read_exact(4), [0x88, 2, 0x03, 0xf4]);
    drop(before);
    eventually("two are left", || gauge.load(Ordering::Relaxed) == 2);
    let hello = [&[0x81, 0x85, 0, 0, 0, 0][..], b"hello"].concat();
    for socket in [&mut socket, &mut early] {
        socket.wire.send(&hello);
        // The app sends back what it got.
        assert_eq!(socket.wire.read_exact(hello.len()), hello);
    }
    // Until no session is kept any more.
    front.publish(plan(&[&green.instance], &[], LONG));
    front.proxy.unpin(&blue.instance);
    for socket in [&mut socket, &mut early] {
        assert_eq!(socket.wire.read_exact(4), [0x88, 2, 0x03, 0xf4]);
    }
}

#[test]
fn what_is_unpinned_in_use_is_counted() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut clients: Vec<_> = (0..7).map(|_| Browser::new(&front)).collect();
    for client in &mut clients {
        client.get("/login");
    }
    switch(&front, &blue.instance, &green.instance, LONG);
    front.publish(plan(&[&green.instance], &[], LONG));
    front.proxy.unpin(&blue.instance);
    let ended = &blue.instance.counters.sessions_ended;
    assert_eq!(ended.load(Ordering::Relaxed), 7);
    assert_eq!(clients[3].text("/"), "green stranger");
    // The way back: they begin anew.
    blue.instance.open();
    front.publish(plan(&[&blue.instance], &[], LONG));
    green.instance.close();
    assert_eq!(clients[3].text("/"), "blue 1", "its memory is still there");
}

/// An app that can die.
fn mortal(name: &'static str) -> (SocketAddr, Arc<AtomicBool>, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let dead = Arc::new(AtomicBool::new(false));
    let servlet = Servlet::new(name);
    let dies = Arc::clone(&dead);
    let thread = std::thread::spawn(move || {
        let mut open = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if dies.load(Ordering::SeqCst) {
                break;
            }
            open.push(stream.try_clone().unwrap());
            let servlet = servlet.clone();
            std::thread::spawn(move || servlet.serve(Wire::new(stream)));
        }
        for stream in open {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    });
    (address, dead, thread)
}

#[test]
fn a_crash_unpins_them() {
    let (address, dead, thread) = mortal("blue");
    let (blue, green) = (
        Instance::new("blue", address, false),
        Servlet::start("green"),
    );
    let front = Front::start(plan(&[&blue], &[], LONG));
    let mut clients: Vec<_> = (0..5).map(|_| Browser::new(&front)).collect();
    for client in &mut clients {
        client.get("/login");
    }
    switch(&front, &blue, &green.instance, LONG);
    assert_eq!(clients[0].text("/"), "blue 1");
    assert!(blue.is_pinned());
    dead.store(true, Ordering::SeqCst);
    drop(std::net::TcpStream::connect(address));
    thread.join().unwrap();
    for client in &mut clients {
        assert_eq!(client.text("/"), "green stranger");
    }
    assert!(!blue.is_pinned());
    assert_eq!(front.proxy.sessions_left(&blue), 0);
    assert_eq!(blue.counters.sessions_ended.load(Ordering::Relaxed), 5);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_session_cookie_that_no_rule_names_is_noticed() {
    let blue = Servlet::start("blue");
    let front = Front::start(Plan::to(&[&blue.instance]));
    assert_eq!(Browser::new(&front).text("/login"), "blue stranger");
    assert_eq!(front.counters.session_cookie.get(), None);
    Browser::new(&front).get("/java");
    let noticed = front.counters.session_cookie.get().map(AsRef::as_ref);
    assert_eq!(noticed, Some("JSESSIONID"));

    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    Browser::new(&front).get("/java");
    assert_eq!(front.counters.session_cookie.get(), None);
}

#[test]
fn a_paused_route_holds_them_too() {
    let blue = Servlet::start("blue");
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut client = Browser::new(&front);
    client.get("/login");
    front.publish(Plan {
        mode: Mode::Hold,
        ..plan(&[&blue.instance], &[], LONG)
    });
    let served = blue.instance.counters.requests.load(Ordering::Relaxed);
    client.send("/", "");
    let held = &front.counters.held;
    eventually("it is held", || held.load(Ordering::Relaxed) == 1);
    front.publish(plan(&[&blue.instance], &[], LONG));
    assert_eq!(client.wire.response().text(), "blue 1");
    let now = blue.instance.counters.requests.load(Ordering::Relaxed);
    assert_eq!(now, served + 1);
}

#[test]
fn a_restart_of_the_proxy_in_the_middle_of_it_loses_none() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut clients: Vec<_> = (0..30).map(|_| Browser::new(&front)).collect();
    for client in &mut clients {
        client.get("/login");
    }
    switch(&front, &blue.instance, &green.instance, LONG);
    let kept = front.proxy.export_sessions(&blue.instance);
    assert_eq!(kept.len(), 24 + 30 * 11);
    let mut new = Browser::new(&front);
    new.get("/login");
    drop(front);

    let again = Instance::new("blue", blue.instance.address, false);
    again.close();
    again.pin();
    let front = Front::start(Plan::to(&[]));
    assert!(front.proxy.import_sessions(&again, &kept));
    assert!(!front.proxy.import_sessions(&again, b"else"));
    front.publish(plan(&[&green.instance], &[&again], LONG));
    assert_eq!(front.proxy.sessions_left(&again), 30);
    for client in &mut clients {
        client.wire = front.client();
        assert_eq!(client.text("/"), "blue 1");
    }
    new.wire = front.client();
    assert_eq!(new.text("/"), "green 1");
    let another = Front::start(plan(&[&green.instance], &[], LONG));
    new.wire = another.client();
    new.get("/");
    assert!(
        !another.proxy.import_sessions(&again, &kept),
        "it is too late"
    );
}

#[tokio::test]
async fn over_http2_as_well() {
    use http_body_util::{BodyExt, Empty};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let mut get = async |path: &str, cookies: &[&str]| {
        let mut request = http::Request::get(format!("http://a.test{path}"));
        for cookie in cookies {
            request = request.header("cookie", *cookie);
        }
        let request = request.body(Empty::<bytes::Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let text = body.collect().await.unwrap().to_bytes();
        let set = head.headers.get("set-cookie").cloned();
        (String::from_utf8(text.to_vec()).unwrap(), set)
    };
    let (_, set) = get("/login", &[]).await;
    let set = set.unwrap().to_str().unwrap().to_owned();
    let cookie = set.split(';').next().unwrap();
    switch(&front, &blue.instance, &green.instance, LONG);
    // In pieces, as browsers send it.
    assert_eq!(get("/", &["theme=dark", cookie]).await.0, "blue 1");
    assert_eq!(get("/", &["theme=dark"]).await.0, "green stranger");
    assert_eq!(front.proxy.sessions_left(&blue.instance), 1);
}

/// Others are handed over; this one belongs to a session, and an app that knows nothing of it would be
/// asked.
#[test]
fn the_event_stream_of_a_session_is_not_handed_over() {
    let (blue, green) = (Servlet::start("blue"), Servlet::start("green"));
    let front = Front::start(plan(&[&blue.instance], &[], LONG));
    let mut client = Browser::new(&front);
    client.get("/login");
    let managed = |halves: &[&Arc<Instance>]| Plan {
        default_stream_mode: StreamMode::Union,
        halves: halves.iter().map(|half| Arc::clone(half)).collect(),
        ..plan(&[&green.instance], &[&blue.instance], LONG)
    };
    blue.instance.pin();
    front.publish(managed(&[&blue.instance, &green.instance]));
    blue.instance.close();
    client.send("/events", "Accept: text/event-stream\r\n");
    assert_eq!(client.wire.head().status(), 200);
    front.publish(managed(&[&green.instance]));
    blue.instance.close_streams();
    for _ in 0..40 {
        assert!(client.wire.chunk().starts_with(TICK));
    }
    assert_eq!(green.connections(), 0);
    assert_eq!(blue.instance.in_flight(), 1);
}
