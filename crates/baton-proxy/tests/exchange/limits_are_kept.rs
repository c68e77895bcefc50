//! Each limit has its own status, and then the connection ends.

use std::time::Duration;

use crate::kit::{App, Front, Plan, Wire};

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn bodies_over_the_limit_are_413() {
    let app = App::start(|mut wire: Wire| while wire.fill() {});
    let mut plan = Plan::to(&[&app.instance]);
    plan.limits.body = 10;
    let front = Front::start(plan);
    for request in [
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let mut client = front.client();
        client.send(request);
        if request.ends_with("hello\r\n") {
            crate::kit::eventually("it is in", || app.instance.in_flight() == 1);
            client.send("6\r\n world\r\n");
        }
        let answer = client.response();
        assert_eq!(
            (answer.status(), answer.field("connection")),
            (413, Some("close"))
        );
        assert!(client.is_closed());
    }
}

#[test]
fn heads_over_the_limit_are_431() {
    let app = App::saying("");
    let mut plan = Plan::to(&[&app.instance]);
    plan.limits.header_bytes = 200;
    let front = Front::start(plan);
    let mut client = front.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n",
        "y".repeat(200)
    ));
    assert_eq!(client.response().status(), 431);
    assert!(client.is_closed());

    let mut client = front.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n",
        "y".repeat(70_000)
    ));
    assert_eq!(client.response().status(), 431);
    let mut client = front.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n",
        "X: y\r\n".repeat(101)
    ));
    assert_eq!(client.response().status(), 431);
    assert_eq!(front.get("/").status(), 200);
}

#[test]
fn slow_heads_are_408_and_idle_connections_just_end() {
    let app = App::saying("x");
    let front = Front::with(Plan::to(&[&app.instance]), |settings| {
        settings.limits.header_timeout = SHORT;
        settings.limits.keep_alive = SHORT;
    });
    let mut slow = front.client();
    slow.send("GET / HT");
    assert_eq!(slow.response().status(), 408);
    assert!(slow.is_closed());
    let mut idle = front.client();
    idle.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(idle.response().text(), "x");
    assert!(idle.is_closed());
}

#[test]
fn slow_bodies_are_408_and_slow_answers_504() {
    let app = App::start(|mut wire: Wire| {
        let head = wire.head();
        if head.head.contains("/half") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        while wire.fill() {}
    });
    let mut plan = Plan::to(&[&app.instance]);
    plan.limits.idle = SHORT;
    let front = Front::start(plan);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status(), 408);
    assert!(client.is_closed());
    assert_eq!(front.get("/").status(), 504);
    let mut client = front.client();
    client.send("GET /half HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.read_exact(4), b"half");
    assert!(client.is_closed());
}
