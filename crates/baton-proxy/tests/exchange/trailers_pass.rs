//! Trailers, both ways.

use crate::kit::{App, Front, Plan};

#[test]
fn trailers_pass() {
    let app = App::start(|mut wire| {
        while let Some(_head) = wire.try_head() {
            let (body, trailers) = wire.chunks();
            assert_eq!(
                (body.as_slice(), trailers.as_str()),
                (&b"hello"[..], "X-Sum: 5\n")
            );
            wire.send("HTTP/1.1 200 OK\r\nTrailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n");
            wire.send("X-End: a");
            wire.send("b\r\n\r\n");
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-S");
        client.send("um: 5\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.field("trailer"), Some("X-End"));
        assert_eq!(
            (answer.text(), answer.trailers.as_str()),
            ("yes", "X-End: ab\n")
        );
    }
    assert_eq!(app.connections(), 1);
}
