//! The guard and the switch, under every interleaving and every weak-memory outcome that the
//! language allows (loom). `scripts/loom` runs it alone.
//!
//! The gate is the real one, compiled here over loom's atomics. `arc_swap` and tokio's `Notify` know
//! nothing of loom, so two stand in: the routing table is the number of the instance it routes to, in
//! one atomic; and [`Wake`] is `Notify` as `Instance` uses it: whoever asked before a notification is
//! woken by it.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

mod atomic {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}
#[path = "../src/gate.rs"]
#[allow(unreachable_pub, reason = "it is a module of the library")]
mod gate;

use gate::Gate;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// `Notify::notified` and `Notify::notify_waiters`.
struct Wake {
    notifications: Mutex<usize>,
    changed: Condvar,
}

impl Wake {
    fn new() -> Wake {
        Wake {
            notifications: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    fn notified(&self) -> usize {
        *self.notifications.lock().unwrap()
    }

    fn wait(&self, asked: usize) {
        let mut now = self.notifications.lock().unwrap();
        while *now == asked {
            now = self.changed.wait(now).unwrap();
        }
    }

    fn notify_waiters(&self) {
        *self.notifications.lock().unwrap() += 1;
        self.changed.notify_all();
    }
}

/// `Instance`, line by line, with what a request uses and a retire destroys as a cell: loom fails
/// when the two overlap, or when the second does not see the first as done.
struct Instance {
    gate: Gate,
    empty: Wake,
    process: UnsafeCell<bool>,
}

impl Instance {
    fn new() -> Instance {
        Instance {
            gate: Gate::new(),
            empty: Wake::new(),
            process: UnsafeCell::new(true),
        }
    }

    fn close(&self) {
        self.gate.close();
        if self.gate.in_flight() == 0 {
            self.empty.notify_waiters();
        }
    }

    fn drained(&self) {
        loop {
            let asked = self.empty.notified();
            if self.gate.is_closed() && self.gate.in_flight() == 0 {
                return;
            }
            self.empty.wait(asked);
        }
    }

    fn use_process(&self) {
        self.process.with(|running| {
            // SAFETY: nobody writes while a request is inside; that is what loom checks here.
            assert!(unsafe { *running }, "a request met a stopped instance");
        });
    }

    fn retire(&self) {
        self.process.with_mut(|running| {
            // SAFETY: nobody is inside any more; that is what loom checks here.
            unsafe { *running = false };
        });
    }

    fn leave(&self) {
        if self.gate.leave() {
            self.empty.notify_waiters();
        }
    }
}

struct World {
    /// The routing table: which instance it routes to.
    table: AtomicUsize,
    instances: [Instance; 2],
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            table: AtomicUsize::new(0),
            instances: [Instance::new(), Instance::new()],
        })
    }

    /// One request. Each closed gate that it meets is the work of one switch, so there are at most
    /// `switches` of them: it never spins.
    fn request(&self, switches: usize) -> usize {
        for _ in 0..=switches {
            let number = self.table.load(Ordering::Acquire);
            let instance = &self.instances[number];
            if instance.gate.enter() {
                instance.use_process();
                instance.leave();
                return number;
            }
        }
        panic!("a closed gate was met more often than there were switches");
    }

    fn publish(&self, number: usize) {
        self.table.store(number, Ordering::Release);
    }
}

/// Every interleaving with up to three preemptions (loom's own advice; each one more takes ten times as
/// long), or as many as `LOOM_MAX_PREEMPTIONS` says. What weak memory allows is not bounded.
fn model(world: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(world);
}

#[test]
fn nobody_uses_the_old_instance_after_the_drain() {
    model(|| {
        let world = World::new();
        let requests: Vec<_> = (0..2)
            .map(|_| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.request(1))
            })
            .collect();
        world.publish(1);
        world.instances[0].close();
        world.instances[0].drained();
        world.instances[0].retire();
        for request in requests {
            request.join().unwrap();
        }
        assert_eq!(world.instances[0].gate.in_flight(), 0);
        assert_eq!(world.request(0), 1);
    });
}

/// The drain waits on another thread than the one that closes. A lost wake-up is a deadlock, which
/// loom reports.
#[test]
fn the_drain_is_always_woken() {
    model(|| {
        let world = World::new();
        let request = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.request(1))
        };
        let drain = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.instances[0].drained();
                world.instances[0].retire();
            })
        };
        world.publish(1);
        world.instances[0].close();
        request.join().unwrap();
        drain.join().unwrap();
    });
}

/// A rollback while the old instance still drains: it is opened before the table routes to it, and
/// then the new one is drained and stopped.
#[test]
fn a_rollback_serves_from_the_old_instance_again() {
    model(|| {
        let world = World::new();
        let request = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.request(2))
        };
        world.publish(1);
        world.instances[0].close();

        world.instances[0].gate.open();
        world.publish(0);
        world.instances[1].close();
        world.instances[1].drained();
        world.instances[1].retire();

        assert_eq!(world.request(0), 0);
        request.join().unwrap();
    });
}

/// A rollback to an instance that has drained and was kept warm.
#[test]
fn a_warm_instance_serves_again_after_its_drain() {
    model(|| {
        let world = World::new();
        let request = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.request(2))
        };
        world.publish(1);
        world.instances[0].close();
        world.instances[0].drained();

        world.instances[0].gate.open();
        world.publish(0);
        world.instances[1].close();
        world.instances[1].drained();
        world.instances[1].retire();

        assert_eq!(world.request(0), 0);
        request.join().unwrap();
    });
}
