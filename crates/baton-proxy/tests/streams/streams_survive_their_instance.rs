//! The only instance dies: a `union` client waits for the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::{Instance, StreamMode};

use crate::kit::{Front, dead_address, eventually};
use crate::source::{EVENTS, Listener, Source, plan};

const UNION: StreamMode = StreamMode::Union;

#[test]
fn streams_survive_their_instance() {
    let blue = Source::start();
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::open(&front);
    blue.emit("id: 7\ndata: 1\n\ndata: cut o");
    assert_eq!(client.data(), "1");
    // Nothing is there for a while.
    front.publish(plan(UNION, &[], &[]));
    blue.kill();
    eventually("it is left", || blue.instance().streams() == 0);
    assert!(client.is_quiet());
    let again = Source::start();
    front.publish(plan(UNION, &[&again], &[&again]));
    assert_eq!(again.request(0).field("last-event-id"), Some("7"));
    again.emit("data: 2\n\n");
    assert_eq!(client.next().unwrap(), "data: 2\n\n");
    assert_eq!(front.counters.failed.load(Relaxed), 0);
}

#[test]
fn other_modes_end_as_their_instance_did() {
    for mode in [StreamMode::Reconnect, StreamMode::Cut] {
        let blue = Source::start();
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let mut client = Listener::open(&front);
        blue.emit("data: 1\n\ndata: cut o");
        assert_eq!(client.data(), "1");
        blue.kill();
        assert!(client.breaks(), "{mode:?}: no last chunk");
        assert_eq!(front.counters.failed.load(Relaxed), 1);
    }
}

#[test]
fn a_cut_instance_is_left() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(UNION, &[&blue], &[&blue, &green]));
    let mut client = Listener::open(&front);
    green.await_requests(1);
    front.publish(plan(UNION, &[&green], &[&blue, &green]));
    blue.instance().close();
    blue.instance().close_streams();
    blue.instance().cut();
    eventually("blue is left", || blue.instance().streams() == 0);
    assert_eq!(blue.instance().counters.streams_cut.load(Relaxed), 1);
    green.emit("data: 1\n\n");
    assert_eq!(client.data(), "1");
}

#[test]
fn a_half_that_refuses_at_first_is_asked_until_it_listens() {
    let (blue, (socket, address)) = (Source::start(), dead_address());
    let front = Front::start(plan(UNION, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    let green = Instance::new("green", address, false);
    let mut both = plan(UNION, &[&blue], &[&blue]);
    both.halves.push(Arc::clone(&green));
    front.publish(both);
    let counters = &front.counters.streams;
    eventually("it counts as attached all the same", || {
        green.counters.attached.load(Relaxed) == 1
    });
    drop(socket);
    let listening = Source::at(address, |_| EVENTS.into());
    listening.await_requests(1);
    listening.emit("data: at last\n\n");
    assert_eq!(client.data(), "at last");
    assert_eq!(counters.fell_back.load(Relaxed), 0);
}
