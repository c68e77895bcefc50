//! Back-pressure: what a client does not take is not read from its instances, and never dropped.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_proxy::StreamMode;

use crate::hyper_clients;
use crate::kit::{App, Front, Plan, eventually};
use crate::source::{EVENTS, Listener};

const PAD: usize = 1000;

/// An app that emits `count` events as fast as they are taken.
fn firehose(name: &'static str, count: usize) -> (App, Arc<AtomicUsize>) {
    let written = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&written);
    let app = App::start(move |mut wire| {
        wire.head();
        wire.send(EVENTS);
        for number in 0..count {
            let event = format!("data: {name} {number} {}\n\n", "x".repeat(PAD));
            let chunk = format!("{:x}\r\n{event}\r\n", event.len());
            if wire.stream.write_all(chunk.as_bytes()).is_err() {
                return;
            }
            counter.fetch_add(1, Ordering::SeqCst);
        }
        // Stays open.
        while wire.fill() {}
    });
    (app, written)
}

fn front(apps: &[&App]) -> Front {
    let instances: Vec<_> = apps.iter().map(|app| &app.instance).collect();
    let mut plan = Plan::to(&instances[..1]);
    plan.halves = instances.into_iter().cloned().collect();
    plan.default_stream_mode = StreamMode::Union;
    Front::start(plan)
}

/// Waits until the app is held back: nothing was written for a while.
fn stands(written: &AtomicUsize) -> usize {
    let mut last = usize::MAX;
    eventually("the app is held back", || {
        std::thread::sleep(Duration::from_millis(200));
        let now = written.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    last
}

#[test]
fn slow_clients_hold_the_app_back() {
    const COUNT: usize = 30_000;
    let (blue, blue_written) = firehose("blue", COUNT);
    let (green, green_written) = firehose("green", COUNT);
    let front = front(&[&blue, &green]);
    let mut client = Listener::open(&front);
    assert!(stands(&blue_written) < COUNT && stands(&green_written) < COUNT);
    let (mut next_blue, mut next_green) = (0, 0);
    for _ in 0..2 * COUNT {
        let data = client.data();
        let mut words = data.split(' ');
        let next = match words.next() {
            Some("blue") => &mut next_blue,
            _ => &mut next_green,
        };
        assert_eq!(words.next().unwrap().parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!((next_blue, next_green), (COUNT, COUNT));
}

#[test]
fn what_a_slow_client_has_not_read_yet_is_not_lost_at_the_end_of_a_half() {
    const COUNT: usize = 4_000;
    let (blue, written) = firehose("blue", COUNT);
    let (green, _) = firehose("green", 0);
    let front = front(&[&blue, &green]);
    let mut client = Listener::open(&front);
    stands(&written);
    // The end of blue, while much of what it has said is still on its way.
    let mut plan = Plan::to(&[&green.instance]);
    plan.halves = plan.instances.clone();
    plan.default_stream_mode = StreamMode::Union;
    front.publish(plan);
    for number in 0..COUNT {
        assert!(client.data().starts_with(&format!("blue {number} ")));
        if number % 400 == 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    eventually("blue is left", || blue.instance.streams() == 0);
}

#[test]
fn a_client_that_stands_still_within_an_event_is_closed() {
    let (blue, written) = firehose("blue", 100_000);
    let front = front(&[&blue]);
    let client = Listener::open(&front);
    stands(&written);
    eventually("it is closed", || blue.instance.streams() == 0);
    assert_eq!(front.counters.streams.open.load(Ordering::Relaxed), 0);
    drop(client);
}

#[test]
fn over_http2_as_well() {
    let (blue, written) = firehose("blue", 100_000);
    let front = front(&[&blue]);
    let roots = rustls::RootCertStore::empty();
    let mut client = hyper_clients::Listener::open(&front, hyper_clients::Client::H2, &roots);
    stands(&written);
    eventually("it is closed", || blue.instance.streams() == 0);
    assert_eq!(front.counters.streams.union.load(Ordering::Relaxed), 0);
    // It finds out when it reads on.
    while let Ok(event) = client.next() {
        assert!(event.is_some(), "no clean end");
    }
}
