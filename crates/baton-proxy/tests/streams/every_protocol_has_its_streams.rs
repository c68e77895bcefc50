//! Clients over HTTP/2 and TLS, instances over h2c: the same streams.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use baton_proxy::{Instance, Protocol, StreamMode};

use crate::hyper_clients::{Client, H2cSource, Listener, with_tls};
use crate::kit::{Front, Plan, eventually};
use crate::source::{Source, attach, plan};

const UNION: StreamMode = StreamMode::Union;
const ALL: [Client; 3] = [Client::H2, Client::TlsHttp1, Client::TlsH2];

fn front(plan: Plan) -> (Front, rustls::RootCertStore) {
    let mut roots = rustls::RootCertStore::empty();
    let front = Front::with(plan, |settings| roots = with_tls(settings));
    (front, roots)
}

#[test]
fn every_client_is_joined_to_both_colors() {
    for client in ALL {
        let (blue, green) = (Source::start(), Source::start());
        let (front, roots) = front(plan(UNION, &[&blue], &[&blue]));
        let mut listener = Listener::open(&front, client, &roots);
        assert_eq!(listener.answer.status, 200);
        blue.emit("id: b1\ndata: one\n\n");
        assert_eq!(listener.event(), "id: b1\ndata: one\n\n");
        attach(&front, plan(UNION, &[&blue], &[&blue, &green]));
        let asked = green.request(0);
        assert_eq!(asked.field("last-event-id"), Some("b1"), "{client:?}");
        assert_eq!(asked.field("accept-encoding"), Some("identity"));
        assert_eq!(asked.field("host"), Some("a.test"));
        green.emit("data: two\n\n");
        assert_eq!(listener.event(), "data: two\n\n");
        front.publish(plan(UNION, &[&green], &[&green]));
        blue.instance().close();
        blue.instance().close_streams();
        eventually("blue is left", || blue.instance().streams() == 0);
        assert_eq!(listener.event(), "id\n\n", "green has given no id");
        green.emit("data: three\n\n");
        assert_eq!(listener.event(), "data: three\n\n");
        drop(listener);
        eventually("nothing is left", || green.instance().streams() == 0);
    }
}

#[test]
fn every_client_can_tell_a_clean_end_from_a_broken_one() {
    for client in ALL {
        let blue = Source::start();
        let (front, roots) = front(plan(StreamMode::Reconnect, &[&blue], &[&blue]));
        let mut told = Listener::open(&front, client, &roots);
        blue.emit("data: 1\n\n");
        assert_eq!(told.event(), "data: 1\n\n");
        front.publish(plan(StreamMode::Reconnect, &[&blue], &[]));
        assert!(told.event().starts_with("retry: "), "{client:?}");
        assert!(told.next().unwrap().is_none(), "{client:?}");

        front.publish(plan(StreamMode::Reconnect, &[&blue], &[&blue]));
        let mut broken = Listener::open(&front, client, &roots);
        blue.emit("data: 2\n\ndata: cut o");
        assert_eq!(broken.event(), "data: 2\n\n");
        blue.kill();
        assert!(broken.next().is_err(), "{client:?}");
    }
}

#[test]
fn late_headers_are_waited_for_over_http2() {
    let (blue, green) = (
        Source::greeting(|_| String::new()),
        Source::greeting(|_| String::new()),
    );
    let (front, roots) = front(plan(UNION, &[&blue], &[&blue]));
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| {
            let mut listener = Listener::open(&front, Client::H2, &roots);
            (listener.answer.status, listener.event())
        });
        eventually("it waits", || blue.instance().streams() == 1);
        front.publish(plan(UNION, &[&blue], &[&blue, &green]));
        green.await_requests(1);
        green.emit_raw(format!("{}9\r\ndata: 1\n\n\r\n", crate::source::EVENTS).as_bytes());
        let (status, event) = opened.join().unwrap();
        assert_eq!((status.as_u16(), event.as_str()), (200, "data: 1\n\n"));
    });
}

fn h2c(instances: &[&H2cSource], halves: &[&H2cSource]) -> Plan {
    let all = |sources: &[&H2cSource]| -> Vec<Arc<Instance>> {
        sources.iter().map(|s| Arc::clone(&s.instance)).collect()
    };
    let mut plan = plan(UNION, &[], &[]);
    plan.protocol = Protocol::H2c;
    plan.instances = all(instances);
    plan.halves = all(halves);
    plan
}

#[test]
fn h2c_instances_have_halves() {
    let (blue, green) = (H2cSource::start(), H2cSource::start());
    let (front, roots) = front(h2c(&[&blue], &[&blue]));
    let mut http1 = crate::source::Listener::open(&front);
    let mut http2 = Listener::open(&front, Client::H2, &roots);
    blue.emit("id: 5\ndata: one\n\n");
    assert_eq!(http1.next().unwrap(), "id: 5\ndata: one\n\n");
    assert_eq!(http2.event(), "id: 5\ndata: one\n\n");
    attach(&front, h2c(&[&blue], &[&blue, &green]));
    for asked in green.requests() {
        assert_eq!(asked["last-event-id"], "5");
        assert_eq!(asked["accept-encoding"], "identity");
    }
    front.publish(h2c(&[&green], &[&blue, &green]));
    green.emit("data: two\n\n");
    assert_eq!(http1.data(), "two");
    assert_eq!(http2.event(), "data: two\n\n");
    // A half that breaks or ends is asked for again.
    blue.reset();
    eventually("they are back", || blue.requests().len() == 4);
    blue.complete();
    eventually("they are back again", || blue.requests().len() == 6);
    blue.emit("data: three\n\n");
    assert_eq!(http1.data(), "three");
    assert_eq!(http2.event(), "data: three\n\n");
    assert_eq!(front.counters.streams.reopened.load(Relaxed), 4);
    front.publish(h2c(&[&green], &[&green]));
    eventually("blue is left", || blue.instance.streams() == 0);
}
