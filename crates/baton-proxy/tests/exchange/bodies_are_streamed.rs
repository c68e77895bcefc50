//! Bodies pass in both directions with back-pressure, in any segmentation.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::kit::{App, Front, Plan, ok};

const LARGE: usize = 10 * 1024 * 1024;

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Sends every body back in its own framing.
fn echo() -> App {
    App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            if head.field("transfer-encoding").is_some() {
                let (body, _) = wire.chunks();
                wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                wire.send(chunked(&body, 10_000));
            } else {
                let body = wire.read_exact(head.length());
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                ));
                wire.send(&body);
            }
        }
    })
}

#[test]
fn ten_megabytes_up_and_down() {
    let app = echo();
    let front = Front::start(Plan::to(&[&app.instance]));
    let body = pattern(LARGE);
    let mut client = front.client();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    client.send(&body);
    assert!(client.response().body == body);
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&body, 70_001));
    assert!(client.response().body == body);
    let moved = app.instance.counters.body_bytes.load(Ordering::Relaxed);
    assert_eq!(moved, 4 * LARGE as u64);
}

#[test]
fn byte_by_byte() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            let body = if head.field("transfer-encoding").is_some() {
                wire.chunks().0
            } else {
                wire.read_exact(head.length())
            };
            let mut answer = b"HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            answer.extend(chunked(&body, 3));
            for byte in answer {
                wire.send([byte]);
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for request in [
        "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 11\r\n\r\nhello world",
        "POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n",
    ] {
        for byte in request.bytes() {
            client.send([byte]);
        }
        assert_eq!(client.response().text(), "hello world");
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_app() {
    let written = Arc::new(AtomicUsize::new(0));
    let app = App::start({
        let written = Arc::clone(&written);
        move |mut wire| {
            wire.head();
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
            let piece = pattern(64 * 1024);
            while wire.stream.write_all(&piece).is_ok() {
                written.fetch_add(piece.len(), Ordering::SeqCst);
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let settled = settle(&written);
    assert!(
        settled < 40 << 20,
        "{settled} bytes were taken for a client that reads none"
    );
    client.head();
    client.read_exact(20 << 20);
    assert!(
        settle(&written) > settled,
        "and it goes on when the client does"
    );
}

#[test]
fn an_app_that_does_not_read_stops_the_client() {
    let app = App::start(|mut wire| {
        wire.head();
        std::thread::park();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 104857600\r\n\r\n");
    let written = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&written);
    let mut stream = client.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let piece = pattern(64 * 1024);
        while stream.write_all(&piece).is_ok() {
            counting.fetch_add(piece.len(), Ordering::SeqCst);
        }
    });
    assert!(settle(&written) < 40 << 20);
}

/// Waits until a number has stopped growing for a while.
fn settle(number: &AtomicUsize) -> usize {
    loop {
        let before = number.load(Ordering::SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = number.load(Ordering::SeqCst);
        if now == before && now > 0 {
            return now;
        }
    }
}

#[test]
fn a_client_that_leaves_frees_the_instance() {
    let app = App::start(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome");
        assert!(wire.is_closed(), "the app is told");
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.head();
    drop(client);
    crate::kit::eventually("nothing is in flight", || app.instance.in_flight() == 0);
    assert_eq!(
        front.counters.failed.load(Ordering::Relaxed),
        0,
        "nobody failed"
    );
}

#[test]
fn a_body_is_never_taken_for_a_request() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            assert!(!head.head.contains("/evil"));
            wire.read_exact(head.length());
            wire.send(ok("fine"));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let evil = "GET /evil HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut client = front.client();
    for _ in 0..2 {
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{evil}",
            evil.len()
        ));
        assert_eq!(client.response().text(), "fine");
    }
    // Not even when Baton answers without the app.
    let mut plan = Plan::to(&[&app.instance]);
    plan.limits.body = 1;
    front.publish(plan);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{evil}",
        evil.len()
    ));
    assert_eq!(client.response().status(), 413);
    assert!(client.is_closed());
}
