//! Messages that the old color did not handle: what becomes of them (Streams.md §3).

use std::sync::Arc;

use ::redis::{Cmd, Value, cmd, pipe};
use baton_compose::policy::Leftover;
use serde::{Deserialize, Serialize};

use super::before::Before;
use super::error::{RedisError, explain};
use super::group::{Group, PAGE};
use super::id::EntryId;
use super::link::Redis;
use super::stream::{Stream, apart};

/// Entries on their way at once.
const BATCH: usize = 100;

/// One entry in one call: copied, then acknowledged and deleted. Read inside, so that two movers
/// never copy it twice and its bytes stay as they are. Redis below 7 must be told to replicate what
/// the script does instead of the script itself.
const MOVE: &str = r"
if redis.replicate_commands then redis.replicate_commands() end
local found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[2])
local moved = 0
if #found > 0 then
  redis.call('XADD', KEYS[2], '*', unpack(found[1][2]))
  moved = 1
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
return moved
";

/// What to do when the time for messages is over and some are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The old color is stopped, and what it left goes to the new one.
    StopAndMove,
    /// The old color goes on running, and the user is told.
    KeepOld,
    /// Traffic goes back to the old color.
    SwitchBack,
}

impl From<Leftover> for Overdue {
    fn from(rule: Leftover) -> Overdue {
        match rule {
            Leftover::Move => Overdue::StopAndMove,
            Leftover::Wait => Overdue::KeepOld,
            Leftover::Fail => Overdue::SwitchBack,
        }
    }
}

/// What may be moved now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The old color runs and no longer reads: only entries that it was never given.
    Undelivered,
    /// Every instance of the old color has exited: also what it did not acknowledge.
    All,
}

/// Counts for the receipt; kept over a move that is interrupted and run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moved {
    /// Never given to the old color.
    pub undelivered: u64,
    /// Given to the old color, not acknowledged by it: the new one may handle them a second time.
    pub pending: u64,
    /// Pending, and gone from the stream meanwhile: only acknowledged.
    pub gone: u64,
}

impl Moved {
    /// Messages that went to the new color.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.undelivered + self.pending
    }

    /// One entry went, or was found gone (`arrived` false).
    fn count(&mut self, pending: bool, arrived: bool) {
        match (pending, arrived) {
            (true, true) => self.pending += 1,
            (true, false) => self.gone += 1,
            (false, true) => self.undelivered += 1,
            // Another mover was faster, and has counted it.
            (false, false) => {}
        }
    }
}

/// Carries what the old color left to the new color's stream. May be killed at any point and run
/// again: every entry arrives at least once, and none is lost.
#[derive(Debug)]
pub struct Mover {
    from: Arc<Redis>,
    to: Arc<Redis>,
    before: Before,
    /// Both ends are one server; None until it was looked at.
    one_server: Option<bool>,
    /// Scripts work on both keys at once.
    scripts: bool,
    /// A batch whose answer never came: what is gone from the old stream by now was moved.
    unanswered: Option<Batch>,
}

#[derive(Debug, Clone)]
struct Batch {
    stream: Stream,
    ids: Vec<EntryId>,
    pending: bool,
}

impl Mover {
    /// `from` and `to` are mostly the same Redis. `before`: taken when the deploy began.
    #[must_use]
    pub fn new(from: Arc<Redis>, to: Arc<Redis>, before: Before) -> Mover {
        Mover {
            from,
            to,
            before,
            one_server: None,
            scripts: true,
            unanswered: None,
        }
    }

    /// Moves what `which` allows from `old` to `new`, in the order of the stream, pending entries
    /// first; `moved` counts, also up to an error. Nothing is moved onto itself: where both are the
    /// same key this does nothing.
    ///
    /// # Errors
    /// [`RedisError::Away`]: call it again later. [`RedisError::NoReader`]: the new color has not made
    /// its group. Else why it cannot be done.
    pub async fn carry(
        &mut self,
        old: &Stream,
        new: &Stream,
        which: Which,
        moved: &mut Moved,
    ) -> Result<(), RedisError> {
        if self.one_server().await? && !apart(old, Some(new)) {
            return Ok(());
        }
        self.count_unanswered(moved).await?;
        let group = self.from.group(old).await?;
        // Whatever is written there from now on is another look's: this one ends.
        let end = self.from.last(&old.key).await?;
        if which == Which::All && matches!(group, Group::At(_)) {
            self.carry_pending(old, new, moved).await?;
        }
        let Some(end) = end else {
            return Ok(());
        };
        let mut cursor = match group {
            Group::At(id) => Some(id.max(self.before.up_to(old).unwrap_or_default())),
            _ => self.before.up_to(old),
        };
        loop {
            let mut ids = self.from.behind(&old.key, cursor, BATCH).await?;
            ids.retain(|id| *id <= end);
            let Some(last) = ids.last() else {
                return Ok(());
            };
            cursor = Some(*last);
            self.readable(new).await?;
            let batch = Batch {
                stream: old.clone(),
                ids,
                pending: false,
            };
            self.carry_batch(batch, new, moved).await?;
        }
    }

