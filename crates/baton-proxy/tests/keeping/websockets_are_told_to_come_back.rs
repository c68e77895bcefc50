//! WebSockets end with a Close between two frames, spread over time, whatever is on its way.

use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use baton_proxy::EndWebSockets;

use crate::kit::{App, Front, Plan, Wire, eventually};

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";
/// FIN, opcode 8, not masked, 2 bytes: 1012.
const CLOSE_1012: [u8; 4] = [0x88, 2, 0x03, 0xf4];
const TEXT: u8 = 0x01;
const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const AT_ONCE: EndWebSockets = EndWebSockets {
    code: 1012,
    spread: Duration::ZERO,
    pinned: true,
};

fn upgrade(protocol: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
         Sec-WebSocket-Key: k\r\n\r\n"
    )
}

/// From a server.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(short as u8),
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// From a client, with a mask that changes nothing.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    bytes
}

/// An app whose sockets are handed to the test.
fn handed_over() -> (App, Receiver<Wire>) {
    let (sockets, given): (Sender<Wire>, _) = channel();
    let sockets = Mutex::new(sockets);
    let app = App::start(move |mut wire| {
        wire.head();
        wire.send(SWITCHED);
        let mut copy = Wire::new(wire.stream.try_clone().unwrap());
        copy.ahead = wire.ahead;
        sockets.lock().unwrap().send(copy).unwrap();
        // Until the test is done with it.
        while wire.stream.peek(&mut [0]).is_ok_and(|n| n > 0) {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    (app, given)
}

fn open(front: &Front) -> Wire {
    let mut client = front.client();
    client.send(upgrade("websocket"));
    assert_eq!(client.head().status(), 101);
    client
}

#[test]
fn the_close_comes_after_the_message_that_is_on_its_way() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    let first = frame(TEXT | COMPRESSED, &[0x88; 300_000]);
    let last = frame(FIN, &[0x88; 1_000]);
    socket.send(&first[..200_000]);
    assert_eq!(client.read_exact(200_000), first[..200_000]);
    app.instance.end_websockets(AT_ONCE);
    std::thread::sleep(Duration::from_millis(100));
    socket.send(&first[200_000..]);
    std::thread::sleep(Duration::from_millis(100));
    // The client has something on its way as well.
    client.send(masked(FIN | TEXT, b"late"));
    let after = frame(FIN | TEXT, b"after the end");
    socket.send([&last[..], &after[..]].concat());
    let rest = [&first[200_000..], &last[..], &CLOSE_1012[..]].concat();
    assert!(client.read_exact(rest.len()) == rest);
    client.send(masked(FIN | TEXT, b"later"));
    client.send(masked(0x88, &[0x03, 0xf4]));
    assert!(client.is_closed(), "nothing follows a Close");
    let said = [
        masked(FIN | TEXT, b"late"),
        masked(FIN | TEXT, b"later"),
        masked(0x88, &[0x03, 0xf4]),
    ]
    .concat();
    assert_eq!(socket.read_exact(said.len()), said);
    socket.send(frame(0x88, &[0x03, 0xf4]));
    assert!(socket.is_closed());
    app.instance.close();
    eventually("it is over", || app.instance.in_flight() == 0);
}

#[test]
fn a_message_that_stands_still_is_left_between_two_fragments() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    socket.send(frame(TEXT, b"a part"));
    assert_eq!(client.read_exact(8).len(), 8);
    let begun = Instant::now();
    app.instance.end_websockets(AT_ONCE);
    assert_eq!(client.read_exact(4), CLOSE_1012);
    assert!(begun.elapsed() >= Duration::from_millis(900));
}

#[test]
fn a_client_that_does_not_answer_has_its_close_written_for_it() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    let begun = Instant::now();
    app.instance.end_websockets(EndWebSockets {
        code: 4001,
        ..AT_ONCE
    });
    assert_eq!(client.read_exact(4), [0x88, 2, 0x0f, 0xa1]);
    let close = socket.read_exact(8);
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_eq!(close[..2], [0x88, 0x82]);
    let code = [close[6] ^ close[2], close[7] ^ close[3]];
    assert_eq!(code, 4001u16.to_be_bytes());
    assert!(socket.is_closed());
    assert!(client.is_closed());
}

