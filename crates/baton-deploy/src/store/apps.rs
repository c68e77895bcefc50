//! Apps: paused or not, in maintenance or not, the next release number, what was live when.

use baton_compose::AppName;
use rusqlite::{OptionalExtension, params};

use super::{Store, failed};
use crate::admission::Maintenance;
use crate::error::DeployError;
use crate::release::ReleaseId;

impl Store {
    /// All apps by name.
    pub(crate) async fn apps(&self) -> Result<Vec<AppName>, DeployError> {
        let names = self
            .call("list apps", |connection| {
                connection
                    .prepare_cached("SELECT name FROM apps ORDER BY name")?
                    .query_map([], |row| row.get::<_, String>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        names
            .into_iter()
            .map(|name| AppName::try_from(name).map_err(|error| failed("list apps", error)))
            .collect()
    }

    /// Makes the app known; nothing changes when it is.
    pub(crate) async fn add_app(&self, app: &AppName) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("add app", move |connection| {
            connection
                .execute("INSERT OR IGNORE INTO apps (name) VALUES (?1)", [app])
                .map(drop)
        })
        .await
    }

    /// Forgets everything of the app but its events, receipts and deploys.
    pub(crate) async fn remove_app(&self, app: &AppName) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("remove app", move |connection| {
            let transaction = connection.transaction()?;
            for statement in [
                "DELETE FROM slots WHERE app = ?1",
                "DELETE FROM lives WHERE app = ?1",
                "DELETE FROM releases WHERE app = ?1",
                "DELETE FROM apps WHERE name = ?1",
            ] {
                transaction.execute(statement, [&app])?;
            }
            transaction.commit()
        })
        .await
    }

    pub(crate) async fn paused(&self, app: &AppName) -> Result<bool, DeployError> {
        let app = app.to_string();
        self.call("read app", move |connection| {
            connection
                .query_row("SELECT paused FROM apps WHERE name = ?1", [app], |row| {
                    row.get(0)
                })
                .optional()
                .map(Option::unwrap_or_default)
        })
        .await
    }

    pub(crate) async fn set_paused(&self, app: &AppName, paused: bool) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("write app", move |connection| {
            connection
                .execute(
                    "UPDATE apps SET paused = ?2 WHERE name = ?1",
                    params![app, paused],
                )
                .map(drop)
        })
        .await
    }

    /// None: off.
    pub(crate) async fn maintenance(
        &self,
        app: &AppName,
    ) -> Result<Option<Maintenance>, DeployError> {
        let app = app.to_string();
        let text = self
            .call("read app", move |connection| {
                let text: Option<Option<String>> = connection
                    .query_row(
                        "SELECT maintenance FROM apps WHERE name = ?1",
                        [app],
                        |row| row.get(0),
                    )
                    .optional()?;
                Ok(text.flatten())
            })
            .await?;
        text.map(|text| serde_json::from_str(&text).map_err(|error| failed("read app", error)))
            .transpose()
    }

    pub(crate) async fn set_maintenance(
        &self,
        app: &AppName,
        maintenance: Option<Maintenance>,
    ) -> Result<(), DeployError> {
        let app = app.to_string();
        let text = maintenance
            .map(|maintenance| serde_json::to_string(&maintenance))
            .transpose()
            .map_err(|error| failed("write app", error))?;
        self.call("write app", move |connection| {
            connection
                .execute(
                    "UPDATE apps SET maintenance = ?2 WHERE name = ?1",
                    params![app, text],
                )
                .map(drop)
        })
        .await
    }

    /// The release that `baton stage` put there and that was neither promoted nor replaced.
    pub(crate) async fn staged(&self, app: &AppName) -> Result<Option<ReleaseId>, DeployError> {
        let app = app.to_string();
        self.call("read app", move |connection| {
            let staged: Option<Option<i64>> = connection
                .query_row("SELECT staged FROM apps WHERE name = ?1", [app], |row| {
                    row.get(0)
                })
                .optional()?;
            Ok(staged.flatten().map(|id| ReleaseId(id.unsigned_abs())))
        })
        .await
    }

    /// The number that the next release of the app gets.
    pub(crate) async fn next_release(&self, app: &AppName) -> Result<ReleaseId, DeployError> {
        let app = app.to_string();
        self.call("read app", move |connection| {
            let next: Option<i64> = connection
                .query_row(
                    "SELECT next_release FROM apps WHERE name = ?1",
                    [app],
                    |row| row.get(0),
                )
                .optional()?;
            Ok(ReleaseId(next.unwrap_or(1).unsigned_abs()))
        })
        .await
    }

    /// The release that was live before `current` became so; None if there was none.
    pub(crate) async fn live_before(
        &self,
        app: &AppName,
        current: ReleaseId,
    ) -> Result<Option<ReleaseId>, DeployError> {
        let app = app.to_string();
        self.call("read history", move |connection| {
            connection
                .query_row(
                    "SELECT release FROM lives WHERE app = ?1 AND release <> ?2
                     ORDER BY id DESC LIMIT 1",
                    params![app, current.0.cast_signed()],
                    |row| Ok(ReleaseId(row.get::<_, i64>(0)?.unsigned_abs())),
                )
                .optional()
        })
        .await
    }
}
