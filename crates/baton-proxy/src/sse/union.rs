//! One client's stream over several halves: what it gets, and which id it has.

use std::collections::VecDeque;
use std::hash::RandomState;
use std::sync::Arc;

use smallvec::SmallVec;

use super::event::{Event, IdChange};
use super::id::{LastId, NoHandover, with_last_event_id};
use super::notes::id_change;

/// Duplicates are looked for among so many of the last events with an id of their own: 4 KiB a client at most.
const REMEMBERED: usize = 256;

/// And among so many from the time before there was a second half: 1 KiB a client at most.
const REMEMBERED_ALONE: usize = 64;

/// Halves of one client whose duplicates are known; a further one's events are all forwarded.
pub const MAX_HALVES: usize = 64;

/// Names for halves that the caller gives: one for each instance, kept when its half is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HalfKey(pub u64);

/// What happens to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its bytes go to the client.
    Forward,
    /// Dropped: another half gave the same id, type and data.
    Duplicate,
    /// Dropped: named in `drop_on_attach`, sent on connect, and the client has had one.
    OnAttach,
    /// Dropped: the LF of a CRLF after whose CR the client got something else. It means nothing.
    LineFeed,
}

/// How a half is asked for, where that differs from the client's own request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume<'u> {
    /// The value of `Last-Event-ID`; without one the field is left out, even if the client sent it.
    pub last_event_id: Option<&'u [u8]>,
    /// Another path and query; `None`: the client's.
    pub target: Option<String>,
}

/// The bookkeeping of one client's stream. Every event of every half goes through [`Union::take`], in the order in
/// which the client gets them. With one half it only keeps account of ids.
#[derive(Debug)]
pub struct Union {
    /// What the client's request said.
    sent: LastId,
    /// What this connection has given to the client since, and who did.
    given: LastId,
    giver: Option<HalfKey>,
    halves: SmallVec<[Half; 2]>,
    /// `drop_on_attach`; and one bit for each name that the client has had.
    names: Arc<[String]>,
    had: u64,
    remembered: VecDeque<Remembered>,
    hashing: RandomState,
    /// Whose bytes the client got last.
    last: Option<HalfKey>,
    /// Counts ids, so that the newest is known.
    turn: u64,
}

#[derive(Debug)]
struct Half {
    key: HalfKey,
    /// One bit, its own among all halves; 0 beyond [`MAX_HALVES`].
    bit: u64,
    /// The last id that it gave, dropped or not, and when.
    last: LastId,
    turn: u64,
    /// While nothing but events named in `drop_on_attach` came: a bit for each of them.
    attaching: Option<u64>,
}

#[derive(Debug)]
struct Remembered {
    fingerprint: u64,
    /// The halves that gave it, those that left excepted.
    by: u64,
}

impl Union {
    /// A stream without halves. `sent`: the client's `Last-Event-ID`; `drop_on_attach`: the rule's names, of which
    /// the first 64 count.
    #[must_use]
    pub fn new(sent: Option<&[u8]>, drop_on_attach: Arc<[String]>) -> Self {
        Self {
            sent: sent.map_or(LastId::None, LastId::of),
            given: LastId::None,
            giver: None,
            halves: SmallVec::new(),
            names: drop_on_attach,
            had: 0,
            remembered: VecDeque::new(),
            hashing: RandomState::new(),
            last: None,
            turn: 0,
        }
    }

    /// A half begins: opened for the first time, or opened again after the app ended it. Call it before its events.
    ///
    /// From here to its first event that dispatches and is not named in `drop_on_attach`, events with those names
    /// are dropped, each once and only if the client has had one of that name from whomever. There is no time
    /// limit by itself: an app that sends its head only with its first event may send that late. See [`Union::settle`].
    pub fn open(&mut self, key: HalfKey) {
        let attaching = (!self.names.is_empty()).then_some(0);
        if let Some(half) = self.halves.iter_mut().find(|half| half.key == key) {
            half.attaching = attaching;
            return;
        }
        let taken = self.halves.iter().fold(0, |taken, half| taken | half.bit);
        self.halves.push(Half {
            key,
            // The lowest bit that is free.
            bit: !taken & taken.wrapping_add(1),
            last: LastId::None,
            turn: 0,
            attaching,
        });
    }

    /// Nothing more of this half counts as sent on connect, for instance `attach_grace` after its head came.
    pub fn settle(&mut self, key: HalfKey) {
        if let Some(half) = self.halves.iter_mut().find(|half| half.key == key) {
            half.attaching = None;
        }
    }

