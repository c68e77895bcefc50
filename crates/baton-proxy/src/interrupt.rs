//! Waking every connection of a worker, for what happens seldom and concerns many: a shutdown, an
//! instance that is cut.
//!
//! Each connection registers its task once. An exchange then needs no future of its own to wait on
//! those signals: it looks at them whenever it runs, and is made to run when one is raised.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::worker::WorkerContext;

/// The tasks of one worker.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    tasks: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    watched: Cell<bool>,
}

impl Interrupts {
    /// Runs every registered task again.
    pub(crate) fn wake_all(&self) {
        for waker in self.tasks.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

/// Keeps one task registered until it is dropped.
pub(crate) struct Registration {
    worker: Rc<WorkerContext>,
    slot: usize,
}

impl Registration {
    /// Registers the task that `cx` belongs to. The worker's first one starts the watch for shutdown.
    pub(crate) fn new(worker: &Rc<WorkerContext>, cx: &Context<'_>) -> Registration {
        let interrupts = &worker.interrupts;
        let waker = Some(cx.waker().clone());
        let slot = match interrupts.free.borrow_mut().pop() {
            Some(slot) => {
                interrupts.tasks.borrow_mut()[slot] = waker;
                slot
            }
            None => {
                let mut tasks = interrupts.tasks.borrow_mut();
                tasks.push(waker);
                tasks.len() - 1
            }
        };
        if !interrupts.watched.replace(true) {
            let worker = Rc::clone(worker);
            tokio::task::spawn_local(async move {
                worker.shutdown().begun().await;
                worker.interrupts.wake_all();
            });
        }
        Registration {
            worker: Rc::clone(worker),
            slot,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let interrupts = &self.worker.interrupts;
        interrupts.tasks.borrow_mut()[self.slot] = None;
        interrupts.free.borrow_mut().push(self.slot);
    }
}
