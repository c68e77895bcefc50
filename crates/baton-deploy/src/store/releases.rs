//! Releases: what can be started again without the user's files.

use baton_compose::AppName;
use rusqlite::params;

use super::{Store, to_json};
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
        self.record(
            "read release",
            "SELECT record FROM releases WHERE app = ?1 AND id = ?2",
            (app.to_string(), id.0.cast_signed()),
        )
        .await
    }

    /// Newest first.
    pub(crate) async fn releases(&self, app: &AppName) -> Result<Vec<Release>, DeployError> {
        self.records(
            "list releases",
            "SELECT record FROM releases WHERE app = ?1 ORDER BY id DESC",
            (app.to_string(),),
        )
        .await
    }

    /// Forgets all but the newest `keep` releases and those that are in a slot; returns what went.
    pub(crate) async fn prune_releases(
        &self,
        app: &AppName,
        keep: usize,
    ) -> Result<Vec<Release>, DeployError> {
        self.records(
            "prune releases",
            "DELETE FROM releases WHERE app = ?1
             AND id NOT IN (SELECT id FROM releases WHERE app = ?1
                            ORDER BY id DESC LIMIT ?2)
             AND id NOT IN (SELECT release FROM slots
                            WHERE app = ?1 AND release IS NOT NULL)
             AND id NOT IN (SELECT staged FROM apps
                            WHERE name = ?1 AND staged IS NOT NULL)
             RETURNING record",
            (app.to_string(), keep.cast_signed()),
        )
        .await
    }
}
