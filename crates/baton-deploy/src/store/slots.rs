//! The two colors of each app. The switch is one transaction here.

use baton_compose::{AppName, Color};
use baton_engine::Instance;
use rusqlite::{OptionalExtension, Row, params};

use super::{Phase, Store, now, to_json};
use crate::error::DeployError;
use crate::release::ReleaseId;
use crate::slots::{SlotRole, SlotState};

/// The switch as the database sees it: after it, `to` is live, whatever happens.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) app: AppName,
    pub(crate) deploy: i64,
    pub(crate) to: Color,
    pub(crate) release: ReleaseId,
    /// It was staged before: nothing is any more.
    pub(crate) promotes: bool,
}

fn role_name(role: SlotRole) -> &'static str {
    match role {
        SlotRole::Live => "live",
        SlotRole::Preview => "preview",
        SlotRole::Candidate => "candidate",
        SlotRole::Warm => "warm",
        SlotRole::Draining => "draining",
        SlotRole::Empty => "empty",
    }
}

fn role_of(name: &str) -> SlotRole {
    match name {
        "live" => SlotRole::Live,
        "preview" => SlotRole::Preview,
        "candidate" => SlotRole::Candidate,
        "warm" => SlotRole::Warm,
        "draining" => SlotRole::Draining,
        _ => SlotRole::Empty,
    }
}

fn read(color: Color, row: &Row<'_>) -> rusqlite::Result<SlotState> {
    Ok(SlotState {
        color,
        role: role_of(&row.get::<_, String>(0)?),
        release: row
            .get::<_, Option<i64>>(1)?
            .map(|id| ReleaseId(id.unsigned_abs())),
    })
}

impl Store {
    pub(crate) async fn slot(&self, app: &AppName, color: Color) -> Result<SlotState, DeployError> {
        let app = app.to_string();
        self.call("read slot", move |connection| {
            Ok(connection
                .query_row(
                    "SELECT role, release FROM slots WHERE app = ?1 AND color = ?2",
                    params![app, color.as_str()],
                    |row| read(color, row),
                )
                .optional()?
                .unwrap_or(SlotState {
                    color,
                    role: SlotRole::Empty,
                    release: None,
                }))
        })
        .await
    }

    /// Blue, then green.
    pub(crate) async fn slots(&self, app: &AppName) -> Result<[SlotState; 2], DeployError> {
        Ok([
            self.slot(app, Color::Blue).await?,
            self.slot(app, Color::Green).await?,
        ])
    }

    /// The color that is live, if one is.
    pub(crate) async fn live(&self, app: &AppName) -> Result<Option<SlotState>, DeployError> {
        Ok(self
            .slots(app)
            .await?
            .into_iter()
            .find(|slot| slot.role == SlotRole::Live))
    }

