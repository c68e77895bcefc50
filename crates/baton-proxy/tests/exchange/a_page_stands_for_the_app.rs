//! Maintenance, a preview that is not there: a page of Baton's instead of an app.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use baton_proxy::{Mode, Page};

use crate::kit::{App, Front, Message, Plan};

const BODY: &str = "<!doctype html><p>Back at <b>noon</b></p>";

fn front() -> (Front, App) {
    let app = App::saying("app");
    let mut plan = Plan::to(&[&app.instance]);
    // Nothing else that a route says matters.
    plan.mode = Mode::Hold;
    plan.redirect_https = Some(443);
    plan.page = Some(Page {
        status: 503,
        body: BODY.into(),
        retry_after: Some(Duration::from_millis(59_001)),
    });
    (Front::start(plan), app)
}

fn is_page(answer: &Message) {
    assert_eq!(answer.status(), 503);
    assert_eq!(
        answer.field("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("retry-after"), Some("60"));
    assert_eq!(answer.length(), BODY.len());
}

#[test]
fn every_request_gets_the_page() {
    let (front, app) = front();
    let mut client = front.client();
    for accept in ["*/*", "text/event-stream", "application/json"] {
        client.send(format!(
            "GET /any HTTP/1.1\r\nHost: a.test\r\nAccept: {accept}\r\n\r\n"
        ));
        let answer = client.response();
        is_page(&answer);
        assert_eq!(answer.text(), BODY);
    }
    client.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    is_page(&client.head());
    // No byte of a body lies before the next answer.
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    let answer = client.response();
    is_page(&answer);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(client.is_closed());
    assert_eq!(app.connections(), 0);
    let latency = &app.instance.counters.latency;
    assert_eq!(
        (latency.read().count(), front.counters.failed.load(Relaxed)),
        (0, 0)
    );
}

#[test]
fn a_body_that_comes_is_never_taken_for_a_request() {
    let (front, _app) = front();
    let mut client = front.client();
    let smuggled = "GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n";
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    ));
    let answer = client.response();
    is_page(&answer);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(client.is_closed());
}

#[test]
fn a_status_without_a_body_is_not_answered_with_one() {
    let mut plan = Plan::to(&[]);
    plan.page = Some(Page {
        status: 304,
        body: BODY.into(),
        retry_after: None,
    });
    let front = Front::start(plan);
    let answer = front.get("/");
    assert_eq!((answer.status(), answer.field("retry-after")), (503, None));
    assert_eq!(answer.text(), BODY);
}
