//! A bus that every instance hears: one Redis stream, read by each process from its own place. What
//! was published before the process started is in its ring, so that a replay finds it.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamRangeReply};
use tokio::time::sleep;

use super::emitters::Emitters;
use super::event::Told;
use super::redis::{connect, connect_at_start, field, read_after};
use super::settings::SceneSettings;

#[derive(Debug)]
pub(super) struct Bus {
    key: String,
    publisher: MultiplexedConnection,
}

impl Bus {
    /// None: `SSE_BUS` is not set.
    pub(super) async fn start(
        settings: &SceneSettings,
        emitters: &Rc<Emitters>,
    ) -> io::Result<Option<Bus>> {
        let (Some(key), Some(url)) = (settings.bus.clone(), settings.redis.clone()) else {
            return Ok(None);
        };
        let mut publisher = connect_at_start(&url).await?;
        let old: StreamRangeReply = redis::cmd("XRANGE")
            .arg(&key)
            .arg("-")
            .arg("+")
            .query_async(&mut publisher)
            .await
            .map_err(io::Error::other)?;
        let mut last = "0-0".to_owned();
        for entry in &old.ids {
            emit(emitters, entry);
            last.clone_from(&entry.id);
        }
        let bus = Bus {
            key: key.clone(),
            publisher,
        };
        tokio::task::spawn_local(hear(url, key, last, Rc::clone(emitters)));
        Ok(Some(bus))
    }

    /// Every instance emits it, this one too, when it reads it: the same id and the same bytes.
    pub(super) async fn publish(&self, user: &str, told: &Told) {
        let text = serde_json::to_string(told).unwrap_or_default();
        let mut connection = self.publisher.clone();
        let added: redis::RedisResult<String> = redis::cmd("XADD")
            .arg(&self.key)
            .arg("*")
            .arg(&["user", user, "told", text.as_str()])
            .query_async(&mut connection)
            .await;
        if let Err(error) = added {
            eprintln!("bus: {} is lost: {error}", told.token);
        }
    }
}

/// Reads for ever, over a restart of Redis too.
async fn hear(url: String, key: String, mut last: String, emitters: Rc<Emitters>) {
    loop {
        if let Ok(mut connection) = connect(&url).await {
            while let Ok(entries) = read_after(&mut connection, &key, &last).await {
                for entry in entries {
                    emit(&emitters, &entry);
                    last = entry.id;
                }
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

fn emit(emitters: &Emitters, entry: &StreamId) {
    match serde_json::from_str(&field(entry, "told")) {
        Ok(told) => emitters.emit(&field(entry, "user"), told, Some(entry.id.clone())),
        Err(error) => eprintln!("bus: {} is no event: {error}", entry.id),
    }
}
