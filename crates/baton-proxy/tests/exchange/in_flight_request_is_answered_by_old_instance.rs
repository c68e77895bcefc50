//! The switch changes where new requests go, never those that are in.

use std::sync::mpsc;
use std::time::Duration;

use crate::kit::{App, Front, PATIENCE, Plan, eventually, ok};

#[test]
fn in_flight_request_is_answered_by_old_instance() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let old = App::start(move |mut wire| {
        wire.head();
        released.lock().unwrap().recv().unwrap();
        wire.send(ok("old"));
    });
    let new = App::saying("new");
    let front = Front::start(Plan::to(&[&old.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("the old one has it", || old.instance.in_flight() == 1);

    front.publish(Plan::to(&[&new.instance]));
    old.instance.close();
    assert_eq!(front.get("/").text(), "new");
    assert_eq!(old.instance.in_flight(), 1);

    release.send(()).unwrap();
    assert_eq!(client.response().text(), "old");
    eventually("the old one has drained", || old.instance.in_flight() == 0);
    // The same connection goes on with the new one.
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.response().text(), "new");
}

#[test]
fn what_is_cut_ends() {
    let app = App::start(|mut wire| {
        let head = wire.head();
        if head.head.contains("/half") {
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        wire.is_closed();
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let (mut waiting, mut half) = (front.client(), front.client());
    waiting.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    half.send("GET /half HTTP/1.1\r\nHost: a.test\r\n\r\n");
    half.head();
    assert_eq!(half.read_exact(4), b"half");
    eventually("both are in", || app.instance.in_flight() == 2);
    app.instance.close();
    app.instance.cut();
    assert_eq!(waiting.response().status(), 502);
    assert!(half.is_closed());
    eventually("it has drained", || app.instance.in_flight() == 0);
}

#[test]
fn a_graceful_end_answers_what_is_in_and_says_close() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let app = App::start(move |mut wire| {
        wire.head();
        released.lock().unwrap().recv().unwrap();
        wire.send(ok("bye"));
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("it is in", || app.instance.in_flight() == 1);
    let proxy = std::sync::Arc::clone(&front.proxy);
    let ending = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(proxy.shutdown(PATIENCE));
    });
    std::thread::sleep(Duration::from_millis(20));
    release.send(()).unwrap();
    let answer = client.response();
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("bye", Some("close"))
    );
    assert!(client.is_closed());
    ending.join().unwrap();
}