    /// Writes a slot. Making one live is [`Store::commit_switch`]'s alone.
    pub(crate) async fn set_slot(
        &self,
        app: &AppName,
        color: Color,
        role: SlotRole,
        release: Option<ReleaseId>,
    ) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("write slot", move |connection| {
            connection
                .execute(
                    "INSERT INTO slots (app, color, role, release) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (app, color) DO UPDATE SET role = ?3, release = ?4",
                    params![
                        app,
                        color.as_str(),
                        role_name(role),
                        release.map(|id| id.0.cast_signed())
                    ],
                )
                .map(drop)
        })
        .await
    }

    /// An adopted color is live from the start: it was before Baton came.
    pub(crate) async fn adopt(
        &self,
        app: &AppName,
        color: Color,
        release: ReleaseId,
    ) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("write slot", move |connection| {
            let transaction = connection.transaction()?;
            make_live(&transaction, &app, color, release)?;
            transaction.commit()
        })
        .await
    }

    /// The point of no return: `to` is live, the other color drains, the deploy is in its tail and
    /// every older tail of the app is over. All or nothing.
    pub(crate) async fn commit_switch(&self, commit: Commit) -> Result<(), DeployError> {
        self.call("commit the switch", move |connection| {
            let app = commit.app.to_string();
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE slots SET role = 'draining' WHERE app = ?1 AND color <> ?2 AND role = 'live'",
                params![app, commit.to.as_str()],
            )?;
            make_live(&transaction, &app, commit.to, commit.release)?;
            transaction.execute(
                "UPDATE deploys SET phase = ?2 WHERE app = ?1 AND id <> ?3 AND phase = ?4",
                params![app, Phase::Done.as_str(), commit.deploy, Phase::Tail.as_str()],
            )?;
            transaction.execute(
                "UPDATE deploys SET phase = ?2 WHERE id = ?1",
                params![commit.deploy, Phase::Tail.as_str()],
            )?;
            if commit.promotes {
                transaction.execute("UPDATE apps SET staged = NULL WHERE name = ?1", [&app])?;
            }
            transaction.commit()
        })
        .await
    }

    /// The switch of `deploy` is taken back: `to`, which was live before it, is so again, and the
    /// color that had become live drains. All or nothing; done twice it changes nothing more.
    pub(crate) async fn commit_way_back(
        &self,
        app: &AppName,
        deploy: i64,
        to: Color,
    ) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("commit the way back", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE slots SET role = 'draining' WHERE app = ?1 AND color <> ?2 AND role = 'live'",
                params![app, to.as_str()],
            )?;
            transaction.execute(
                "UPDATE slots SET role = 'live' WHERE app = ?1 AND color = ?2",
                params![app, to.as_str()],
            )?;
            // A rollback must not go to what was taken back.
            transaction.execute(
                "DELETE FROM lives WHERE app = ?1
                 AND id > (SELECT MAX(l.id) FROM lives l JOIN slots s ON s.app = l.app AND s.release = l.release
                           WHERE l.app = ?1 AND s.color = ?2)",
                params![app, to.as_str()],
            )?;
            transaction.execute(
                "UPDATE deploys SET phase = ?2 WHERE id = ?1",
                params![deploy, Phase::Back.as_str()],
            )?;
            transaction.commit()
        })
        .await
    }

    /// `release` is staged in `color`, and `deploy`, which put it there, has no way back any more.
    pub(crate) async fn commit_stage(
        &self,
        app: &AppName,
        deploy: i64,
        color: Color,
        release: ReleaseId,
    ) -> Result<(), DeployError> {
        let app = app.to_string();
        self.call("commit the stage", move |connection| {
            let transaction = connection.transaction()?;
            let id = release.0.cast_signed();
            transaction.execute(
                "INSERT INTO slots (app, color, role, release) VALUES (?1, ?2, 'preview', ?3)
                 ON CONFLICT (app, color) DO UPDATE SET role = 'preview', release = ?3",
                params![app, color.as_str(), id],
            )?;
            transaction.execute(
                "UPDATE apps SET staged = ?2 WHERE name = ?1",
                params![app, id],
            )?;
            transaction.execute(
                "UPDATE deploys SET phase = ?2 WHERE id = ?1",
                params![deploy, Phase::Tail.as_str()],
            )?;
            transaction.commit()
        })
        .await
    }

    /// Where nothing of a new release serves yet: what an earlier one left is forgotten.
    pub(crate) async fn forget_routed(
        &self,
        app: &AppName,
        color: Color,
    ) -> Result<(), DeployError> {
        self.set_routed(app, color, &[], "").await
    }

    /// Where the instances of a color were published last, for a start while the engine hangs.
    pub(crate) async fn set_routed(
        &self,
        app: &AppName,
        color: Color,
        instances: &[Instance],
        boot: &str,
    ) -> Result<(), DeployError> {
        let (app, boot) = (app.to_string(), boot.to_owned());
        let instances = to_json("write slot", &instances)?;
        self.call("write slot", move |connection| {
            connection
                .execute(
                    "UPDATE slots SET routed = ?3, boot = ?4 WHERE app = ?1 AND color = ?2",
                    params![app, color.as_str(), instances, boot],
                )
                .map(drop)
        })
        .await
    }

    /// What [`Store::set_routed`] wrote in this boot of the machine; empty after another boot.
    pub(crate) async fn routed(
        &self,
        app: &AppName,
        color: Color,
        boot: &str,
    ) -> Result<Vec<Instance>, DeployError> {
        let found = self.record(
            "read slot",
            "SELECT routed FROM slots WHERE app = ?1 AND color = ?2 AND boot = ?3",
            (app.to_string(), color.as_str(), boot.to_owned()),
        );
        Ok(found.await?.unwrap_or_default())
    }
}

/// Writes the live slot, and the history that `rollback` reads; nothing twice.
fn make_live(
    transaction: &rusqlite::Transaction<'_>,
    app: &str,
    color: Color,
    release: ReleaseId,
) -> rusqlite::Result<()> {
    let id = release.0.cast_signed();
    transaction.execute(
        "INSERT INTO slots (app, color, role, release) VALUES (?1, ?2, 'live', ?3)
         ON CONFLICT (app, color) DO UPDATE SET role = 'live', release = ?3",
        params![app, color.as_str(), id],
    )?;
    let last: Option<i64> = transaction
        .query_row(
            "SELECT release FROM lives WHERE app = ?1 ORDER BY id DESC LIMIT 1",
            [app],
            |row| row.get(0),
        )
        .optional()?;
    if last != Some(id) {
        transaction.execute(
            "INSERT INTO lives (app, release, at) VALUES (?1, ?2, ?3)",
            params![app, id, now()],
        )?;
    }
    Ok(())
}
