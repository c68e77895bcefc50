//! An event over 256 KiB cannot be held: its stream is passed on as it is from there.

use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, plan};

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
