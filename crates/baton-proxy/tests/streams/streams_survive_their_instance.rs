//! The only instance dies: a `union` client waits for the next one.

use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, plan};

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