#[test]
fn they_do_not_all_go_at_once() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let clients: Vec<_> = (0..40).map(|_| open(&front)).collect();
    let _sockets: Vec<_> = (0..40).map(|_| sockets.recv().unwrap()).collect();
    app.instance.close();
    assert_eq!(app.instance.in_flight(), 40);
    eventually("all are upgraded", || {
        app.instance.requests_in_flight() == 0
    });
    let begun = Instant::now();
    app.instance.end_websockets(EndWebSockets {
        spread: Duration::from_secs(2),
        ..AT_ONCE
    });
    let told: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                assert_eq!(client.read_exact(4), CLOSE_1012);
                let told = begun.elapsed();
                client.send(masked(0x88, &[0x03, 0xf4]));
                assert!(client.is_closed());
                told
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for half in [0.0..1.0, 1.0..2.5] {
        let here = told.iter().filter(|t| half.contains(&t.as_secs_f64()));
        assert!(here.count() >= 8, "{told:?}");
    }
}

#[test]
fn those_that_come_later_are_left_alone() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    app.instance.end_websockets(AT_ONCE);
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    socket.send(frame(FIN | TEXT, b"hello"));
    assert_eq!(client.read_exact(7), frame(FIN | TEXT, b"hello"));
    assert_eq!(app.instance.counters.websockets.load(Ordering::Relaxed), 1);
}

#[test]
fn an_instance_that_dies_between_frames_is_spoken_for() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    socket.send(frame(TEXT, b"a fragment"));
    assert_eq!(client.read_exact(12).len(), 12);
    client.send(masked(FIN | TEXT, b"unread"));
    app.reset_connections();
    assert_eq!(client.read_exact(4), CLOSE_1012);
    let _ = std::io::Write::write_all(&mut client.stream, &masked(0x88, &[0x03, 0xf4]));
    assert!(client.is_closed());
    eventually("it is over", || app.instance.in_flight() == 0);
}

#[test]
fn an_instance_that_dies_inside_a_frame_is_not() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    socket.send(&frame(FIN | TEXT, b"a whole one")[..6]);
    assert_eq!(client.read_exact(6).len(), 6);
    app.reset_connections();
    assert!(client.is_closed(), "{:?}", client.ahead);
}

#[test]
fn an_app_that_closes_by_itself_is_not_spoken_over() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = open(&front);
    let mut socket = sockets.recv().unwrap();
    let close = frame(0x88, &[0x03, 0xe8]);
    socket.send(&close);
    assert_eq!(client.read_exact(4), close);
    client.send(masked(0x88, &[0x03, 0xe8]));
    assert_eq!(socket.read_exact(8)[6..], [0x03, 0xe8]);
    socket.stream.shutdown(Shutdown::Both).unwrap();
    assert!(client.is_closed());
}

#[test]
fn a_cut_says_what_can_be_said_at_once() {
    let (app, sockets) = handed_over();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut between = open(&front);
    let _quiet = sockets.recv().unwrap();
    let mut inside = open(&front);
    let mut socket = sockets.recv().unwrap();
    socket.send(&frame(FIN | TEXT, b"a whole one")[..6]);
    assert_eq!(inside.read_exact(6).len(), 6);
    app.instance.close();
    app.instance.cut();
    assert_eq!(between.read_exact(4), CLOSE_1012);
    assert!(between.is_closed() && inside.is_closed());
    eventually("it is over", || app.instance.in_flight() == 0);
}

#[test]
fn another_protocol_is_just_closed() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send(SWITCHED.replace("websocket", "tunnel/1"));
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(upgrade("tunnel/1"));
    assert_eq!(client.head().status(), 101);
    app.instance.end_websockets(AT_ONCE);
    assert!(client.is_closed());
}
