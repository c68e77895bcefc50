//! Connections to Redis, and entries of its streams.

use std::io;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::{StreamId, StreamReadReply};
use redis::{AsyncConnectionConfig, Client};

/// A blocking read returns after so long at the latest.
pub(super) const BLOCK: Duration = Duration::from_millis(500);
/// Entries of one read.
const COUNT: usize = 50;

/// A connection whose answers may take longer than [`BLOCK`].
pub(super) async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(BLOCK + Duration::from_secs(5)));
    Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// As [`connect`], for an app that cannot start without.
pub(super) async fn connect_at_start(url: &str) -> io::Result<MultiplexedConnection> {
    connect(url)
        .await
        .map_err(|error| io::Error::other(format!("{url}: {error}")))
}

/// The entries of one key after `id`, waiting up to [`BLOCK`] for the first.
pub(super) async fn read_after(
    connection: &mut MultiplexedConnection,
    key: &str,
    id: &str,
) -> redis::RedisResult<Vec<StreamId>> {
    let mut command = redis::cmd("XREAD");
    command.arg("COUNT").arg(COUNT);
    command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
    command.arg("STREAMS").arg(key).arg(id);
    entries(command.query_async(connection).await?)
}

/// New entries for a consumer of a group, waiting up to [`BLOCK`] for the first.
pub(super) async fn read_group(
    connection: &mut MultiplexedConnection,
    key: &str,
    (group, consumer): (&str, &str),
    noack: bool,
) -> redis::RedisResult<Vec<StreamId>> {
    let mut command = redis::cmd("XREADGROUP");
    command.arg("GROUP").arg(group).arg(consumer);
    command.arg("COUNT").arg(COUNT);
    command.arg("BLOCK").arg(BLOCK.as_millis() as u64);
    if noack {
        command.arg("NOACK");
    }
    command.arg("STREAMS").arg(key).arg(">");
    entries(command.query_async(connection).await?)
}

/// Null is what a read that waited in vain answers.
fn entries(reply: Option<StreamReadReply>) -> redis::RedisResult<Vec<StreamId>> {
    let keys = reply.map(|reply| reply.keys).unwrap_or_default();
    Ok(keys.into_iter().flat_map(|key| key.ids).collect())
}

/// A field of an entry, empty when it is not there.
pub(super) fn field(entry: &StreamId, name: &str) -> String {
    entry.get(name).unwrap_or_default()
}
