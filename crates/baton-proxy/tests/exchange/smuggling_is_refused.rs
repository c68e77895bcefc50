//! Nothing whose end is in doubt reaches an app, and nothing is read after it.

use crate::kit::{App, Front, Plan};

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn smuggling_is_refused() {
    let app = App::saying("reached");
    let front = Front::start(Plan::to(&[&app.instance]));
    for (head, status) in [
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\nContent-Length: 38\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0, 0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +5\r\n\r\nhello",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0x5\r\n\r\nhello",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: xchunked\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: identity\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length : 5\r\n\r\nhello",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a.test\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test\r\nX: a\0b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            400,
        ),
        ("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 501),
        ("GET / HTTP/3.0\r\nHost: a.test\r\n\r\n", 505),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: host\r\n\r\n",
            400,
        ),
    ] {
        let mut client = front.client();
        client.send(format!("{head}{HIDDEN}"));
        let answer = client.response();
        assert_eq!(answer.status(), status, "{head:?}");
        assert!(client.is_closed(), "{head:?}: nothing is read after it");
    }
    assert_eq!(app.connections(), 0, "nothing of them reached the app");
}

#[test]
fn a_broken_body_ends_the_exchange() {
    let app = App::start(|mut wire| {
        wire.head();
        while wire.fill() {}
        assert!(!String::from_utf8_lossy(&wire.ahead).contains("/hidden"));
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    for body in [
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = front.client();
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{body}{HIDDEN}"));
        assert_eq!(client.response().status(), 400, "{body:?}");
        assert!(client.is_closed(), "{body:?}");
    }
}