    /// One server, also where its two names differ: scripts reach both keys, and an entry must not be
    /// moved onto its own stream.
    async fn one_server(&mut self) -> Result<bool, RedisError> {
        if let Some(known) = self.one_server {
            return Ok(known);
        }
        let (from, to) = (self.from.url(), self.to.url());
        let one = from.same_server(to)
            || (from.same_database(to) && self.from.server().await?.is(&self.to.server().await?));
        self.one_server = Some(one);
        self.scripts &= one;
        Ok(one)
    }

    async fn carry_pending(
        &mut self,
        old: &Stream,
        new: &Stream,
        moved: &mut Moved,
    ) -> Result<(), RedisError> {
        let mut cursor = None;
        loop {
            let page = self.from.pending(old, cursor).await?;
            cursor = page.last().map(|entry| entry.id);
            let held = |id: &EntryId| !self.before.holds(old, *id);
            let ids: Vec<EntryId> = page.iter().map(|one| one.id).filter(held).collect();
            for ids in ids.chunks(BATCH) {
                self.readable(new).await?;
                let batch = Batch {
                    stream: old.clone(),
                    ids: ids.to_vec(),
                    pending: true,
                };
                self.carry_batch(batch, new, moved).await?;
            }
            if page.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// A group made at `$` after the move would never be given what was moved.
    async fn readable(&self, new: &Stream) -> Result<(), RedisError> {
        match self.to.group(new).await? {
            Group::At(_) => Ok(()),
            Group::Missing | Group::NoStream => Err(RedisError::NoReader {
                key: new.key.clone(),
                group: new.group.clone(),
            }),
        }
    }

    /// Redis may have done a part of a batch before it went away: that belongs into the receipt, too.
    async fn count_unanswered(&mut self, moved: &mut Moved) -> Result<(), RedisError> {
        let Some(batch) = self.unanswered.clone() else {
            return Ok(());
        };
        for id in &batch.ids {
            if !self.from.exists(&batch.stream.key, *id).await? {
                moved.count(batch.pending, true);
            }
        }
        self.unanswered = None;
        Ok(())
    }

    async fn carry_batch(
        &mut self,
        batch: Batch,
        new: &Stream,
        moved: &mut Moved,
    ) -> Result<(), RedisError> {
        let by_hand = if self.scripts {
            self.by_script(&batch, new, moved).await?
        } else {
            batch.ids
        };
        for id in by_hand {
            let arrived = self.steps(&batch.stream, new, id).await?;
            moved.count(batch.pending, arrived);
        }
        Ok(())
    }

    /// Returns what does not go that way.
    async fn by_script(
        &mut self,
        batch: &Batch,
        new: &Stream,
        moved: &mut Moved,
    ) -> Result<Vec<EntryId>, RedisError> {
        let old = &batch.stream;
        let mut calls = pipe();
        for id in &batch.ids {
            calls.add_command(script(old, new, *id));
        }
        self.unanswered = Some(batch.clone());
        let answers = self.from.ask_all::<u64>(&old.key, calls).await?;
        self.unanswered = None;
        let mut left = Vec::new();
        let mut failed = None;
        for (id, answer) in batch.ids.iter().zip(answers) {
            match answer.map_err(|error| (no_script(&error), error)) {
                Ok(arrived) => moved.count(batch.pending, arrived > 0),
                Err((Some(for_good), _)) => {
                    self.scripts &= !for_good;
                    left.push(*id);
                }
                Err((None, error)) => failed = Some(error),
            }
        }
        let at = self.from.url().to_string();
        match failed {
            None => Ok(left),
            Some(error) => Err(explain(&at, "EVAL", &old.key, &error)),
        }
    }

    /// The same three steps one by one: killed in between, the entry is moved again.
    async fn steps(&self, old: &Stream, new: &Stream, id: EntryId) -> Result<bool, RedisError> {
        let mut arrived = false;
        if let Some(fields) = self.from.entry(&old.key, id).await? {
            let mut add = cmd("XADD");
            add.arg(&new.key).arg("*").arg(fields);
            let _: Value = self.to.ask(&new.key, add).await?;
            arrived = true;
        }
        self.from.acknowledge(old, &[id]).await?;
        let mut delete = cmd("XDEL");
        delete.arg(&old.key).arg(id.to_string());
        let _: u64 = self.from.ask(&old.key, delete).await?;
        Ok(arrived)
    }
}

fn script(old: &Stream, new: &Stream, id: EntryId) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(MOVE).arg(2).arg(&old.key).arg(&new.key);
    call.arg(&old.group).arg(id.to_string());
    call
}

/// Is only the way by script closed, and for good (`true`) or for this entry?
fn no_script(error: &::redis::RedisError) -> Option<bool> {
    let text = error.to_string().to_lowercase();
    // No scripting here, not for this user, or not for these two keys.
    let for_good = matches!(error.code(), Some("CROSSSLOT" | "NOPERM"))
        || text.contains("unknown command")
        || text.contains("must be in the same slot");
    // More fields than a Lua call takes.
    let too_long = text.contains("too many results to unpack");
    (for_good || too_long).then_some(for_good)
}
