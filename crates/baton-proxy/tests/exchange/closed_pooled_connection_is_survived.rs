//! An app may close an idle connection at any moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::kit::{App, Front, Plan, eventually, ok};

/// Answers one request on each connection and closes it only when told.
fn one_each() -> App {
    App::start(|mut wire| {
        if let Some(head) = wire.try_head() {
            wire.read_exact(head.length());
            wire.send(ok("served"));
            wire.is_closed();
        }
    })
}

#[test]
fn before_a_request() {
    let app = one_each();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ] {
        client.send(request);
        assert_eq!(client.response().text(), "served");
        app.reset_connections();
    }
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}

/// The second request on a connection is read and the connection closed, as when an idle timeout and a
/// request cross each other.
fn closing_under_the_second() -> App {
    static SEEN: AtomicUsize = AtomicUsize::new(0);
    App::start(|mut wire| {
        let head = wire.head();
        wire.read_exact(head.length());
        SEEN.fetch_add(1, Ordering::SeqCst);
        wire.send(ok("served"));
        wire.try_head();
    })
}

#[test]
fn under_a_get_it_is_sent_again() {
    let app = closing_under_the_second();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..6 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().text(), "served");
    }
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn under_a_post_it_is_a_502_and_never_sent_again() {
    let app = closing_under_the_second();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().text(), "served");
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 502);
    assert_eq!(app.connections(), 1);
}

#[test]
fn a_post_does_not_risk_a_connection_that_has_been_idle() {
    let app = closing_under_the_second();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().text(), "served");
    // The promise is about time passing; there is no condition to wait on.
    std::thread::sleep(Duration::from_millis(1_100));
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().text(), "served");
    assert_eq!(app.connections(), 2);
}

#[test]
fn connections_of_a_drained_instance_are_closed() {
    let app = one_each();
    let front = Front::start(Plan::to(&[&app.instance]));
    front.get("/");
    let other = App::saying("other");
    front.publish(Plan::to(&[&other.instance]));
    app.instance.close();
    eventually("it has drained", || app.instance.in_flight() == 0);
    // `one_each` ends when its connection is closed; a second life finds no old connection.
    app.instance.open();
    front.publish(Plan::to(&[&app.instance]));
    assert_eq!(front.get("/").text(), "served");
    assert_eq!(app.connections(), 2);
}
