//! Never a 502 just because a container restarts.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use baton_proxy::Instance;

use crate::kit::{App, Front, Plan, dead_address, eventually, ok};

#[test]
fn another_instance_is_tried_at_once() {
    let (_reserved, address) = dead_address();
    let dead = Instance::new("dead", address, false);
    let app = App::saying("alive");
    let front = Front::start(Plan::to(&[&dead, &app.instance]));
    for _ in 0..10 {
        assert_eq!(front.get("/").text(), "alive");
    }
    assert!(dead.counters.refused.load(Ordering::Relaxed) > 0);
    assert_eq!(front.counters.held.load(Ordering::Relaxed), 0);
    assert_eq!(dead.in_flight(), 0);
}

#[test]
fn a_request_waits_until_the_instance_listens_again() {
    let (reserved, address) = dead_address();
    let dead = Instance::new("dead", address, false);
    let front = Front::start(Plan::to(&[&dead]));
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
    eventually("it is held", || {
        front.counters.held.load(Ordering::Relaxed) == 1
    });
    reserved.listen(8).unwrap();
    let listener = std::net::TcpListener::from(reserved);
    std::thread::spawn(move || {
        let mut wire = crate::kit::Wire::new(listener.accept().unwrap().0);
        let head = wire.head();
        assert_eq!(wire.read_exact(head.length()), b"hello");
        wire.send(ok("back"));
        wire.is_closed();
    });
    assert_eq!(client.response().text(), "back");
    assert!(front.counters.longest_held_us.load(Ordering::Relaxed) > 0);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}

#[test]
fn a_request_goes_to_the_next_table_while_it_waits() {
    let (_reserved, address) = dead_address();
    let dead = Instance::new("dead", address, false);
    let mut plan = Plan::to(&[&dead]);
    plan.max_wait = Duration::from_secs(60);
    let front = Front::start(plan);
    let mut client = front.client();
    client.send("GET /api/x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("it is held", || {
        front.counters.held.load(Ordering::Relaxed) == 1
    });
    let app = App::start(|mut wire| {
        let head = wire.head();
        wire.send(ok(head.head.split(' ').nth(1).unwrap()));
    });
    let mut plan = Plan::to(&[&app.instance]);
    (plan.path, plan.strip_path) = ("/api", true);
    front.publish(plan);
    // Written anew for the route that it goes by in the end.
    assert_eq!(client.response().text(), "/x");
}

#[test]
fn in_the_end_it_is_a_502() {
    let (_reserved, address) = dead_address();
    let dead = Instance::new("dead", address, false);
    let mut plan = Plan::to(&[&dead]);
    plan.max_wait = Duration::from_millis(200);
    let front = Front::start(plan);
    let begun = Instant::now();
    let mut client = front.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.status(), 502);
        assert!(answer.text().contains("shop does not accept connections"));
    }
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 2);
}

#[test]
fn a_published_port_that_only_accepts_counts_as_not_listening() {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    let listens = Arc::new(AtomicBool::new(false));
    let app = App::bind(([127, 0, 0, 1], 0).into(), true, {
        let listens = Arc::clone(&listens);
        move |mut wire| {
            // Like docker-proxy: accepted, and closed again.
            if !listens.load(Ordering::SeqCst) {
                return;
            }
            while let Some(head) = wire.try_head() {
                wire.read_exact(head.length());
                wire.send(ok("up"));
            }
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let (mut get, mut post) = (front.client(), front.client());
    get.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    post.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    eventually("it was seen a few times", || {
        app.instance.counters.refused.load(Ordering::Relaxed) > 4
    });
    listens.store(true, Ordering::SeqCst);
    assert_eq!(get.response().text(), "up");
    assert_eq!(post.response().text(), "up");
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
}
