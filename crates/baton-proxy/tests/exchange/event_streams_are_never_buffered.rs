//! Each event goes on at once, however small.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use crate::kit::{App, Front, Plan, eventually};

fn streaming() -> (App, mpsc::Sender<&'static str>) {
    let (say, said) = mpsc::channel::<&'static str>();
    let said = std::sync::Mutex::new(said);
    let app = App::start(move |mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Ok(event) = said.lock().unwrap().recv() {
            wire.send(format!("{:x}\r\n{event}\r\n", event.len()));
        }
        wire.send("0\r\n\r\n");
    });
    (app, say)
}

#[test]
fn event_streams_are_never_buffered() {
    let (app, say) = streaming();
    let mut plan = Plan::to(&[&app.instance]);
    // A stream has nothing to say for longer than any body may take.
    plan.limits.idle = std::time::Duration::from_millis(100);
    let front = Front::start(plan);
    let mut client = front.client();
    client.send("GET /sse HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = client.head();
    assert_eq!(
        head.field("x-accel-buffering"),
        Some("no"),
        "loopback is a trusted proxy"
    );
    eventually("it is counted", || {
        app.instance.counters.sse.load(Ordering::Relaxed) == 1
    });
    std::thread::sleep(std::time::Duration::from_millis(250));
    for event in ["data: 1\n\n", "data", ": 2\n\n"] {
        say.send(event).unwrap();
        assert_eq!(client.chunk(), event.as_bytes());
    }
    drop(say);
    assert_eq!(client.chunks().0, b"");
    eventually("it is over", || {
        app.instance.counters.sse.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn only_proxies_are_told_not_to_buffer() {
    let (app, say) = streaming();
    let front = Front::with(Plan::to(&[&app.instance]), |settings| {
        settings.trusted_proxies.clear();
    });
    drop(say);
    assert_eq!(front.get("/").field("x-accel-buffering"), None);
}
