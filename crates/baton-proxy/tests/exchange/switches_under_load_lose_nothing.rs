//! Switches, restarts and pauses one after the other, under keep-alive load that never stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use baton_proxy::Mode;

use crate::kit::{App, Front, Plan, eventually, ok};

fn app(name: &'static str) -> App {
    App::start(move |mut wire| {
        while let Some(head) = wire.try_head() {
            let body = wire.read_exact(head.length());
            wire.send(ok(&format!("{name} {}", body.len())));
        }
    })
}

#[test]
fn switches_under_load_lose_nothing() {
    let front = Arc::new(Front::start(Plan::to(&[&app("r0").instance])));
    let (stop, served) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let (front, stop, served) =
                (Arc::clone(&front), Arc::clone(&stop), Arc::clone(&served));
            std::thread::spawn(move || {
                // One connection for the whole test: a close would fail the next request.
                let mut client = front.client();
                while !stop.load(Ordering::SeqCst) {
                    if number % 2 == 0 {
                        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
                    } else {
                        client.send(
                            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
                        );
                    }
                    assert_eq!(client.response().status(), 200);
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut old: Option<App> = None;
    for round in 0..40 {
        let new = app("next");
        if round % 4 == 3 {
            // Stop-first: nothing serves for a moment.
            let mut plan = Plan::to(&[&new.instance]);
            plan.mode = Mode::Hold;
            front.publish(plan);
        }
        front.publish(Plan::to(&[&new.instance]));
        if let Some(old) = old.replace(new) {
            old.instance.close();
            eventually("the old one has drained", || old.instance.in_flight() == 0);
            old.reset_connections();
        }
        let before = served.load(Ordering::SeqCst);
        eventually("requests go on", || {
            served.load(Ordering::SeqCst) > before + 20
        });
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let total = served.load(Ordering::SeqCst) as u64;
    assert_eq!(front.counters.requests.load(Ordering::Relaxed), total);
    assert_eq!(front.counters.failed.load(Ordering::Relaxed), 0);
    assert_eq!(front.counters.closed_keep_alive.load(Ordering::Relaxed), 0);
}
