//! An event over 256 KiB cannot be held: its stream is passed on as it is from there.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use baton_proxy::{RoutingTable, StreamMode};

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, attach, plan};

#[test]
fn oversize_events_pass_raw() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    blue.emit("data: small\n\n");
    assert_eq!(client.data(), "small");
    let large = "x".repeat(300 * 1024);
    blue.emit(&format!("data: {large}"));
    eventually("it drains", || {
        front.counters.streams.union.load(Relaxed) == 0
    });
    blue.emit("y\n\n");
    assert_eq!(client.data(), format!("{large}y"));
    // It stays with its color.
    front.publish(plan(StreamMode::Union, &[&green], &[&green]));
    blue.emit("data: after\n\n");
    assert_eq!(client.data(), "after");
    assert_eq!(green.requests(), 0);
    blue.complete();
    assert_eq!(client.next(), None);
}

/// Much longer than a half that ends must have been quiet.
const QUIET: Duration = Duration::from_millis(300);

#[test]
fn nothing_is_said_within_an_event_that_passes_raw() {
    let blue = Source::start();
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    let large = "x".repeat(300 * 1024);
    blue.emit(&format!("data: {large}"));
    eventually("it drains", || {
        front.counters.streams.union.load(Relaxed) == 0
    });
    // Its route is taken away.
    let nothing = RoutingTable::new(Vec::new()).unwrap();
    front.proxy.publish(Arc::new(nothing));
    std::thread::sleep(QUIET);
    blue.emit("y\n\n");
    assert_eq!(client.next().unwrap(), format!("data: {large}y\n\n"));
    blue.complete();
    assert_eq!(client.next(), None);
}

#[test]
fn the_last_event_of_a_stream_may_be_oversize() {
    for mode in [StreamMode::Reconnect, StreamMode::Union] {
        let (blue, green) = (Source::start(), Source::start());
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let mut client = Listener::open(&front);
        blue.emit("data: 1\n\ndata: x");
        assert_eq!(client.data(), "1");
        // Blue ends, but not in the middle of its event.
        let next: &[&Source] = match mode {
            StreamMode::Union => &[],
            _ => &[&green],
        };
        front.publish(plan(mode, next, next));
        let large = "x".repeat(300 * 1024);
        blue.emit(&large);
        std::thread::sleep(QUIET);
        blue.emit("y\n\n");
        assert_eq!(client.next().unwrap(), format!("data: x{large}y\n\n"));
        blue.emit("data: 2\n\n");
        assert_eq!(client.data(), "2", "{mode:?}: it stays with its color");
    }
}

#[test]
fn it_keeps_no_stream_from_those_that_stay() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    attach(&front, plan(StreamMode::Union, &[&blue], &[&blue, &green]));
    blue.emit("data: 1\n\ndata: x");
    assert_eq!(client.data(), "1");
    front.publish(plan(StreamMode::Union, &[&green], &[&green]));
    blue.emit(&"x".repeat(300 * 1024));
    eventually("blue is left", || blue.instance().streams() == 0);
    green.emit("data: 2\n\n");
    assert_eq!(client.next().unwrap(), "data: 2\n\n");
}
