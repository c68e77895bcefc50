//! WebSocket and other upgrades: bytes both ways, counted, and ended by both sides.

use std::net::Shutdown;
use std::sync::atomic::Ordering;

use crate::kit::{App, Front, Plan, eventually, ok};

const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\n";

#[test]
fn upgrade_is_tunnelled() {
    let app = App::start(|mut wire| {
        let head = wire.head();
        assert_eq!(head.field("upgrade"), Some("websocket"));
        assert_eq!(head.field("connection"), Some("Upgrade"));
        assert_eq!(head.field("sec-websocket-key"), Some("k"));
        wire.send(format!("{SWITCHED}first"));
        while wire.fill() {
            let said = std::mem::take(&mut wire.ahead);
            wire.send(said);
        }
        wire.send("last");
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(UPGRADE);
    let head = client.head();
    assert_eq!(head.status(), 101);
    assert_eq!(head.field("upgrade"), Some("websocket"));
    assert_eq!(head.field("sec-websocket-accept"), Some("a"));
    assert_eq!(client.read_exact(5), b"first");
    for size in [1, 100_000] {
        let sent = vec![7; size];
        client.send(&sent);
        assert_eq!(client.read_exact(size), sent);
    }
    assert_eq!(app.instance.counters.websockets.load(Ordering::Relaxed), 1);
    app.instance.close();
    assert_eq!(app.instance.in_flight(), 1, "the drain waits for it");
    // Half of it may end first.
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read_exact(4), b"last");
    assert!(client.is_closed());
    eventually("it is over", || app.instance.in_flight() == 0);
    assert_eq!(app.instance.counters.websockets.load(Ordering::Relaxed), 0);
}

#[test]
fn a_tunnel_that_is_cut_ends() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send(SWITCHED);
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(UPGRADE);
    assert_eq!(client.head().status(), 101);
    app.instance.close();
    app.instance.cut();
    assert_eq!(client.read_exact(4), [0x88, 2, 0x03, 0xf4], "a Close, 1012");
    assert!(client.is_closed());
}

#[test]
fn a_refused_upgrade_is_an_answer_like_others() {
    let app = App::start(|mut wire| {
        while wire.try_head().is_some() {
            wire.send("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno");
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..2 {
        client.send(UPGRADE);
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (426, "no"));
    }
}

#[test]
fn bytes_before_the_101_are_refused() {
    let app = App::start(|mut wire| {
        wire.try_head();
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(format!(
        "{UPGRADE}GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n"
    ));
    assert_eq!(client.response().status(), 400);
    assert!(client.is_closed());
    assert_eq!(app.connections(), 0);

    let mut client = front.client();
    client.send(UPGRADE);
    eventually("it is in", || app.instance.in_flight() == 1);
    client.send("GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().status(), 400);
    assert!(client.is_closed());
}

#[test]
fn h2c_is_not_passed_on_and_a_101_that_nobody_asked_for_is_a_502() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            if head.head.contains("/evil") {
                wire.send(SWITCHED);
            } else {
                assert_eq!(head.field("upgrade"), None);
                wire.send(ok("plain"));
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    assert_eq!(client.response().text(), "plain");
    assert_eq!(front.get("/evil").status(), 502);
}
