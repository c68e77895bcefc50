//! Clients that take nothing any more. Over HTTP/1.1 the exchange sees that by itself; an HTTP/2 stream
//! is not looked at while its window is closed, so that someone else must.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::splice::Splice;
use crate::worker::WorkerContext;

/// How long the client of a managed stream may stand still with an event that it has not taken: nothing
/// else can be said to it meanwhile (Streams.md §1.2).
pub(crate) const STALLED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_secs(1);

/// The managed streams of one worker.
#[derive(Debug, Default)]
pub(super) struct Watched {
    streams: RefCell<Vec<Weak<RefCell<Splice>>>>,
    running: Cell<bool>,
}

impl Watched {
    /// Looks at every stream. False: there is none.
    fn look(&self) -> bool {
        let mut streams = self.streams.borrow_mut();
        streams.retain(|stream| {
            let Some(stream) = stream.upgrade() else {
                return false;
            };
            if let Ok(mut stream) = stream.try_borrow_mut()
                && stream.is_stalled_for(STALLED)
            {
                stream.give_up();
            }
            true
        });
        !streams.is_empty()
    }
}

/// Looks at the stream from time to time, for as long as it is there.
pub(super) fn watch(worker: &Rc<WorkerContext>, stream: &Rc<RefCell<Splice>>) {
    let watched = &worker.pace.watched;
    watched.streams.borrow_mut().push(Rc::downgrade(stream));
    if watched.running.replace(true) {
        return;
    }
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            if !worker.pace.watched.look() {
                break;
            }
        }
        worker.pace.watched.running.set(false);
    });
}
