//! 1xx, and `Expect: 100-continue` between client and app.

use crate::kit::{App, Front, Plan, ok};

#[test]
fn early_hints_come_through_in_order() {
    let app = App::start(|mut wire| {
        while wire.try_head().is_some() {
            wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n");
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            wire.send(ok("done"));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    for link in ["</a>", "</b>"] {
        let hint = client.head();
        assert_eq!((hint.status(), hint.field("link")), (103, Some(link)));
    }
    // A 100 is for who asked.
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.read_exact(4), b"done");
    // HTTP/1.0 knows no 1xx.
    let mut old = front.client();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.head().status(), 200);
}

#[test]
fn the_body_is_sent_when_the_app_asks_for_it() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            assert_eq!(head.field("expect"), Some("100-continue"));
            assert!(wire.ahead.is_empty());
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(wire.read_exact(5), b"hello");
            wire.send(ok("thanks"));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..2 {
        client.send(
            "PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(client.head().status(), 100);
        client.send("hello");
        assert_eq!(client.response().text(), "thanks");
    }
}

#[test]
fn a_refused_expectation_ends_the_connection() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send(
        "PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    let answer = client.response();
    // Whether the body comes after all is not known.
    assert_eq!(
        (answer.status(), answer.field("connection")),
        (401, Some("close"))
    );
    assert!(client.is_closed());
}
