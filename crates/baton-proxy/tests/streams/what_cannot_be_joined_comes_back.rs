//! A half that is no plain event stream cannot be joined: its client keeps what it has and is told to
//! come back at the end of it.

use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, attach, plan};

fn falls_back(mode: StreamMode, head: &'static str) {
    let (blue, green) = (Source::start(), Source::greeting(move |_| head.into()));
    let front = Front::start(plan(mode, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    attach(&front, plan(mode, &[&blue], &[&blue, &green]));
    front.publish(plan(mode, &[&green], &[&blue, &green]));
    let counters = &front.counters.streams;
    eventually("it falls back", || counters.fell_back.load(Relaxed) == 1);
    assert_eq!(counters.union.load(Relaxed), 0);
    blue.emit("data: blue\n\n");
    assert_eq!(client.data(), "blue", "{head}");
    front.publish(plan(mode, &[&green], &[&green]));
    assert!(client.next().unwrap().starts_with("retry: "), "{head}");
    assert_eq!(client.next(), None);
    assert_eq!(counters.reconnected.load(Relaxed), 1);
    assert_eq!(green.requests(), 1, "asked once");
}

#[test]
fn what_cannot_be_joined_comes_back() {
    for head in [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 1000\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nAccess-Control-Allow-Origin: *\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ] {
        falls_back(StreamMode::Union, head);
        falls_back(StreamMode::Cut, head);
    }
}

#[test]
fn an_id_that_no_field_can_carry_is_not_handed_over() {
    let (blue, green) = (Source::start(), Source::start());
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut client = Listener::counted(&front);
    blue.emit("id: a\u{1}b\ndata: 1\n\n");
    assert_eq!(client.data(), "1");
    front.publish(plan(StreamMode::Union, &[&green], &[&blue, &green]));
    eventually("it falls back", || {
        front.counters.streams.fell_back.load(Relaxed) == 1
    });
    assert_eq!(green.requests(), 0);
    front.publish(plan(StreamMode::Union, &[&green], &[&green]));
    assert!(client.next().unwrap().starts_with("retry: "));
    assert_eq!(client.next(), None);
}

#[test]
fn streams_that_are_not_plain_at_first_are_left_alone() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 4\r\n\r\n",
    ] {
        let blue = Source::greeting(move |_| head.into());
        let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
        let client = Listener::open(&front);
        assert_eq!(client.head.status(), 200);
        assert_eq!(front.counters.streams.open.load(Relaxed), 0);
        assert_eq!(blue.instance().in_flight(), 1, "a request like any other");
    }
}
