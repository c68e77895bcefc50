//! What an app sends is held to the same rules as what a client sends.

use std::sync::atomic::Ordering;

use crate::kit::{App, Front, Plan};

fn answer_to(answer: &'static str) -> (u16, Front) {
    let app = App::start(move |mut wire| {
        wire.head();
        wire.send(answer);
    });
    let mut plan = Plan::to(&[&app.instance]);
    plan.limits.idle = std::time::Duration::from_secs(5);
    let front = Front::start(plan);
    (front.get("/").status(), front)
}

#[test]
fn answers_that_break_a_rule_are_a_502() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/2 200 OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz",
    ] {
        let (status, front) = answer_to(answer);
        assert_eq!(status, 502, "{answer:?}");
        assert_eq!(
            front.counters.failed.load(Ordering::Relaxed),
            1,
            "{answer:?}"
        );
    }
}

#[test]
fn an_answer_that_ends_early_ends_abnormally() {
    let (tell, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let app = App::start(move |mut wire| {
        let head = wire.head();
        if head.head.contains("/length") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        } else {
            wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        }
        // What breaks comes when the first part has arrived.
        told.lock().unwrap().recv().unwrap();
        if head.head.contains("/bad") {
            wire.send("zz");
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    for target in ["/length", "/chunked", "/bad"] {
        let mut client = front.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status(), 200);
        if head.field("content-length").is_some() {
            assert_eq!(client.read_exact(4), b"half");
        } else {
            assert_eq!(client.chunk(), b"half");
        }
        tell.send(()).unwrap();
        assert!(client.is_closed(), "{target}: no last chunk");
    }
    assert_eq!(app.instance.counters.broken.load(Ordering::Relaxed), 3);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 3);
}

#[test]
fn bytes_after_an_answer_answer_nothing() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!(app.connections(), 3);
}
