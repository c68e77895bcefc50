//! An app may answer before it has read the request.

use crate::kit::{App, Front, Plan, ok};

#[test]
fn the_answer_arrives_though_the_app_reads_no_more() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        );
        wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Not closed with unread bytes: that would be a reset, and the answer lost on the way.
        while wire.fill() {}
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000000\r\n\r\n");
    client.send(vec![1; 100_000]);
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (413, "big"));
    assert!(
        client.is_closed(),
        "what is left of the request is never taken for another one"
    );
}

#[test]
fn the_rest_of_a_short_request_is_read_and_forgotten() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send(ok("early"));
        while wire.fill() {}
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 36\r\n\r\n");
        assert_eq!(client.response().text(), "early");
        client.send("GET /smuggled HTTP/1.1\r\nHost: b\r\n\r\n\n");
    }
    assert_eq!(
        app.connections(),
        3,
        "a connection that has not seen all is not used again"
    );
}

#[test]
fn both_directions_move_at_the_same_time() {
    let app = App::start(|mut wire| {
        while wire.try_head().is_some() {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            loop {
                let data = wire.chunk();
                if data.is_empty() {
                    break;
                }
                wire.send(format!("{:x}\r\n", data.len()));
                wire.send(&data);
                wire.send("\r\n");
            }
            wire.read_line();
            wire.send("0\r\n\r\n");
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    for word in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.chunk(), word.as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunks(), (Vec::new(), String::new()));
    // And the connection is still good.
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
}
