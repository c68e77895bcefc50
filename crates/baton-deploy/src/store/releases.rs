//! Releases: what can be started again without the user's files.

use baton_compose::AppName;
use rusqlite::{OptionalExtension, params};

use super::{Store, from_json, to_json};
use crate::error::DeployError;
use crate::release::{Release, ReleaseId};

impl Store {
    /// Writes the record, and makes sure that its number is not given again.
    pub(crate) async fn put_release(&self, release: &Release) -> Result<(), DeployError> {
        let (app, id) = (release.app.to_string(), release.id.0.cast_signed());
        let record = to_json("write release", release)?;
        self.call("write release", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "INSERT OR REPLACE INTO releases (app, id, record) VALUES (?1, ?2, ?3)",
                params![app, id, record],
            )?;
            transaction.execute(
                "UPDATE apps SET next_release = max(next_release, ?2 + 1) WHERE name = ?1",
                params![app, id],
            )?;
            transaction.commit()
        })
        .await
    }

    pub(crate) async fn release(
        &self,
        app: &AppName,
        id: ReleaseId,
    ) -> Result<Option<Release>, DeployError> {
        let app = app.to_string();
        let record: Option<String> = self
            .call("read release", move |connection| {
                connection
                    .query_row(
                        "SELECT record FROM releases WHERE app = ?1 AND id = ?2",
                        params![app, id.0.cast_signed()],
                        |row| row.get(0),
                    )
                    .optional()
            })
            .await?;
        record
            .map(|record| from_json("read release", &record))
            .transpose()
    }

    /// Newest first.
    pub(crate) async fn releases(&self, app: &AppName) -> Result<Vec<Release>, DeployError> {
        let app = app.to_string();
        let records = self
            .call("list releases", move |connection| {
                connection
                    .prepare_cached("SELECT record FROM releases WHERE app = ?1 ORDER BY id DESC")?
                    .query_map([app], |row| row.get::<_, String>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        records
            .iter()
            .map(|record| from_json("list releases", record))
            .collect()
    }

    /// Forgets all but the newest `keep` releases and those that are in a slot; returns what went.
    pub(crate) async fn prune_releases(
        &self,
        app: &AppName,
        keep: usize,
    ) -> Result<Vec<Release>, DeployError> {
        let app = app.to_string();
        let records = self
            .call("prune releases", move |connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM releases WHERE app = ?1
                         AND id NOT IN (SELECT id FROM releases WHERE app = ?1
                                        ORDER BY id DESC LIMIT ?2)
                         AND id NOT IN (SELECT release FROM slots
                                        WHERE app = ?1 AND release IS NOT NULL)
                         AND id NOT IN (SELECT staged FROM apps
                                        WHERE name = ?1 AND staged IS NOT NULL)
                         RETURNING record",
                    )?
                    .query_map(params![app, keep.cast_signed()], |row| {
                        row.get::<_, String>(0)
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        records
            .iter()
            .map(|record| from_json("prune releases", record))
            .collect()
    }
}
