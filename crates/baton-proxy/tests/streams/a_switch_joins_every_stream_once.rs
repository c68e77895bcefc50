//! Many streams attach with bounded concurrency, each once, and cost little while they are idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_proxy::StreamMode;

use crate::kit::Front;
use crate::source::{EVENTS, Listener, Source, attach, plan};

const STREAMS: usize = 200;

#[test]
fn a_switch_joins_every_stream_once() {
    let (opening, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let blue = Source::start();
    let green = {
        let (opening, most) = (Arc::clone(&opening), Arc::clone(&most));
        Source::greeting(move |_| {
            let now = opening.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(10));
            opening.fetch_sub(1, Ordering::SeqCst);
            EVENTS.into()
        })
    };
    let front = Front::start(plan(StreamMode::Union, &[&blue], &[&blue]));
    let mut clients: Vec<_> = (0..STREAMS).map(|_| Listener::counted(&front)).collect();
    attach(&front, plan(StreamMode::Union, &[&blue], &[&blue, &green]));
    assert!(most.load(Ordering::SeqCst) <= 32, "{most:?} at once");
    assert_eq!(green.requests(), STREAMS);
    green.emit("data: green\n\n");
    blue.emit("data: blue\n\n");
    for client in &mut clients {
        let mut both = [client.data(), client.data()];
        both.sort();
        assert_eq!(both, ["blue", "green"]);
    }
    assert_eq!(blue.requests(), STREAMS);
    assert_eq!(green.instance().streams(), STREAMS as u64);
}
