//! Stop-first: the only instance ends before the next one is there, and no client of its streams
//! notices.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::{Mode, StreamMode};

use crate::kit::{Front, Plan, eventually};
use crate::source::{Listener, Source, plan};

fn nobody(mode: StreamMode) -> Plan {
    let mut plan = plan(mode, &[], &[]);
    plan.mode = Mode::Hold;
    plan.streams_wait = true;
    plan
}

/// As the control plane leaves an instance: unrouted, drained, stopped.
fn leave(blue: &Source) {
    blue.instance().close();
    blue.instance().close_streams();
    eventually("blue is drained", || {
        blue.instance().streams() == 0 && blue.instance().in_flight() == 0
    });
    blue.kill();
}

#[test]
fn streams_wait_for_the_next_instance() {
    for mode in [StreamMode::Union, StreamMode::Cut] {
        let (blue, green) = (Source::start(), Source::start());
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let mut client = Listener::counted(&front);
        blue.emit("id: 7\ndata: 1\n\ndata: cut o");
        assert_eq!(client.data(), "1");
        front.publish(nobody(mode));
        leave(&blue);
        assert!(client.is_quiet(), "{mode:?}");
        front.publish(plan(mode, &[&green], &[&green]));
        assert_eq!(green.request(0).field("last-event-id"), Some("7"));
        green.emit("data: 2\n\n");
        assert_eq!(
            client.next().unwrap(),
            "data: 2\n\n",
            "{mode:?}: nothing torn"
        );
        let counters = &front.counters;
        assert_eq!(counters.streams.reconnected.load(Relaxed), 0);
        assert_eq!(counters.failed.load(Relaxed), 0);
        assert_eq!(counters.streams.open.load(Relaxed), 1);
    }
}

#[test]
fn an_instance_that_is_cut_meanwhile_ends_no_stream() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(StreamMode::Cut, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    front.publish(nobody(StreamMode::Cut));
    blue.instance().close();
    blue.instance().close_streams();
    blue.instance().cut();
    eventually("blue is left", || blue.instance().streams() == 0);
    front.publish(plan(StreamMode::Cut, &[&green], &[&green]));
    green.await_requests(1);
    green.emit("data: 1\n\n");
    assert_eq!(client.data(), "1");
}

#[test]
fn one_that_comes_again_goes_on_as_well() {
    let blue = Source::start();
    let front = Front::start(plan(StreamMode::Cut, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    front.publish(nobody(StreamMode::Cut));
    eventually("it is left", || blue.instance().streams() == 0);
    // The way back: the old one could not be replaced.
    front.publish(plan(StreamMode::Cut, &[&blue], &[&blue]));
    blue.await_requests(2);
    blue.emit("data: 1\n\n");
    assert_eq!(client.data(), "1");
}

#[test]
fn new_streams_are_held_meanwhile() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    front.publish(nobody(StreamMode::Union));
    let address = front.address;
    let held = Arc::clone(&front.counters);
    let opened = std::thread::spawn(move || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        let mut wire = crate::kit::Wire::new(stream);
        wire.send("GET /sse HTTP/1.1\r\nHost: a.test\r\nAccept: text/event-stream\r\n\r\n");
        wire.head().status()
    });
    eventually("it is held", || held.held.load(Relaxed) == 1);
    front.publish(plan(StreamMode::Union, &[&green], &[&green]));
    assert_eq!(opened.join().unwrap(), 200);
    assert_eq!((blue.requests(), green.requests()), (0, 1));
}

#[test]
fn a_client_that_waits_long_is_told_that_its_stream_is_open() {
    let blue = Source::start();
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    front.publish(nobody(StreamMode::Union));
    leave(&blue);
    assert_eq!(client.next().unwrap(), ":\n\n");
}
