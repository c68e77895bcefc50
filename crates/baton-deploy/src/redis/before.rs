//! What was pending before the deploy began (Streams.md §3): reported, never waited for, and never
//! moved, since moving it would run history again.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::RedisError;
use super::group::{Group, PAGE};
use super::id::EntryId;
use super::link::Redis;
use super::stream::Stream;

/// A consumer that has not acknowledged an entry for so long is taken for one that never will.
pub const IN_HAND: Duration = Duration::from_secs(30);

/// So many ids are written down one by one.
const KEPT: usize = 50_000;

/// Taken once, when a deploy begins, and kept with it (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Before {
    streams: Vec<One>,
    #[serde(default)]
    in_hand: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct One {
    key: String,
    group: String,
    /// Delivered and not acknowledged then.
    pending: BTreeSet<EntryId>,
    /// Every entry up to this one belongs to the past: there were too many to write down, or there
    /// was no group, so that nobody knows which of them were handled.
    up_to: Option<EntryId>,
}

impl Before {
    /// Looks at each stream of the live color. A stream that does not exist has no past. An entry that
    /// was delivered less than `in_hand` ago ([`IN_HAND`]) may be at work: the drain waits for it that
    /// long, and leaves it alone after.
    ///
    /// # Errors
    /// Redis could not be asked.
    pub async fn take(
        redis: &Redis,
        streams: &[Stream],
        in_hand: Duration,
    ) -> Result<Before, RedisError> {
        let mut all = Vec::new();
        for stream in streams {
            all.push(one(redis, stream).await?);
        }
        Ok(Before {
            streams: all,
            in_hand,
        })
    }

    /// Was this entry pending (or without a group) when the deploy began?
    #[must_use]
    pub fn holds(&self, stream: &Stream, id: EntryId) -> bool {
        self.of(stream).is_some_and(|one| {
            one.pending.contains(&id) || one.up_to.is_some_and(|last| id <= last)
        })
    }

    /// How long an entry of the past may still be at work.
    pub(super) fn in_hand(&self) -> Duration {
        self.in_hand
    }

    /// Every entry up to this one belongs to the past, delivered or not.
    pub(super) fn up_to(&self, stream: &Stream) -> Option<EntryId> {
        self.of(stream).and_then(|one| one.up_to)
    }

    /// How many entries were pending, for the plan and the receipt.
    #[must_use]
    pub fn count(&self, stream: &Stream) -> usize {
        self.of(stream).map_or(0, |one| one.pending.len())
    }

    /// What to tell the user when the deploy begins, one text a stream that has a past.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let told = self.streams.iter().filter_map(|one| self.tell(one));
        told.collect()
    }

    fn tell(&self, one: &One) -> Option<String> {
        let One { key, group, .. } = one;
        Some(match (one.pending.len(), one.up_to) {
            (0, None) => return None,
            (0, Some(_)) => format!(
                "{key} has messages but no group {group}: nobody can know which of them were handled, so they stay where they are"
            ),
            (count, up_to) => format!(
                "{key}: {}{count} {} delivered to group {group} before this deploy and not acknowledged; none of them is moved, and only what was delivered in the last {} s is waited for",
                if up_to.is_some() { "at least " } else { "" },
                if count == 1 {
                    "message was"
                } else {
                    "messages were"
                },
                self.in_hand.as_secs(),
            ),
        })
    }

    fn of(&self, stream: &Stream) -> Option<&One> {
        self.streams
            .iter()
            .find(|one| one.key == stream.key && one.group == stream.group)
    }
}

async fn one(redis: &Redis, stream: &Stream) -> Result<One, RedisError> {
    let mut past = One {
        key: stream.key.clone(),
        group: stream.group.clone(),
        pending: BTreeSet::new(),
        up_to: None,
    };
    let last_delivered = match redis.group(stream).await? {
        Group::NoStream => return Ok(past),
        Group::Missing => {
            past.up_to = redis.last(&stream.key).await?;
            return Ok(past);
        }
        Group::At(id) => id,
    };
    let mut cursor = None;
    loop {
        let page = redis.pending(stream, cursor).await?;
        cursor = page.last().map(|entry| entry.id);
        past.pending.extend(page.iter().map(|entry| entry.id));
        if page.len() < PAGE {
            return Ok(past);
        }
        if past.pending.len() >= KEPT {
            past.up_to = Some(last_delivered);
            return Ok(past);
        }
    }
}
