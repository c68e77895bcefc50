//! The emitters of this process, as Spring's `SseEmitter`s in a map: an event reaches only who is
//! connected to the very process that emits it.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use super::event::{Event, Told};
use super::settings::{Ids, SceneSettings};
use crate::settings::Identity;

/// Events that are kept for a replay.
const RING: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Emitters {
    settings: SceneSettings,
    identity: Identity,
    by_user: RefCell<HashMap<String, Vec<Emitter>>>,
    /// Events of users without an emitter, with `HOLD_UNHEARD`.
    held: RefCell<HashMap<String, VecDeque<Event>>>,
    /// The newest events of everyone, with `SSE_REPLAY`.
    ring: RefCell<VecDeque<(String, Event)>>,
    next_emitter: Cell<u64>,
    told: Cell<u64>,
    emitted: Cell<u64>,
    unheard: Cell<u64>,
}

#[derive(Debug)]
struct Emitter {
    number: u64,
    events: UnboundedSender<Bytes>,
}

impl Emitters {
    pub(crate) fn new(settings: &SceneSettings, identity: &Identity) -> Emitters {
        Emitters {
            settings: settings.clone(),
            identity: identity.clone(),
            by_user: RefCell::default(),
            held: RefCell::default(),
            ring: RefCell::default(),
            next_emitter: Cell::new(0),
            told: Cell::new(0),
            emitted: Cell::new(0),
            unheard: Cell::new(0),
        }
    }

    /// A new emitter of `user`; its stream ends when the emitter is closed.
    pub(crate) fn register(
        self: &Rc<Self>,
        user: &str,
        last_id: Option<&str>,
    ) -> UnboundedReceiver<Bytes> {
        let (events, receiver) = unbounded_channel();
        if self.settings.hello {
            let (release, last_id) = (&self.identity.release, last_id.unwrap_or("-"));
            let hello = format!("event: connect\ndata: {release} {last_id}\n\n");
            let _ = events.send(Bytes::from(hello));
        }
        if let Some(last_id) = last_id.filter(|_| self.settings.replay) {
            for event in self.after(user, last_id) {
                let _ = events.send(event.bytes());
            }
        }
        for event in self.held.borrow_mut().remove(user).unwrap_or_default() {
            let _ = events.send(event.bytes());
        }
        let number = self.next_emitter.replace(self.next_emitter.get() + 1);
        let emitter = Emitter { number, events };
        self.by_user
            .borrow_mut()
            .entry(user.to_owned())
            .or_default()
            .push(emitter);
        if let Some(timeout) = self.settings.emitter_timeout {
            let (emitters, user) = (Rc::clone(self), user.to_owned());
            tokio::task::spawn_local(async move {
                sleep(timeout).await;
                emitters.close(&user, number);
            });
        }
        receiver
    }

    fn close(&self, user: &str, number: u64) {
        if let Some(list) = self.by_user.borrow_mut().get_mut(user) {
            list.retain(|emitter| emitter.number != number);
        }
    }

    /// Ends every stream.
    pub(crate) fn close_all(&self) {
        self.by_user.borrow_mut().clear();
    }

    /// What this process says of an event; each call counts.
    pub(crate) fn told(&self, token: &str, via: &str, by: &str) -> Told {
        let n = self.told.get() + 1;
        self.told.set(n);
        Told {
            token: token.to_owned(),
            release: self.identity.release.clone(),
            color: self.identity.color.clone(),
            n,
            pid: self.identity.pid,
            via: via.to_owned(),
            by: by.to_owned(),
        }
    }

    /// Sends to the emitters of `user` in this process. `id` is given where a bus has one already.
    pub(crate) fn emit(&self, user: &str, told: Told, id: Option<String>) {
        self.emitted.set(self.emitted.get() + 1);
        let id = id.or_else(|| match self.settings.ids {
            Ids::Counter => Some(told.n.to_string()),
            Ids::Token => Some(told.token.clone()),
            Ids::None => None,
        });
        let event = Event { id, told };
        if self.settings.replay {
            let mut ring = self.ring.borrow_mut();
            ring.push_back((user.to_owned(), event.clone()));
            if ring.len() > RING {
                ring.pop_front();
            }
        }
        if self.send(user, &event) {
            return;
        }
        if self.settings.hold_unheard {
            let mut held = self.held.borrow_mut();
            held.entry(user.to_owned()).or_default().push_back(event);
        } else {
            self.unheard.set(self.unheard.get() + 1);
        }
    }

    /// `false`: nobody is there.
    fn send(&self, user: &str, event: &Event) -> bool {
        let mut by_user = self.by_user.borrow_mut();
        let Some(list) = by_user.get_mut(user) else {
            return false;
        };
        let bytes = event.bytes();
        list.retain(|emitter| emitter.events.send(bytes.clone()).is_ok());
        !list.is_empty()
    }

    /// What came after an id; ids of a Redis stream are compared, others looked for. Nothing when it
    /// is not known: it was another process's.
    fn after(&self, user: &str, last_id: &str) -> Vec<Event> {
        let ring = self.ring.borrow();
        let mine = ring.iter().filter(|(whose, _)| whose == user);
        let events = mine.map(|(_, event)| event);
        if let Some(last) = stream_id(last_id) {
            let newer = |event: &&Event| {
                let id = event.id.as_deref().and_then(stream_id);
                id.is_some_and(|id| id > last)
            };
            return events.filter(newer).cloned().collect();
        }
        let known = |event: &&Event| event.id.as_deref() == Some(last_id);
        if !events.clone().any(|event| known(&event)) {
            return Vec::new();
        }
        let found = events.skip_while(|event| !known(event));
        found.skip(1).cloned().collect()
    }

    /// Streams that are open now.
    pub(crate) fn open(&self) -> usize {
        let mut by_user = self.by_user.borrow_mut();
        for list in by_user.values_mut() {
            list.retain(|emitter| !emitter.events.is_closed());
        }
        by_user.values().map(Vec::len).sum()
    }

    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.get()
    }

    /// Events that nobody was there for: lost.
    pub(crate) fn unheard(&self) -> u64 {
        self.unheard.get()
    }
}

/// `1700000000000-0`
fn stream_id(text: &str) -> Option<(u64, u64)> {
    let (millis, sequence) = text.split_once('-')?;
    Some((millis.parse().ok()?, sequence.parse().ok()?))
}
