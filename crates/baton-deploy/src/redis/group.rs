//! Looks at one consumer group, with the commands that every server from Redis 5 on has.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use ::redis::{Cmd, Value, cmd, from_redis_value_ref};

use super::error::{RedisError, explain};
use super::id::EntryId;
use super::link::Redis;
use super::stream::Stream;

/// Entries asked for at once.
pub(super) const PAGE: usize = 1000;

/// A consumer with entries that it has not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    pub name: String,
    pub pending: u64,
    /// Since it last asked for anything.
    pub idle: Duration,
}

impl fmt::Display for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "consumer {} holds {} (last seen {} s ago)",
            self.name,
            self.pending,
            self.idle.as_secs()
        )
    }
}

/// One entry that was delivered and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) id: EntryId,
    /// Since it was last delivered.
    pub(super) idle: Duration,
}

/// What a stream holds for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// No such key: nothing was ever written, or all of it is gone.
    NoStream,
    /// The stream is there and nobody made the group.
    Missing,
    /// Where it has got to.
    At(EntryId),
}

type Fields = HashMap<String, Value>;

impl Redis {
    /// Where the group has got to. Never by `lag` (Streams.md §3).
    pub(super) async fn group(&self, stream: &Stream) -> Result<Group, RedisError> {
        let groups: Option<Vec<Fields>> = self.info("GROUPS", stream, &[]).await?;
        let Some(groups) = groups else {
            return Ok(Group::NoStream);
        };
        for group in groups {
            if bytes(group.get("name")) == stream.group.as_bytes() {
                let id = bytes(group.get("last-delivered-id"));
                return Ok(Group::At(self.id(&id)?));
            }
        }
        Ok(Group::Missing)
    }