    /// Decides on an event of a half, and counts on the caller to do so: what is [`Verdict::Forward`] is sent
    /// whole. A half that was not opened is forwarded without further thought.
    pub fn take(&mut self, key: HalfKey, event: &Event<'_>) -> Verdict {
        if event.is_line_feed() {
            return if self.last == Some(key) {
                Verdict::Forward
            } else {
                Verdict::LineFeed
            };
        }
        self.turn += 1;
        let id = match event.id() {
            IdChange::Keep => None,
            IdChange::Set(id) => Some(LastId::of(id)),
            IdChange::Reset => Some(LastId::Reset),
        };
        let verdict = self.verdict(key, event);
        if let Some(half) = self.halves.iter_mut().find(|half| half.key == key)
            && let Some(id) = &id
        {
            half.last.clone_from(id);
            half.turn = self.turn;
        }
        if verdict == Verdict::Forward {
            self.last = Some(key);
            if let Some(id) = id {
                self.given = id;
                self.giver = Some(key);
            }
        }
        verdict
    }

    /// A half has left for good: its instance is no longer in the set. If the client's last id came from it, returns
    /// what must be sent now, between two events, so that a later reconnect does not present an id that no
    /// remaining half gave: the newest id of those, or a reset.
    ///
    /// Only for `union`: in `cut` both colors share their ids, and the return value has no use.
    pub fn close(&mut self, key: HalfKey) -> Option<Vec<u8>> {
        let position = self.halves.iter().position(|half| half.key == key)?;
        let left = self.halves.remove(position);
        for remembered in &mut self.remembered {
            remembered.by &= !left.bit;
        }
        if self.giver != Some(key) || self.halves.is_empty() {
            return None;
        }
        let newest = self
            .halves
            .iter()
            .filter(|half| half.last != LastId::None)
            .max_by_key(|half| half.turn);
        let id = newest.map_or(LastId::Reset, |half| match &half.last {
            LastId::Known(id) => LastId::Known(id.clone()),
            _ => LastId::Reset,
        });
        self.giver = newest.map(|half| half.key);
        if self.given == id {
            return None;
        }
        self.given = id;
        self.last = None;
        Some(id_change(self.given.known()))
    }

    /// The id that the client has now: what it would present if it had to reconnect.
    #[must_use]
    pub fn client_id(&self) -> &LastId {
        match self.given {
            LastId::None => &self.sent,
            _ => &self.given,
        }
    }

    /// How many halves there are.
    #[must_use]
    pub fn halves(&self) -> usize {
        self.halves.len()
    }

    /// How to ask for a half, given the client's own path and query: with the last id that the half itself gave, if
    /// it is opened again (the other color's id would say nothing to it); else with the last one given on this
    /// connection; else as the client asked.
    ///
    /// # Errors
    /// [`NoHandover`] if the id cannot be told.
    pub fn resume(&self, key: HalfKey, target: &str) -> Result<Resume<'_>, NoHandover> {
        let own = self
            .halves
            .iter()
            .find(|half| half.key == key && half.last != LastId::None);
        let id = own.map_or(&self.given, |half| &half.last);
        if *id == LastId::None {
            return Ok(Resume {
                last_event_id: self.sent.as_field()?,
                target: None,
            });
        }
        let last_event_id = id.as_field()?;
        Ok(Resume {
            last_event_id,
            target: with_last_event_id(target, last_event_id.unwrap_or_default()),
        })
    }

    fn verdict(&mut self, key: HalfKey, event: &Event<'_>) -> Verdict {
        let Some(half) = self.halves.iter_mut().find(|half| half.key == key) else {
            return Verdict::Forward;
        };
        if event.dispatches() && !self.names.is_empty() {
            let name = name_bit(&self.names, event);
            match half.attaching {
                Some(seen) if name != 0 && seen & name == 0 => {
                    half.attaching = Some(seen | name);
                    if self.had & name != 0 {
                        return Verdict::OnAttach;
                    }
                }
                _ => half.attaching = None,
            }
            self.had |= name;
        }
        let bit = half.bit;
        match event.fingerprint(&self.hashing) {
            Some(fingerprint) if self.is_duplicate(fingerprint, bit) => Verdict::Duplicate,
            _ => Verdict::Forward,
        }
    }

    /// Each half's first, second … copy of an event is the same as every other half's first, second …: so a half
    /// may say the same twice, and nothing that only one half gave is lost.
    fn is_duplicate(&mut self, fingerprint: u64, bit: u64) -> bool {
        let given = self
            .remembered
            .iter_mut()
            .find(|given| given.fingerprint == fingerprint && given.by & bit == 0);
        if bit != 0
            && let Some(given) = given
        {
            given.by |= bit;
            return true;
        }
        let limit = if self.halves.len() > 1 {
            REMEMBERED
        } else {
            REMEMBERED_ALONE
        };
        while self.remembered.len() >= limit {
            self.remembered.pop_front();
        }
        self.remembered.push_back(Remembered {
            fingerprint,
            by: bit,
        });
        false
    }
}

/// The bit of the event's name in `drop_on_attach`; 0 if it is not there.
fn name_bit(names: &[String], event: &Event<'_>) -> u64 {
    names
        .iter()
        .take(64)
        .position(|name| name.as_bytes() == event.name())
        .map_or(0, |position| 1 << position)
}
