//! `protocol: h2c` is the app's affair; clients speak what they speak.

use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_proxy::Protocol;

use crate::kit::{Front, Plan, eventually, h2c_echo};

fn front() -> (std::sync::Arc<baton_proxy::Instance>, Front) {
    let instance = h2c_echo();
    let mut plan = Plan::to(&[&instance]);
    plan.protocol = Protocol::H2c;
    plan.limits.body = 20 << 20;
    (instance, Front::start(plan))
}

#[test]
fn with_body_and_trailers() {
    let (instance, front) = front();
    let mut client = front.client();
    client.send(
        "GET /a?b HTTP/1.1\r\nHost: a.test\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-A: b\r\n\r\n",
    );
    let answer = client.response();
    let said = answer.field("x-said").unwrap();
    assert!(
        said.starts_with("GET http://a.test/a?b x-a=b x-real-ip=127.0.0.1"),
        "{said}"
    );
    assert!(
        !said.contains("x-hop") && !said.contains("connection="),
        "{said}"
    );
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n",
        );
        let answer = client.response();
        assert_eq!(
            (answer.text(), answer.trailers.as_str()),
            ("hello world", "x-sum: 11\n")
        );
    }
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.response().text(), "hello");
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.head().status(), 200);
    eventually("it is over", || instance.in_flight() == 0);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn ten_megabytes_up_and_down() {
    let (_instance, front) = front();
    let body: Vec<u8> = (0..10 << 20).map(|at: u32| (at % 251) as u8).collect();
    let mut client = front.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    let mut writing = client.stream.try_clone().unwrap();
    let sent = body.clone();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut writing, &sent));
    assert!(client.response().body == body);
    writer.join().unwrap().unwrap();
}

#[test]
fn in_both_directions_at_once_and_counted() {
    let (instance, front) = front();
    let mut client = front.client();
    client.send("POST /sse HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.head().field("x-accel-buffering"), Some("no"));
    assert_eq!(instance.counters.sse.load(Ordering::Relaxed), 1);
    for word in ["one", "three"] {
        client.send(format!("{:x}\r\n{word}\r\n", word.len()));
        assert_eq!(client.chunk(), word.as_bytes());
    }
    drop(client);
    eventually("it is over", || instance.in_flight() == 0);

    // Over the limit while it goes on: cut, and in no doubt about it.
    let mut plan = Plan::to(&[&instance]);
    (plan.protocol, plan.limits.body) = (Protocol::H2c, 10);
    front.publish(plan);
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.response().status(), 413);
}

#[test]
fn a_cut_instance_ends_them() {
    let (instance, front) = front();
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), b"x");
    instance.close();
    instance.cut();
    assert!(client.is_closed());
    eventually("it is over", || instance.in_flight() == 0);
}

#[test]
fn a_long_upload_is_no_silence() {
    let instance = h2c_echo();
    let mut plan = Plan::to(&[&instance]);
    (plan.protocol, plan.limits.idle) = (Protocol::H2c, Duration::from_millis(400));
    let front = Front::start(plan);
    let mut client = front.client();
    client.send("POST /whole HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\n\r\n");
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(100));
        client.send("x");
    }
    assert_eq!(client.response().text(), "xxxxxxxxxxxx");
    assert_eq!(instance.counters.body_bytes.load(Ordering::Relaxed), 24);
    client.send("POST /whole HTTP/1.1\r\nHost: a.test\r\nContent-Length: 12\r\n\r\nx");
    assert_eq!(client.response().status(), 408);
    eventually("it is over", || instance.in_flight() == 0);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let (instance, front) = front();
    let mut client = front.client();
    for _ in 0..2 {
        client.send(
            "POST /whole HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert_eq!(client.head().status(), 100);
        client.send("hello");
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "hello"));
        assert_eq!(answer.field("connection"), None, "the connection goes on");
    }
    eventually("it is over", || instance.in_flight() == 0);
}
