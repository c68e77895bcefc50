//! Some apps send their headers only with the first event.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use baton_proxy::{Mode, StreamMode};

use crate::kit::{App, Front, PATIENCE, Plan, Wire, eventually};
use crate::source::{EVENTS, Listener, Source, attach, plan};

const UNION: StreamMode = StreamMode::Union;

fn late() -> Source {
    Source::greeting(|_| String::new())
}

fn first(event: &str) -> Vec<u8> {
    format!("{EVENTS}{:x}\r\n{event}\r\n", event.len()).into()
}

fn first_of(data: &str) -> Vec<u8> {
    first(&format!("data: {data}\n\n"))
}

fn ask(front: &Front) -> Wire {
    let mut wire = front.client();
    wire.send("GET /sse HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n");
    wire
}

#[test]
fn a_half_without_headers_counts_after_its_grace() {
    let (blue, green) = (Source::start(), late());
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    let mut with = plan(UNION, &[&blue], &[&blue, &green]);
    with.streams[0].attach_grace = Duration::from_millis(300);
    // The terms of a stream are those that it began with.
    let begun = Instant::now();
    attach(&front, with);
    assert!(begun.elapsed() >= Duration::from_millis(1900));
    green.emit_raw(&first("data: at last\n\n"));
    assert_eq!(client.next().unwrap(), "data: at last\n\n");
    blue.emit("data: blue\n\n");
    assert_eq!(client.data(), "blue");
}

#[test]
fn late_headers_are_waited_for() {
    let (blue, green) = (late(), late());
    let mut both = plan(UNION, &[&blue], &[&blue, &green]);
    both.limits.idle = Duration::from_millis(400);
    let front = Front::start(both);
    let mut client = ask(&front);
    green.await_requests(1);
    assert_eq!(
        blue.instance().in_flight(),
        0,
        "no drain of requests waits for it"
    );
    std::thread::sleep(Duration::from_millis(500));
    // Whoever speaks first.
    green.emit_raw(&first("data: green\n\n"));
    let head = client.head();
    assert_eq!(head.status(), 200);
    assert_eq!(head.field("content-type"), Some("text/event-stream"));
    assert_eq!(client.chunk(), b"data: green\n\n");
    blue.emit_raw(&first("data: blue\n\n"));
    assert_eq!(client.chunk(), b"data: blue\n\n");
}

#[test]
fn a_late_answer_that_is_no_stream_is_the_answer() {
    let blue = late();
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = ask(&front);
    eventually("it is a stream for all we know", || {
        blue.instance().streams() == 1
    });
    blue.emit_raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (403, "no"));
    // And the connection goes on.
    client.send("GET /sse HTTP/1.1\r\nHost: a.test\r\n\r\n");
    blue.await_requests(2);
}

#[test]
fn a_request_without_an_answer_moves_on_with_the_switch() {
    for mode in [StreamMode::Reconnect, StreamMode::Cut, UNION] {
        let (blue, green) = (late(), late());
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let mut client = ask(&front);
        eventually("it waits", || blue.instance().streams() == 1);
        front.publish(plan(mode, &[&green], &[&green]));
        green.await_requests(1);
        blue.instance().close();
        blue.instance().close_streams();
        eventually("blue is left", || blue.instance().streams() == 0);
        green.emit_raw(&first("data: green\n\n"));
        assert_eq!(client.head().status(), 200, "{mode:?}");
        assert_eq!(client.chunk(), b"data: green\n\n");
    }
}

#[test]
fn the_first_answer_is_the_only_one() {
    const RECONNECT: StreamMode = StreamMode::Reconnect;
    for blue_is_first in [true, false] {
        let (blue, green) = (late(), late());
        let front = Front::start(plan(RECONNECT, &[&blue], &[&blue]));
        let mut client = ask(&front);
        eventually("it waits", || blue.instance().streams() == 1);
        front.publish(plan(RECONNECT, &[&green], &[&blue, &green]));
        green.await_requests(1);
        let (first, second) = match blue_is_first {
            true => (&blue, &green),
            false => (&green, &blue),
        };
        first.emit_raw(&first_of("1"));
        assert_eq!(client.head().status(), 200);
        assert_eq!(client.chunk(), b"data: 1\n\n");
        eventually("the other one is left", || second.instance().streams() == 0);
        second.emit_raw(&first_of("elsewhere"));
        first.emit("data: 2\n\n");
        assert_eq!(client.chunk(), b"data: 2\n\n");
        // Nothing was handed over, since nothing was said there.
        let counters = &front.counters.streams;
        assert_eq!(counters.handed_over.load(Relaxed), 0);
        front.publish(plan(RECONNECT, &[], &[]));
        assert!(client.chunk().starts_with(b"retry: "));
        assert_eq!(client.chunk(), b"");
        assert_eq!(counters.reconnected.load(Relaxed), 1);
        let told = &second.instance().counters.streams_reconnected;
        assert_eq!(told.load(Relaxed), 0);
    }
}

#[test]
fn whoever_refuses_lets_the_others_answer() {
    let (blue, green, red) = (late(), late(), late());
    let all = [&blue, &green, &red];
    let front = Front::start(plan(UNION, &[&blue], &all));
    let mut client = ask(&front);
    for source in all {
        source.await_requests(1);
    }
    green.emit_raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    eventually("green is left", || green.instance().streams() == 0);
    red.emit_raw(&first_of("red"));
    assert_eq!(client.head().status(), 200);
    assert_eq!(client.chunk(), b"data: red\n\n");
}

#[test]
fn a_browser_is_never_answered_with_an_error_meanwhile() {
    let blue = Source::start();
    let held = |instances: &[&Source]| Plan {
        mode: Mode::Hold,
        max_wait: Duration::from_millis(50),
        ..plan(UNION, instances, instances)
    };
    let front = Front::start(held(&[&blue]));
    let mut client = ask(&front);
    // Others are told.
    assert_eq!(front.get("/").status(), 503);
    front.publish(held(&[]));
    std::thread::sleep(Duration::from_millis(200));
    front.publish(plan(UNION, &[&blue], &[&blue]));
    client.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(client.head().status(), 200);
}

#[test]
fn a_browser_outlives_instances_that_are_cut_or_crash() {
    let (blue, green) = (late(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = ask(&front);
    blue.await_requests(1);
    // Before it has waited for long.
    blue.instance().cut();
    front.publish(plan(UNION, &[&green], &[&green]));
    assert_eq!(client.head().status(), 200);

    let crashing = App::start(|mut wire| drop(wire.try_head()));
    let mut crashes = plan(UNION, &[], &[]);
    crashes.instances = vec![crashing.instance.clone()];
    crashes.halves = crashes.instances.clone();
    front.publish(crashes);
    let mut client = ask(&front);
    eventually("it is asked again and again", || crashing.connections() > 5);
    front.publish(plan(UNION, &[&green], &[&green]));
    assert_eq!(client.head().status(), 200);
}
