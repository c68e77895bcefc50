//! `union`: one client, one stream, the events of both colors.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use baton_proxy::{RoutingTable, StreamMode};

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, attach, plan};

const UNION: StreamMode = StreamMode::Union;

#[test]
fn union_joins_both_colors() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::with(&front, "Last-Event-ID: b0\r\nCookie: who=me\r\n");
    blue.emit("id: b1\ndata: one\n\n");
    assert_eq!(client.next().unwrap(), "id: b1\ndata: one\n\n");
    assert_eq!(
        (blue.instance().in_flight(), blue.instance().streams()),
        (0, 1)
    );

    attach(&front, plan(UNION, &[&blue], &[&blue, &green]));
    let asked = green.request(0);
    assert!(
        asked.head.starts_with("GET /sse?room=1 HTTP/1.1\r\n"),
        "{}",
        asked.head
    );
    assert_eq!(asked.field("last-event-id"), Some("b1"));
    assert_eq!(asked.field("cookie"), Some("who=me"));
    assert_eq!(asked.field("accept-encoding"), Some("identity"));
    green.emit("id: g1\ndata: two\n\n");
    assert_eq!(client.next().unwrap(), "id: g1\ndata: two\n\n");

    front.publish(plan(UNION, &[&green], &[&blue, &green]));
    blue.instance().close();
    eventually("requests have drained", || blue.instance().in_flight() == 0);
    blue.emit("id: b2\ndata: three\n\n");
    assert_eq!(client.data(), "three");

    front.publish(plan(UNION, &[&green], &[&green]));
    blue.instance().close_streams();
    eventually("blue is left", || blue.instance().streams() == 0);
    assert_eq!(client.next().unwrap(), "id: g1\n\n", "green never gave b2");
    green.emit("data: four\n\n");
    assert_eq!(client.data(), "four");

    let counters = &front.counters.streams;
    assert_eq!(counters.handed_over.load(Relaxed), 1);
    assert_eq!(blue.instance().counters.events.load(Relaxed), 2);
    assert_eq!(green.instance().counters.events.load(Relaxed), 2);
    drop(client);
    eventually("nothing is left", || {
        counters.open.load(Relaxed) + counters.union.load(Relaxed) == 0
            && green.instance().streams() == 0
            && green.instance().counters.attached.load(Relaxed) == 0
    });
}

#[test]
fn what_an_app_said_before_its_end_is_forwarded() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue, &green]));
    let mut client = Listener::counted(&front);
    green.await_requests(1);
    blue.emit("data: begun, ");
    front.publish(plan(UNION, &[&green], &[&green]));
    green.emit("data: between\n\n");
    assert_eq!(client.data(), "between", "never within another event");
    blue.emit("and ended\n\n");
    assert_eq!(client.data(), "begun, and ended");
    eventually("blue is left", || blue.instance().streams() == 0);
}

#[test]
fn a_color_that_dies_within_an_event_leaves_no_trace() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue, &green]));
    let mut client = Listener::counted(&front);
    green.await_requests(1);
    blue.emit("data: never en");
    blue.kill();
    // It comes back, and is asked again.
    blue.await_requests(2);
    green.emit("data: green\n\n");
    assert_eq!(client.next().unwrap(), "data: green\n\n");
    blue.emit("data: blue\n\n");
    assert_eq!(client.next().unwrap(), "data: blue\n\n");
    assert_eq!(front.counters.failed.load(Relaxed), 0);
}

#[test]
fn an_emitter_that_ends_is_asked_again() {
    let blue = Source::start();
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    for round in 1..=3 {
        blue.emit(&format!("id: {round}\ndata: {round}\n\n"));
        assert_eq!(client.data(), round.to_string());
        blue.complete();
        assert_eq!(
            blue.request(round).field("last-event-id"),
            Some(round.to_string().as_str())
        );
    }
    assert_eq!(front.counters.streams.reopened.load(Relaxed), 3);
}

#[test]
fn an_emitter_whose_time_is_over_is_asked_again_at_once() {
    let blue = Source::start();
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    // For failures.
    blue.emit("retry: 4000\ndata: 1\n\n");
    assert_eq!(client.data(), "1");
    std::thread::sleep(Duration::from_millis(1100));
    let ended = Instant::now();
    blue.complete();
    blue.await_requests(2);
    assert!(ended.elapsed() < Duration::from_millis(1900));
    blue.emit("data: 2\n\n");
    assert_eq!(client.data(), "2");
    // One that ends as soon as it is open is left in peace for so long.
    blue.complete();
    let ended = Instant::now();
    blue.await_requests(3);
    assert!(ended.elapsed() >= Duration::from_secs(1));
}

#[test]
fn the_way_back_is_the_same_way() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    let (mut from, mut to) = (&blue, &green);
    for round in 1..=4 {
        to.instance().open_streams();
        attach(&front, plan(UNION, &[from], &[from, to]));
        to.instance().open();
        front.publish(plan(UNION, &[to], &[from, to]));
        from.instance().close();
        from.emit("data: old\n\n");
        assert_eq!(client.data(), "old", "round {round}");
        to.emit("data: new\n\n");
        assert_eq!(client.data(), "new", "round {round}");
        front.publish(plan(UNION, &[to], &[to]));
        from.instance().close_streams();
        eventually("the old color is left", || from.instance().streams() == 0);
        (from, to) = (to, from);
    }
    assert_eq!(front.counters.streams.handed_over.load(Relaxed), 4);
}

#[test]
fn a_half_that_never_opened_is_not_counted_when_it_goes() {
    let (blue, green) = (Source::start(), Source::greeting(|_| String::new()));
    let both = || plan(UNION, &[&blue], &[&blue, &green]);
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    front.publish(both());
    green.await_requests(1);
    front.publish(plan(UNION, &[&blue], &[&blue]));
    eventually("green is left", || green.instance().streams() == 0);
    front.publish(both());
    green.await_requests(2);
    // The route is taken away, with both.
    front
        .proxy
        .publish(Arc::new(RoutingTable::new(Vec::new()).unwrap()));
    assert!(client.next().unwrap().starts_with("retry: "));
    assert_eq!(client.next(), None);
    let of = |source: &Source| {
        let counters = &source.instance().counters;
        let handed_over = counters.streams_handed_over.load(Relaxed);
        (handed_over, counters.streams_reconnected.load(Relaxed))
    };
    assert_eq!((of(&blue), of(&green)), ((0, 1), (0, 0)));
}
