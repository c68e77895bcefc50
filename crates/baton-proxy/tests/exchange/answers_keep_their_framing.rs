//! HEAD, 204, 304, chunked and close-delimited answers, to HTTP/1.1 and 1.0 clients.

use crate::kit::{App, Front, Plan};

/// An app that says these bytes to every request, and closes if told so.
fn saying(answer: &'static str, close: bool) -> (App, Front) {
    let app = App::start(move |mut wire| {
        while wire.try_head().is_some() {
            wire.send(answer);
            if close {
                return;
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    (app, front)
}

#[test]
fn answers_without_a_body_have_none() {
    for (method, answer, length) in [
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
            Some("10"),
        ),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            None,
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\nETag: x\r\n\r\n",
            Some("10"),
        ),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Some("0"),
        ),
    ] {
        let (app, front) = saying(answer, false);
        let mut client = front.client();
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
            let head = client.head();
            assert_eq!(head.field("content-length"), length, "{answer}");
            assert_eq!(head.field("transfer-encoding"), None, "{answer}");
        }
        assert!(client.ahead.is_empty());
        assert_eq!(app.connections(), 1, "{answer}");
    }
}

#[test]
fn a_body_until_close_is_chunked() {
    let (app, front) = saying("HTTP/1.0 200 OK\r\nX-A: b\r\n\r\nall of it", true);
    let mut client = front.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.field("transfer-encoding"), Some("chunked"));
        assert_eq!(answer.text(), "all of it");
    }
    assert_eq!(app.connections(), 2);
}

#[test]
fn chunked_ends_by_close_for_http_1_0() {
    let (_app, front) = saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n",
        false,
    );
    let mut client = front.client();
    client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(answer.text(), "abcde");
}

#[test]
fn http_1_0_keeps_its_connection_when_it_asks() {
    let (_app, front) = saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false);
    let mut client = front.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!(
            (answer.text(), answer.field("connection")),
            ("ok", Some("keep-alive"))
        );
    }
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().field("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let (_app, front) = saying(
        "HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nDate: now\r\n\
         Proxy-Connection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        false,
    );
    let answer = front.get("/");
    assert_eq!(
        answer.head,
        "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 0"
    );
}
