//! kill -9 of an instance that has requests: those that can be sent again are held, not failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use baton_proxy::Instance;

use crate::kit::{App, Front, Plan, Wire, eventually, ok};

#[test]
fn killed_instance_fails_no_get() {
    let app = App::start(|mut wire: Wire| while wire.fill() {});
    let front = Front::start(Plan::to(&[&app.instance]));
    let (mut get, mut post) = (front.client(), front.client());
    get.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    post.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    eventually("both are in", || {
        app.instance.in_flight() == 2 && app.connections() == 2
    });

    // It dies; its port refuses; the control plane notices; it comes back at another address.
    let (_reserved, nowhere) = crate::kit::dead_address();
    front.publish(Plan::to(&[&Instance::new("i", nowhere, false)]));
    app.reset_connections();
    let answer = post.response();
    assert_eq!(answer.status(), 502);
    assert!(
        answer
            .text()
            .contains("closed the connection without an answer")
    );
    eventually("the GET is held", || {
        front.counters.held.load(Ordering::Relaxed) == 1
    });
    let back = App::saying("back");
    front.publish(Plan::to(&[&back.instance]));
    assert_eq!(get.response().text(), "back");
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 1);
    assert_eq!(app.instance.counters.broken.load(Ordering::Relaxed), 2);
}

#[test]
fn a_get_that_kills_every_instance_is_not_sent_for_ever() {
    let seen = Arc::new(AtomicUsize::new(0));
    let app = App::start({
        let seen = Arc::clone(&seen);
        move |mut wire| {
            if wire.try_head().is_some() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    assert_eq!(front.get("/").status(), 502);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    let mut client = front.client();
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response().status(), 502);
    assert_eq!(seen.load(Ordering::SeqCst), 4);
}

#[test]
fn the_busiest_instance_gets_the_least() {
    let slow = App::start(|mut wire| {
        wire.try_head();
        wire.is_closed();
    });
    let fast = App::start(|mut wire| {
        while wire.try_head().is_some() {
            wire.send(ok("fast"));
        }
    });
    let front = Front::start(Plan::to(&[&slow.instance, &fast.instance]));
    let mut stuck = front.client();
    while slow.instance.in_flight() == 0 {
        stuck = front.client();
        stuck.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        eventually("it is somewhere", || {
            slow.instance.in_flight() > 0
                || fast.instance.counters.requests.load(Ordering::Relaxed) > 0
        });
    }
    for _ in 0..10 {
        assert_eq!(front.get("/").text(), "fast");
    }
    drop(stuck);
}
