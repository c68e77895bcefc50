//! `reconnect`: `retry:`, then a clean end; the client comes back by itself.

use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::StreamMode;

use crate::hyper_clients;
use crate::kit::{Front, PATIENCE, eventually};
use crate::source::{Listener, Source, plan};

const RECONNECT: StreamMode = StreamMode::Reconnect;

#[test]
fn reconnect_ends_at_a_boundary() {
    let (blue, green) = (Source::start(), Source::start());
    let mut first = plan(RECONNECT, &[&blue], &[&blue]);
    // The default of a GET that is answered with an event stream.
    first.streams.clear();
    first.default_stream_mode = RECONNECT;
    let front = Front::start(first);
    let mut client = Listener::open(&front);
    blue.emit("data: 1\n\ndata: 2");
    assert_eq!(client.next().unwrap(), "data: 1\n\n");

    // The switch: streams stay until nothing is left for them to hear.
    front.publish(plan(RECONNECT, &[&green], &[&blue, &green]));
    blue.instance().close();
    assert_eq!(
        blue.instance().in_flight(),
        0,
        "a drain of requests does not wait"
    );
    blue.emit(" and more\n\n");
    assert_eq!(client.data(), "2 and more");

    front.publish(plan(RECONNECT, &[&green], &[&green]));
    let told = client.next().unwrap();
    let retry = told
        .strip_prefix("retry: ")
        .and_then(|t| t.strip_suffix("\n\n"));
    let retry: u64 = retry.unwrap_or_else(|| panic!("{told:?}")).parse().unwrap();
    assert!((250..=1000).contains(&retry), "{retry}");
    assert_eq!(client.next(), None);
    eventually("blue is left", || blue.instance().streams() == 0);
    assert_eq!(green.requests(), 0, "nobody asks for the client");
    assert_eq!(
        blue.instance().counters.streams_reconnected.load(Relaxed),
        1
    );
    assert_eq!(front.counters.streams.reconnected.load(Relaxed), 1);

    // The connection serves on.
    let mut wire = client.into_wire();
    wire.send("GET /sse HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(wire.head().status(), 200);
    assert_eq!(green.requests(), 1);
}

#[test]
fn a_proxy_that_ends_sends_every_stream_away_in_peace() {
    for mode in [StreamMode::Union, StreamMode::Cut, RECONNECT] {
        let blue = Source::start();
        let front = Front::start(plan(mode, &[&blue], &[&blue]));
        let roots = rustls::RootCertStore::empty();
        let mut over_http2 =
            hyper_clients::Listener::open(&front, hyper_clients::Client::H2, &roots);
        let mut client = Listener::counted(&front);
        blue.emit("data: 1\n\n");
        assert_eq!(client.data(), "1");
        assert_eq!(over_http2.event(), "data: 1\n\n");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(front.proxy.shutdown(PATIENCE));
        assert!(client.next().unwrap().starts_with("retry: "), "{mode:?}");
        assert_eq!(client.next(), None);
        assert!(over_http2.event().starts_with("retry: "), "{mode:?}");
        assert!(over_http2.next().unwrap().is_none());
    }
}
