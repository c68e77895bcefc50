//! A stream that answers a POST stays with its instance, whatever the rule says.

use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{Source, plan};

#[test]
fn posts_are_never_repeated() {
    for mode in [StreamMode::Union, StreamMode::Cut, StreamMode::Reconnect] {
        let (blue, green) = (Source::start(), Source::start());
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let mut client = front.client();
        client.send("POST /chat HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\nAccept: text/event-stream\r\n\r\nhi");
        assert_eq!(client.head().status(), 200);
        front.publish(plan(mode, &[&blue], &[&blue, &green]));
        front.publish(plan(mode, &[&green], &[&green]));
        blue.instance().close();
        blue.emit("data: tok");
        assert_eq!(client.chunk(), b"data: tok", "as it comes");
        assert_eq!(blue.instance().in_flight(), 1, "the drain waits for it");
        blue.emit("en\n\n");
        blue.complete();
        assert_eq!(client.chunks().0, b"en\n\n");
        assert_eq!((blue.requests(), green.requests()), (1, 0));
        eventually("it has drained", || blue.instance().in_flight() == 0);
        assert_eq!(blue.instance().counters.streams_drained.load(Relaxed), 1);
    }
}
