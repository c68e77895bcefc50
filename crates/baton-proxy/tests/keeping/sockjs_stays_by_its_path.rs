//! SockJS: the requests of one session are for one instance, since that is where it is.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use baton_proxy::StreamMode;

use crate::kit::{App, Front, Plan};

fn front(pinned: bool) -> (Front, App, App) {
    let (blue, green) = (App::saying("blue"), App::saying("green"));
    let front = Front::start(Plan::to(&[&blue.instance]));
    for session in ["abc", "def"] {
        let target = format!("/chat/123/{session}/xhr_streaming");
        assert_eq!(front.get(&target).text(), "blue");
    }
    let mut plan = Plan::to(&[&green.instance]);
    if pinned {
        blue.instance.pin();
        plan.pinned = vec![Arc::clone(&blue.instance)];
    }
    front.publish(plan);
    blue.instance.close();
    (front, blue, green)
}

#[test]
fn a_session_goes_on_where_it_began() {
    let (front, blue, _green) = front(true);
    assert_eq!(front.get("/chat/123/abc/xhr_send?t=1").text(), "blue");
    assert_eq!(front.get("/chat/123/def/eventsource").text(), "blue");
    assert_eq!(front.get("/chat/123/new/xhr").text(), "green");
    assert_eq!(front.get("/chat/info").text(), "green");
    assert_eq!(front.get("/chat/123/abc").text(), "green");
    // They are not what the drain of sessions waits for.
    assert_eq!(front.proxy.sessions_left(&blue.instance), 0);
    front.proxy.unpin(&blue.instance);
    assert_eq!(front.get("/chat/123/abc/xhr_send").text(), "green");
}

#[test]
fn without_its_instance_it_goes_where_all_go() {
    let (front, _blue, _green) = front(false);
    assert_eq!(front.get("/chat/123/abc/xhr_send").text(), "green");
}

/// Says events, and then nothing but events.
fn events() -> App {
    App::start(|mut wire| {
        wire.try_head();
        wire.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        while wire.stream.write_all(b"data: o\n\n").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn its_event_streams_are_joined_with_no_other() {
    let (blue, green) = (events(), events());
    let mut plan = Plan::to(&[&blue.instance]);
    plan.default_stream_mode = StreamMode::Union;
    plan.halves = vec![Arc::clone(&blue.instance), Arc::clone(&green.instance)];
    let front = Front::start(plan);
    let request = |target: &str| {
        let mut client = front.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!(client.head().status(), 200);
        for _ in 0..20 {
            assert!(client.chunk().starts_with(b"data: o\n\n"));
        }
    };
    request("/chat/123/abc/eventsource");
    assert_eq!(green.connections(), 0);
    request("/events");
    assert_eq!(green.connections(), 1, "others are");
}