    /// Warnings where a group that the file does not name reads a stream, too: an entry that is moved
    /// is deleted there, so that group finds it only in the new color's stream.
    ///
    /// # Errors
    /// Redis could not be asked.
    pub async fn other_readers(&self, streams: &[Stream]) -> Result<Vec<String>, RedisError> {
        let mut warnings = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            if streams[..index].iter().any(|other| other.key == stream.key) {
                continue;
            }
            let named = |name: &str| {
                let mut all = streams.iter();
                all.any(|other| other.key == stream.key && other.group == name)
            };
            let groups: Option<Vec<Fields>> = self.info("GROUPS", stream, &[]).await?;
            for group in groups.unwrap_or_default() {
                let name = String::from_utf8_lossy(&bytes(group.get("name"))).into_owned();
                if !named(&name) {
                    warnings.push(format!(
                        "the group {name} also reads {}, and x-baton.redis.streams does not name it: Baton does not wait for it, and what it moves to the new color's stream is gone from this one",
                        stream.key
                    ));
                }
            }
        }
        Ok(warnings)
    }

    /// Consumers that hold entries.
    pub(super) async fn consumers(&self, stream: &Stream) -> Result<Vec<Consumer>, RedisError> {
        let list: Option<Vec<Fields>> = self.info("CONSUMERS", stream, &[&stream.group]).await?;
        let mut found = Vec::new();
        for one in list.unwrap_or_default() {
            let number = |name: &str| {
                one.get(name)
                    .and_then(|value| from_redis_value_ref::<u64>(value).ok())
                    .unwrap_or(0)
            };
            if number("pending") > 0 {
                found.push(Consumer {
                    name: String::from_utf8_lossy(&bytes(one.get("name"))).into_owned(),
                    pending: number("pending"),
                    idle: Duration::from_millis(number("idle")),
                });
            }
        }
        Ok(found)
    }

    /// `XINFO`; None when there is no such key (or, for CONSUMERS, no such group).
    async fn info(
        &self,
        what: &str,
        stream: &Stream,
        more: &[&str],
    ) -> Result<Option<Vec<Fields>>, RedisError> {
        let mut command = cmd("XINFO");
        command.arg(what).arg(&stream.key).arg(more);
        match self.ask_raw(&stream.key, &command).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some("NOGROUP") => Ok(None),
            Err(error) if error.to_string().contains("no such key") => Ok(None),
            Err(error) => Err(explain(
                &self.url().to_string(),
                "XINFO",
                &stream.key,
                &error,
            )),
        }
    }

    /// Ids behind `id`, at most `count`; all from the first one where `id` is None.
    pub(super) async fn behind(
        &self,
        key: &str,
        id: Option<EntryId>,
        count: usize,
    ) -> Result<Vec<EntryId>, RedisError> {
        let start = match id {
            None => Some("-".to_owned()),
            Some(id) => self.server().await?.behind(id),
        };
        let Some(start) = start else {
            return Ok(Vec::new());
        };
        let mut command = cmd("XRANGE");
        command.arg(key).arg(start).arg("+").arg("COUNT").arg(count);
        let entries: Vec<(String, Value)> = self.ask(key, command).await?;
        entries
            .into_iter()
            .map(|(id, _)| self.id(id.as_bytes()))
            .collect()
    }

    /// The id of the last entry that is there.
    pub(super) async fn last(&self, key: &str) -> Result<Option<EntryId>, RedisError> {
        let mut command = cmd("XREVRANGE");
        command.arg(key).arg("+").arg("-").arg("COUNT").arg(1);
        let entries: Vec<(String, Value)> = self.ask(key, command).await?;
        let last = entries.first();
        last.map(|(id, _)| self.id(id.as_bytes())).transpose()
    }

    /// The fields of an entry as they are, names and values in turn; None when it is gone.
    pub(super) async fn entry(
        &self,
        key: &str,
        id: EntryId,
    ) -> Result<Option<Vec<Vec<u8>>>, RedisError> {
        let mut entries: Vec<(String, Vec<Vec<u8>>)> = self.ask(key, one(key, id)).await?;
        Ok(entries.pop().map(|(_, fields)| fields))
    }

    pub(super) async fn exists(&self, key: &str, id: EntryId) -> Result<bool, RedisError> {
        let entries: Vec<Value> = self.ask(key, one(key, id)).await?;
        Ok(!entries.is_empty())
    }

    /// Pending entries behind `id`, at most [`PAGE`].
    pub(super) async fn pending(
        &self,
        stream: &Stream,
        id: Option<EntryId>,
    ) -> Result<Vec<Pending>, RedisError> {
        let start = match id {
            None => "-".to_owned(),
            Some(id) => match id.next() {
                Some(next) => next.to_string(),
                None => return Ok(Vec::new()),
            },
        };
        let mut command = cmd("XPENDING");
        command.arg(&stream.key).arg(&stream.group);
        command.arg(start).arg("+").arg(PAGE);
        let list: Vec<(String, Value, u64, u64)> = self.ask(&stream.key, command).await?;
        list.into_iter()
            .map(|(id, _, idle, _)| {
                Ok(Pending {
                    id: self.id(id.as_bytes())?,
                    idle: Duration::from_millis(idle),
                })
            })
            .collect()
    }

    pub(super) async fn acknowledge(
        &self,
        stream: &Stream,
        ids: &[EntryId],
    ) -> Result<u64, RedisError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let mut command = cmd("XACK");
        command.arg(&stream.key).arg(&stream.group);
        for id in ids {
            command.arg(id.to_string());
        }
        self.ask(&stream.key, command).await
    }

    /// Makes the groups of a color where they are missing, before the color starts: at 0, with the
    /// stream. Returns warnings: a new group at 0 is given everything that the stream already holds.
    ///
    /// # Errors
    /// Redis could not be asked. What was made stays; calling it again is fine.
    pub async fn create_groups(&self, streams: &[Stream]) -> Result<Vec<String>, RedisError> {
        let mut warnings = Vec::new();
        for stream in streams {
            let mut command = cmd("XGROUP");
            command.arg("CREATE").arg(&stream.key).arg(&stream.group);
            command.arg("0").arg("MKSTREAM");
            match self.ask_raw::<Value>(&stream.key, &command).await {
                Ok(_) => {}
                Err(error) if error.code() == Some("BUSYGROUP") => continue,
                Err(error) => {
                    let at = self.url().to_string();
                    return Err(explain(&at, "XGROUP", &stream.key, &error));
                }
            }
            let mut length = cmd("XLEN");
            length.arg(&stream.key);
            let held: u64 = self.ask(&stream.key, length).await?;
            if held > 0 {
                warnings.push(format!(
                    "{stream} is new and starts at the beginning: it is given the {held} entries that are already there"
                ));
            }
        }
        Ok(warnings)
    }

    fn id(&self, text: &[u8]) -> Result<EntryId, RedisError> {
        String::from_utf8_lossy(text)
            .parse()
            .map_err(|reason| RedisError::Answer {
                at: self.url().to_string(),
                command: "a question about a stream".to_owned(),
                reason,
            })
    }
}

fn one(key: &str, id: EntryId) -> Cmd {
    let mut command = cmd("XRANGE");
    command.arg(key).arg(id.to_string()).arg(id.to_string());
    command
}

fn bytes(value: Option<&Value>) -> Vec<u8> {
    value
        .and_then(|value| from_redis_value_ref(value).ok())
        .unwrap_or_default()
}
