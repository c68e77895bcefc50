//! Has the old color handled every message? The proof of Streams.md §3; the switch, its first
//! condition, is the caller's.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::before::Before;
use super::error::RedisError;
use super::group::{Consumer, Group, PAGE};
use super::id::EntryId;
use super::link::Redis;
use super::stream::Stream;

/// The same must be seen so often in a row.
const POLLS: u8 = 3;

/// Between two looks.
pub const EVERY: Duration = Duration::from_millis(500);

/// Longest pause between two looks at a Redis that is away.
const BACK_OFF: Duration = Duration::from_secs(5);

/// How often a wait tells that nothing has changed.
const TELL: Duration = Duration::from_secs(10);

/// Pages of pending entries that one look reads.
const PAGES: usize = 20;

/// Entries that one look asks for one by one, whether they still exist.
const ASKED: usize = 500;

/// A delivered entry that no longer exists is acknowledged when its consumer has had it for so long:
/// it may be at work on it.
const TRIMMED_AFTER: Duration = Duration::from_secs(3);

/// What one look saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// Nothing left, three times in a row.
    Drained(Handled),
    /// Nothing left, not yet often enough.
    Settling,
    /// The old color still has messages.
    Left(Vec<Left>),
    /// Redis could not be asked: the old color must go on running (Streams.md §3).
    Unseen {
        reason: String,
        /// Since the first look that failed.
        since: Duration,
    },
}

impl fmt::Display for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Poll::Drained(_) => f.write_str("no message is left"),
            Poll::Settling => f.write_str("no message is left; looking again"),
            Poll::Left(left) => {
                let texts: Vec<String> = left.iter().map(Left::to_string).collect();
                f.write_str(&texts.join("; "))
            }
            Poll::Unseen { reason, since } => write!(
                f,
                "{reason}; the old color keeps running until its messages can be seen (for {} s now)",
                since.as_secs()
            ),
        }
    }
}

/// What a stream still holds for the old color.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub stream: Stream,
    /// Entries that the group was never given.
    pub undelivered: bool,
    /// Entries given and not acknowledged, since the deploy began.
    pub pending: u64,
    /// There are more pending entries than one look reads.
    pub more: bool,
    /// Who holds them, dead or alive.
    pub consumers: Vec<Consumer>,
    /// The group does not exist, so nobody reads these entries.
    pub no_group: bool,
}

impl Left {
    /// No consumer that holds something has asked for anything for this long; None while nobody
    /// holds anything. A consumer that blocks in XREADGROUP asks at the end of each block.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        self.consumers.iter().map(|consumer| consumer.idle).min()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.stream)?;
        match (self.no_group, self.undelivered, self.pending) {
            (true, ..) => f.write_str("the group does not exist, nobody reads what waits")?,
            (_, true, 0) => f.write_str("entries wait")?,
            (_, true, pending) => write!(f, "entries wait, {pending} not acknowledged")?,
            (_, false, pending) => write!(f, "{pending} not acknowledged")?,
        }
        if self.more {
            f.write_str(" and more")?;
        }
        for consumer in &self.consumers {
            write!(f, ", {consumer}")?;
        }
        Ok(())
    }
}

/// For the receipt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Handled {
    /// Acknowledged by Baton, because their entries were trimmed or deleted while pending.
    pub trimmed: u64,
    /// Pending since before the deploy, and left alone.
    pub before: u64,
    /// Streams that vanished while Baton watched (a Redis that restarted without its data).
    pub vanished: Vec<String>,
}

/// What a look has seen of a stream, to tell whether it is the same the next time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    last_delivered: Option<EntryId>,
    before: u64,
}

/// Watches the streams of the old color until nothing is left. Only after the switch: as long as the
/// old color's producers write, nothing is proved.
#[derive(Debug)]
pub struct Draining {
    redis: Arc<Redis>,
    streams: Vec<Stream>,
    before: Before,
    /// Looks in a row that saw nothing left, and what they saw.
    quiet: u8,
    seen: Vec<Seen>,
    unseen_since: Option<Instant>,
    handled: Handled,
    /// Where the search for trimmed entries goes on, a stream.
    asked_up_to: HashMap<usize, EntryId>,
    /// Streams that were there once.
    known: Vec<bool>,
}

impl Draining {
    /// `streams`: those of the old color that are [`super::apart`]. `before`: taken when the deploy
    /// began.
    #[must_use]
    pub fn new(redis: Arc<Redis>, streams: Vec<Stream>, before: Before) -> Draining {
        Draining {
            redis,
            known: vec![false; streams.len()],
            streams,
            before,
            quiet: 0,
            seen: Vec::new(),
            unseen_since: None,
            handled: Handled::default(),
            asked_up_to: HashMap::new(),
        }
    }

    /// One look at every stream. Never fails and never hangs: a Redis that is away is an answer, too.
    /// Looks are to be [`EVERY`] apart.
    pub async fn poll(&mut self) -> Poll {
        let mut left = Vec::new();
        let mut seen = Vec::new();
        for index in 0..self.streams.len() {
            match self.look(index).await {
                Ok((Some(one), _)) => left.push(one),
                Ok((None, state)) => seen.push(state),
                Err(error) => return self.unseen(&error),
            }
        }
        self.unseen_since = None;
        if !left.is_empty() {
            self.quiet = 0;
            return Poll::Left(left);
        }
        if self.seen != seen {
            self.seen = seen;
            self.quiet = 0;
        }
        self.quiet += 1;
        if self.quiet < POLLS {
            return Poll::Settling;
        }
        self.handled.before = self.seen.iter().map(|one| one.before).sum();
        Poll::Drained(self.handled.clone())
    }

