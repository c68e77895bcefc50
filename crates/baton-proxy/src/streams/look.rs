//! What a new routing table means for a managed stream.

use std::sync::Arc;
use std::task::Context;
use std::time::{Duration, Instant};

use super::half::Half;
use super::rule::StreamMode;
use super::splice::{Head, Splice};
use crate::instance::Instance;
use crate::route::Route;
use crate::sse;

/// How often a client that hears nobody is told that its stream is open.
const STILL_OPEN: Duration = Duration::from_secs(10);

impl Splice {
    /// Compares the stream with the table of now.
    pub(super) fn look(&mut self) {
        let table = self.worker.table();
        let route = self.names(|host, target| table.find(host, target).map(Arc::clone));
        drop(table);
        let Some(route) = route.flatten() else {
            // The app has been taken away. Whoever comes back is told so.
            return self.is_nowhere();
        };
        // The counters are one and the same over all tables of a route; if not, those stay that the
        // stream was counted in.
        if Arc::ptr_eq(&route.counters, &self.route.counters) {
            self.route = route;
        } else {
            return self.is_nowhere();
        }
        self.comes_back = false;
        match self.mode {
            StreamMode::Union => self.join(),
            StreamMode::Cut => self.follow(),
            // Who has nothing yet can be told nothing: its request moves on.
            StreamMode::Reconnect if matches!(self.head, Head::Awaited) => self.follow(),
            StreamMode::Reconnect => self.stay(),
            StreamMode::Drain => {}
        }
    }

    /// `union`: a half on each instance of the set, none elsewhere.
    fn join(&mut self) {
        let route = Arc::clone(&self.route);
        for at in 0..self.halves.len() {
            let wanted = has(&route.halves, &self.halves[at].instance);
            self.halves[at].stays_if(wanted);
            if !wanted {
                self.leave(at, false);
            }
        }
        for instance in &route.halves {
            if !self.halves.iter().any(|half| half.is_of(instance)) {
                let after = self.spread();
                self.add(instance, after);
            }
        }
    }

    /// `cut`: one half, where the client's own requests go.
    fn follow(&mut self) {
        let Some(current) = self.halves.first() else {
            return self.move_on();
        };
        if self.is_at_home(current) {
            // Perhaps again: what was opened meanwhile is not needed.
            self.halves[0].stays_if(true);
            while self.halves.len() > 1 {
                self.drop_last();
            }
            return;
        }
        while self.halves.len() > 1 && !self.is_at_home(&self.halves[1]) {
            self.drop_last();
        }
        if self.halves.len() == 1 {
            self.move_on();
        }
        if self.waits() && self.halves.len() == 1 {
            // Nobody is there to move on to, and this one is on its way out.
            self.leave(0, false);
        }
        let gone = !has(&self.route.halves, &self.halves[0].instance);
        if gone && self.halves.len() > 1 {
            self.leave(0, true);
        }
    }

    /// Whether the stream goes on without any half, since another instance will come.
    pub(super) fn waits(&self) -> bool {
        let mode = matches!(self.mode, StreamMode::Union | StreamMode::Cut);
        mode && self.route.streams_wait && self.route.halves.is_empty()
    }

    /// Says now and then that the stream is open, while nobody else says anything.
    pub(super) fn keep_open(&mut self, cx: &mut Context<'_>) {
        if !(self.halves.is_empty() && self.waits() && matches!(self.head, Head::Sent(_))) {
            self.still_open = None;
            return;
        }
        loop {
            let next = *self
                .still_open
                .get_or_insert_with(|| Instant::now() + STILL_OPEN);
            if !self.timer.poll_passed(cx, next) {
                return;
            }
            self.still_open = None;
            // Once is enough for a client that takes nothing.
            if self.note.is_empty() {
                self.note.extend_from_slice(sse::KEEP_ALIVE);
            }
        }
    }

    /// Opens another half of a `cut` stream, where requests go now.
    fn move_on(&mut self) {
        let route = Arc::clone(&self.route);
        let quietest = || self.home(&route).iter().min_by_key(|i| i.streams());
        if let Some(instance) = self.keeper(&route).or_else(quietest) {
            let after = self.spread();
            self.add(instance, after);
        }
    }

    /// The instance that has the client's session.
    fn keeper<'r>(&self, route: &'r Route) -> Option<&'r Arc<Instance>> {
        self.worker
            .shared()
            .sessions
            .place(route, &self.caller.claims())
    }

    /// Where the client's requests go that name no session.
    fn home<'r>(&self, route: &'r Route) -> &'r [Arc<Instance>] {
        let sides = route.sides(&self.caller);
        if sides.own.iter().all(|instance| instance.is_closed()) && !sides.other.is_empty() {
            sides.other
        } else {
            sides.own
        }
    }

    /// Whether the client's own requests go to the instance of this half.
    fn is_at_home(&self, half: &Half) -> bool {
        match self.keeper(&self.route) {
            Some(keeper) => half.is_of(keeper),
            None => has(self.home(&self.route), &half.instance),
        }
    }

    /// `reconnect`: as long as its instances are in the set; beside a canary, as long as the client's
    /// requests go there, since that is where its events are.
    fn stay(&mut self) {
        let route = Arc::clone(&self.route);
        let all = self.halves.iter().all(|half| {
            has(&route.halves, &half.instance) && (route.split.is_none() || self.is_at_home(half))
        });
        if !all || self.halves.is_empty() {
            return self.come_back();
        }
        for half in &mut self.halves {
            half.stays_if(true);
        }
    }

    /// Whether a `cut` stream is on its way to another instance.
    pub(super) fn is_moving(&self) -> bool {
        self.halves.len() > 1 || !self.halves.iter().all(|half| self.is_at_home(half))
    }

    /// A half has had its headers.
    pub(super) fn opened(&mut self, at: usize) {
        match self.mode {
            StreamMode::Reconnect => self.stay_with(at),
            StreamMode::Cut if at > 0 => self.leave(0, true),
            _ => {}
        }
    }

    /// `reconnect`: several may have been asked while the client had nothing; it gets the one that has
    /// answered first.
    fn stay_with(&mut self, at: usize) {
        self.halves.swap(0, at);
        while self.halves.len() > 1 {
            self.drop_last();
        }
        self.stay();
    }

    /// One of many streams that have all seen the same table; a new one is alone.
    fn spread(&self) -> Duration {
        if self.fresh {
            Duration::ZERO
        } else {
            self.worker.pace.spread()
        }
    }

    fn drop_last(&mut self) {
        if let Some(half) = self.halves.pop() {
            self.union.close(half.key());
        }
    }
}

impl Half {
    pub(super) fn is_of(&self, instance: &Arc<Instance>) -> bool {
        Arc::ptr_eq(&self.instance, instance)
    }

    /// The set has it again.
    fn stays_if(&mut self, wanted: bool) {
        if wanted {
            self.leaving = None;
        }
    }
}

fn has(set: &[Arc<Instance>], instance: &Arc<Instance>) -> bool {
    set.iter().any(|one| Arc::ptr_eq(one, instance))
}
