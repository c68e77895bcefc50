//! Events: bounded, so that a crash loop cannot fill the disk.

use baton_compose::AppName;
use rusqlite::params;

use super::{Store, read_stamp, stamp};
use crate::control::Event;
use crate::error::DeployError;

/// How many are kept.
const KEEP: i64 = 10_000;

impl Store {
    /// Appends one; returns it with its id.
    pub(crate) async fn add_event(
        &self,
        app: Option<&AppName>,
        kind: &str,
        text: &str,
    ) -> Result<Event, DeployError> {
        let at = time::OffsetDateTime::now_utc();
        let mut event = Event {
            id: 0,
            at,
            app: app.cloned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
        };
        let row = event.clone();
        event.id = self
            .call("write event", move |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO events (at, app, kind, text) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![
                        stamp(at),
                        row.app.as_ref().map(AppName::as_str),
                        row.kind,
                        row.text
                    ])?;
                let id = connection.last_insert_rowid();
                if id % 100 == 0 {
                    connection.execute("DELETE FROM events WHERE id <= ?1", [id - KEEP])?;
                }
                Ok(id)
            })
            .await?;
        Ok(event)
    }

    /// The last `tail` of one app or of all, oldest first.
    pub(crate) async fn events(
        &self,
        app: Option<&AppName>,
        tail: usize,
    ) -> Result<Vec<Event>, DeployError> {
        let app = app.map(AppName::to_string);
        let mut events = self
            .call("list events", move |connection| {
                connection
                    .prepare_cached(
                        "SELECT id, at, app, kind, text FROM events
                         WHERE ?1 IS NULL OR app = ?1 ORDER BY id DESC LIMIT ?2",
                    )?
                    .query_map(params![app, tail.cast_signed()], |row| {
                        Ok(Event {
                            id: row.get(0)?,
                            at: read_stamp(&row.get::<_, String>(1)?),
                            app: row
                                .get::<_, Option<String>>(2)?
                                .and_then(|name| name.parse().ok()),
                            kind: row.get(3)?,
                            text: row.get(4)?,
                        })
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        events.reverse();
        Ok(events)
    }
}
