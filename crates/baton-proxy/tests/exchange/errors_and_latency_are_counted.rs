//! What a verdict on a release is made of: its errors, one for each client, and how long it takes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use baton_proxy::{Instance, Split};

use crate::kit::{App, Front, Plan, Wire, ok};

fn failing() -> App {
    App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            if head.head.starts_with("GET /break") {
                return;
            }
            wire.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
        }
    })
}

fn ask(wire: &mut Wire, fields: &str) -> u16 {
    wire.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    wire.response().status()
}

fn errors(instance: &Instance) -> u64 {
    instance.counters.errors.load(Relaxed)
}

#[test]
fn a_client_that_tries_again_is_one_error() {
    let app = failing();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut wire = front.client();
    for _ in 0..5 {
        assert_eq!(ask(&mut wire, ""), 500);
        assert_eq!(ask(&mut wire, "Authorization: Bearer a\r\n"), 500);
        assert_eq!(ask(&mut wire, "X-Real-IP: 198.51.100.7\r\n"), 500);
    }
    let counters = &app.instance.counters;
    assert_eq!(counters.server_errors.load(Relaxed), 15);
    assert_eq!(errors(&app.instance), 3);
    // Not read while there is no canary.
    assert_eq!(ask(&mut wire, "Cookie: baton_id=1\r\n"), 500);
    assert_eq!(errors(&app.instance), 3);
}

#[test]
fn a_broken_answer_is_an_error() {
    let app = failing();
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut wire = front.client();
    wire.send("POST /break HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    wire.response();
    let mut wire = front.client();
    wire.send("GET /break HTTP/1.1\r\nHost: a.test\r\nX-Real-IP: 198.51.100.7\r\n\r\n");
    assert_eq!(wire.response().status(), 502);
    assert_eq!(errors(&app.instance), 2);
}

#[test]
fn an_error_on_one_side_hides_none_on_the_other() {
    let (blue, green) = (failing(), failing());
    let mut plan = Plan::to(&[&blue.instance]);
    plan.split = Some(Split {
        instances: vec![Arc::clone(&green.instance)],
        weight: 50,
        release: "r2".into(),
        header: true,
    });
    let front = Front::start(plan);
    let mut wire = front.client();
    for wish in ["always", "never", "always", "never"] {
        for client in 0..3 {
            let fields = format!("Cookie: baton_id={client}\r\nX-Baton-Canary: {wish}\r\n");
            assert_eq!(ask(&mut wire, &fields), 500);
        }
    }
    assert_eq!((errors(&blue.instance), errors(&green.instance)), (3, 3));
}

#[test]
fn the_time_to_the_head_of_an_answer_is_recorded() {
    let app = App::start(|mut wire| {
        while wire.try_head().is_some() {
            std::thread::sleep(Duration::from_millis(60));
            wire.send(ok("x"));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    for _ in 0..3 {
        assert_eq!(front.get("/").status(), 200);
    }
    let latency = app.instance.counters.latency.read();
    assert_eq!(latency.count(), 3);
    let median = latency.percentile(50).unwrap();
    assert!(
        (Duration::from_millis(60)..Duration::from_secs(5)).contains(&median),
        "{median:?}"
    );
    app.instance.close();
    let mut plan = Plan::to(&[]);
    plan.max_wait = Duration::ZERO;
    front.publish(plan);
    assert_eq!(front.get("/").status(), 503);
    assert_eq!(app.instance.counters.latency.read().count(), 3);
}