    /// Looks until nothing is left, with back-off while Redis is away; `note` is told what holds it,
    /// when that changes and every ten seconds. Has no end of its own: the caller sets one, and drops
    /// this future for it.
    pub async fn wait(&mut self, note: &(dyn Fn(String) + Send + Sync)) -> Handled {
        let mut told: Option<(String, Instant)> = None;
        let mut pause = EVERY;
        loop {
            let poll = self.poll().await;
            pause = match &poll {
                Poll::Drained(handled) => return handled.clone(),
                Poll::Unseen { .. } => (pause * 2).min(BACK_OFF),
                _ => EVERY,
            };
            if !matches!(poll, Poll::Settling) {
                let kind = poll.kind();
                let new = told
                    .as_ref()
                    .is_none_or(|(what, when)| *what != kind || when.elapsed() >= TELL);
                if new {
                    note(poll.to_string());
                    told = Some((kind, Instant::now()));
                }
            }
            sleep(pause).await;
        }
    }

    fn unseen(&mut self, error: &RedisError) -> Poll {
        self.quiet = 0;
        let since = *self.unseen_since.get_or_insert_with(Instant::now);
        Poll::Unseen {
            reason: error.to_string(),
            since: since.elapsed(),
        }
    }

    /// One stream: what is left of it, or what it looks like with nothing left.
    async fn look(&mut self, index: usize) -> Result<(Option<Left>, Seen), RedisError> {
        let stream = self.streams[index].clone();
        let group = self.redis.group(&stream).await?;
        self.note_vanished(index, &stream, group);
        let mut state = Seen {
            last_delivered: None,
            before: 0,
        };
        // Without a group every entry since the deploy began waits for one.
        let read_up_to = match group {
            Group::NoStream => return Ok((None, state)),
            Group::Missing => self.before.up_to(&stream),
            Group::At(id) => {
                state.last_delivered = Some(id);
                Some(id.max(self.before.up_to(&stream).unwrap_or_default()))
            }
        };
        // In this order: an entry delivered meanwhile is seen here or there.
        let undelivered = !self
            .redis
            .behind(&stream.key, read_up_to, 1)
            .await?
            .is_empty();
        let mut left = Left {
            undelivered,
            pending: 0,
            more: false,
            consumers: Vec::new(),
            no_group: group == Group::Missing,
            stream,
        };
        if !left.no_group {
            state.before = self.pending(index, &mut left).await?;
        }
        if !left.undelivered && left.pending == 0 && !left.more {
            return Ok((None, state));
        }
        if left.pending > 0 {
            left.consumers = self.redis.consumers(&left.stream).await?;
        }
        Ok((Some(left), state))
    }

    /// Counts what is pending since the deploy began, after acknowledging what exists no more.
    /// Returns how many are pending from before it.
    async fn pending(&mut self, index: usize, left: &mut Left) -> Result<u64, RedisError> {
        let mut before = 0;
        let mut suspects = Vec::new();
        let mut cursor = None;
        left.more = true;
        for _ in 0..PAGES {
            let page = self.redis.pending(&left.stream, cursor).await?;
            cursor = page.last().map(|entry| entry.id);
            for entry in &page {
                let at_work = entry.idle < self.before.in_hand();
                if !at_work && self.before.holds(&left.stream, entry.id) {
                    before += 1;
                    continue;
                }
                left.pending += 1;
                if entry.idle >= TRIMMED_AFTER {
                    suspects.push(entry.id);
                }
            }
            if page.len() < PAGE {
                left.more = false;
                break;
            }
        }
        let gone = self
            .acknowledge_trimmed(index, &left.stream, &suspects)
            .await?;
        left.pending = left.pending.saturating_sub(gone);
        Ok(before)
    }

    /// Acknowledges ids whose entries were trimmed or deleted while pending: they would stay for
    /// ever. Asks for a bounded number of them, and goes on behind those the next time.
    async fn acknowledge_trimmed(
        &mut self,
        index: usize,
        stream: &Stream,
        suspects: &[EntryId],
    ) -> Result<u64, RedisError> {
        let from = self.asked_up_to.get(&index).copied();
        let behind = suspects.partition_point(|id| from.is_some_and(|from| *id <= from));
        let turn = if behind == suspects.len() { 0 } else { behind };
        let asked = &suspects[turn..suspects.len().min(turn + ASKED)];
        let mut gone = Vec::new();
        for id in asked {
            if !self.redis.exists(&stream.key, *id).await? {
                gone.push(*id);
            }
        }
        if let Some(last) = asked.last() {
            self.asked_up_to.insert(index, *last);
        }
        let acknowledged = self.redis.acknowledge(stream, &gone).await?;
        self.handled.trimmed += acknowledged;
        Ok(gone.len() as u64)
    }

    fn note_vanished(&mut self, index: usize, stream: &Stream, group: Group) {
        let there = group != Group::NoStream;
        if self.known[index] && !there {
            self.handled.vanished.push(stream.key.clone());
        }
        self.known[index] = there;
    }
}

impl Poll {
    /// What a wait tells again only after a while.
    fn kind(&self) -> String {
        match self {
            Poll::Left(left) => left
                .iter()
                .map(|one| format!("{}{}{}", one.stream, one.undelivered, one.pending > 0))
                .collect(),
            Poll::Unseen { reason, .. } => reason.clone(),
            Poll::Drained(_) | Poll::Settling => String::new(),
        }
    }
}
