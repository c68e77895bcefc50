//! A canary: a `union` stream hears both releases, the others are where their client's requests go.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::{Split, StreamMode};

use crate::kit::{Front, Plan, eventually};
use crate::source::{Listener, Source, plan};

fn split(mode: StreamMode, blue: &Source, green: &Source, weight: u8) -> Plan {
    let mut plan = plan(mode, &[blue], &[blue, green]);
    plan.split = Some(Split {
        instances: vec![Arc::clone(green.instance())],
        weight,
        release: "r2".into(),
        header: true,
    });
    plan
}

#[test]
fn union_hears_both() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(split(StreamMode::Union, &blue, &green, 50));
    let mut client = Listener::counted(&front);
    assert!(
        client
            .head
            .field("set-cookie")
            .unwrap()
            .starts_with("baton_id=")
    );
    eventually("both are heard", || {
        blue.requests() == 1 && green.requests() == 1
    });
    blue.emit("data: blue\n\n");
    green.emit("data: green\n\n");
    let mut heard = [client.data(), client.data()];
    heard.sort();
    assert_eq!(heard, ["blue", "green"]);
}

#[test]
fn cut_moves_when_its_client_does() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(split(StreamMode::Cut, &blue, &green, 0));
    let mut client = Listener::counted(&front);
    blue.emit("data: blue\n\n");
    assert_eq!(client.data(), "blue");
    assert_eq!(green.requests(), 0);
    front.publish(split(StreamMode::Cut, &blue, &green, 100));
    green.await_requests(1);
    eventually("blue is left", || blue.instance().streams() == 0);
    green.emit("data: green\n\n");
    assert_eq!(client.data(), "green");
}

#[test]
fn reconnect_comes_back_to_the_side_of_its_client() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(split(StreamMode::Reconnect, &blue, &green, 100));
    let mut client = Listener::counted(&front);
    green.emit("data: green\n\n");
    assert_eq!(client.data(), "green");
    assert_eq!(blue.requests(), 0);
    front.publish(split(StreamMode::Reconnect, &blue, &green, 0));
    assert!(client.next().unwrap().starts_with("retry: "));
    assert_eq!(client.next(), None);
    assert_eq!(front.counters.streams.reconnected.load(Relaxed), 1);
}
