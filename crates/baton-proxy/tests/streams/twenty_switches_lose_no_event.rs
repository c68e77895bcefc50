//! Twenty switches in a row, with both colors emitting all the time: each event arrives once, each
//! color's in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use baton_proxy::StreamMode;

use crate::kit::{Front, eventually};
use crate::source::{Listener, Source, attach, plan};

const UNION: StreamMode = StreamMode::Union;
const CLIENTS: usize = 5;

/// Emits numbered events until it is told to stop; what was emitted so far.
struct Emitter {
    source: Arc<Source>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Emitter {
    fn start(source: Arc<Source>, round: usize) -> Emitter {
        let stop = Arc::<AtomicBool>::default();
        let (stopped, emitting) = (Arc::clone(&stop), Arc::clone(&source));
        let thread = std::thread::spawn(move || {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                emitting.emit(&format!("id: {round}-{number}\ndata: {round} {number}\n\n"));
                number += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            number
        });
        Emitter {
            source,
            stop,
            thread: Some(thread),
        }
    }

    fn stop(&mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

#[test]
fn twenty_switches_lose_no_event() {
    let first = Arc::new(Source::start());
    let front = Front::start(plan(UNION, &[&first], &[&first]));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| Listener::counted(&front)).collect();
    let over = Arc::<AtomicUsize>::default();
    let mut current = Emitter::start(first, 0);
    let readers: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let mut next: HashMap<usize, usize> = HashMap::new();
                loop {
                    let data = client.data();
                    if data == "over" {
                        over.fetch_add(1, Ordering::SeqCst);
                        return next;
                    }
                    let (round, number) = data.split_once(' ').unwrap();
                    let (round, number) = (round.parse().unwrap(), number.parse().unwrap());
                    let expected = next.entry(round).or_default();
                    assert_eq!(*expected, number, "round {round}");
                    *expected += 1;
                }
            })
        })
        .collect();
    let mut emitted = Vec::new();
    for round in 1..=20 {
        let new = Arc::new(Source::start());
        let old = Arc::clone(&current.source);
        attach(&front, plan(UNION, &[&old], &[&old, &new]));
        let next = Emitter::start(Arc::clone(&new), round);
        front.publish(plan(UNION, &[&new], &[&old, &new]));
        old.instance().close();
        eventually("requests have drained", || old.instance().in_flight() == 0);
        emitted.push(current.stop());
        front.publish(plan(UNION, &[&new], &[&new]));
        old.instance().close_streams();
        eventually("the old color is left", || old.instance().streams() == 0);
        old.kill();
        current = next;
    }
    emitted.push(current.stop());
    current.source.emit("data: over\n\n");
    for reader in readers {
        let got = reader.join().unwrap();
        for (round, count) in emitted.iter().enumerate() {
            assert_eq!(got.get(&round), Some(count), "round {round}");
        }
    }
    assert_eq!(over.load(Ordering::SeqCst), CLIENTS);
    let counters = &front.counters.streams;
    assert_eq!(
        counters.handed_over.load(Ordering::Relaxed),
        20 * CLIENTS as u64
    );
    assert_eq!(counters.reopened.load(Ordering::Relaxed), 0);
}
