//! `pause` holds requests; nothing fails until `max_wait`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use baton_proxy::Mode;

use crate::kit::{App, Front, Plan, eventually};

fn paused(app: &App) -> Plan {
    let mut plan = Plan::to(&[&app.instance]);
    plan.mode = Mode::Hold;
    plan
}

#[test]
fn paused_holds() {
    let app = App::saying("resumed");
    let front = Front::start(paused(&app));
    let mut clients: Vec<_> = (0..4).map(|_| front.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    }
    eventually("all are held", || {
        front.counters.held.load(Ordering::Relaxed) == 4
    });
    assert_eq!(app.connections(), 0);
    front.publish(Plan::to(&[&app.instance]));
    for client in &mut clients {
        assert_eq!(client.response().text(), "resumed");
    }
}

#[test]
fn after_max_wait_it_is_a_503_that_says_when_to_come_back() {
    let app = App::saying("");
    let mut plan = paused(&app);
    plan.max_wait = Duration::from_millis(50);
    let front = Front::start(plan);
    let answer = front.get("/");
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("1"))
    );
    assert!(answer.text().contains("shop is paused"));

    let mut plan = Plan::to(&[]);
    plan.max_wait = Duration::from_millis(50);
    front.publish(plan);
    assert_eq!(front.get("/").status(), 503);
}

#[test]
fn a_client_that_leaves_ends_its_hold() {
    let app = App::saying("");
    let front = Front::start(paused(&app));
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("it is held", || {
        front.counters.held.load(Ordering::Relaxed) == 1
    });
    drop(client);
    // A second one, held and served later, shows that the first never came.
    let mut other = front.client();
    other.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually("it is held", || {
        front.counters.held.load(Ordering::Relaxed) == 2
    });
    front.publish(Plan::to(&[&app.instance]));
    assert_eq!(other.response().status(), 200);
    assert_eq!(app.instance.counters.requests.load(Ordering::Relaxed), 1);
}
