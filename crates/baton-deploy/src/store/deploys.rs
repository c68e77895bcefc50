//! Deploys and their journal.

use baton_compose::AppName;
use rusqlite::{OptionalExtension, Row, params};
use time::OffsetDateTime;

use super::{Store, failed, from_json, now, read_stamp, stamp, to_json};
use crate::error::DeployError;
use crate::journal::{Entry, EntryKind};
use crate::outcome::Outcome;
use crate::plan::{Plan, StepName};
use crate::work::Work;

/// How far a deploy is, as a restart of the daemon needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Accepted, has no lock and no plan yet: nothing to undo.
    Waiting,
    /// Before the switch: to be taken back.
    Head,
    /// After the switch: to be taken forward.
    Tail,
    /// Taken back after the switch: what was live before is so again.
    Back,
    Done,
}

impl Phase {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Phase::Waiting => "waiting",
            Phase::Head => "head",
            Phase::Tail => "tail",
            Phase::Back => "back",
            Phase::Done => "done",
        }
    }

    fn named(name: &str) -> Phase {
        match name {
            "waiting" => Phase::Waiting,
            "head" => Phase::Head,
            "tail" => Phase::Tail,
            "back" => Phase::Back,
            _ => Phase::Done,
        }
    }
}

/// A deploy as the database holds it.
#[derive(Debug, Clone)]
pub(crate) struct DeployRow {
    pub(crate) id: i64,
    pub(crate) app: AppName,
    pub(crate) phase: Phase,
    pub(crate) work: Work,
    pub(crate) plan: Option<Plan>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) by: Option<String>,
    pub(crate) started_at: OffsetDateTime,
}

struct Raw {
    id: i64,
    app: String,
    phase: String,
    work: String,
    plan: Option<String>,
    outcome: Option<String>,
    by: Option<String>,
    started_at: String,
}

/// Deploys of all apps whose journal and receipt are kept.
const KEEP: i64 = 2_000;

const COLUMNS: &str = "id, app, phase, work, plan, outcome, by, started_at";

impl Raw {
    fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
        Ok(Raw {
            id: row.get(0)?,
            app: row.get(1)?,
            phase: row.get(2)?,
            work: row.get(3)?,
            plan: row.get(4)?,
            outcome: row.get(5)?,
            by: row.get(6)?,
            started_at: row.get(7)?,
        })
    }

    fn row(self) -> Result<DeployRow, DeployError> {
        const WHAT: &str = "read deploy";
        Ok(DeployRow {
            id: self.id,
            app: AppName::try_from(self.app).map_err(|error| failed(WHAT, error))?,
            phase: Phase::named(&self.phase),
            work: from_json(WHAT, &self.work)?,
            plan: self.plan.map(|text| from_json(WHAT, &text)).transpose()?,
            outcome: self
                .outcome
                .map(|text| from_json(WHAT, &text))
                .transpose()?,
            by: self.by,
            started_at: read_stamp(&self.started_at),
        })
    }
}

impl Store {
    /// Accepts a deploy; returns its id.
    pub(crate) async fn add_deploy(
        &self,
        app: &AppName,
        work: &Work,
        by: Option<&str>,
        started_at: OffsetDateTime,
    ) -> Result<i64, DeployError> {
        let work = to_json("write deploy", work)?;
        let (app, by) = (app.to_string(), by.map(str::to_owned));
        self.call("write deploy", move |connection| {
            connection.execute(
                "INSERT INTO deploys (app, phase, work, by, started_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![app, Phase::Waiting.as_str(), work, by, stamp(started_at)],
            )?;
            Ok(connection.last_insert_rowid())
        })
        .await
    }

    /// It has its lock and its plan: from here on a crash takes it back.
    pub(crate) async fn plan_deploy(
        &self,
        id: i64,
        work: &Work,
        plan: &Plan,
    ) -> Result<(), DeployError> {
        let (work, plan) = (to_json("write plan", work)?, to_json("write plan", plan)?);
        self.call("write plan", move |connection| {
            connection
                .execute(
                    "UPDATE deploys SET phase = ?2, work = ?3, plan = ?4 WHERE id = ?1",
                    params![id, Phase::Head.as_str(), work, plan],
                )
                .map(drop)
        })
        .await
    }

    /// What the command was told. A deploy that `ended` needs its work no more, which may hold secrets.
    pub(crate) async fn set_outcome(
        &self,
        id: i64,
        outcome: &Outcome,
        ended: bool,
    ) -> Result<(), DeployError> {
        let outcome = to_json("write outcome", outcome)?;
        let nothing = to_json("write outcome", &Work::Over)?;
        self.call("write outcome", move |connection| {
            let transaction = connection.transaction()?;
            transaction.execute(
                "UPDATE deploys SET outcome = ?2 WHERE id = ?1",
                params![id, outcome],
            )?;
            if ended {
                transaction.execute(
                    "UPDATE deploys SET phase = ?2, work = ?3 WHERE id = ?1",
                    params![id, Phase::Done.as_str(), nothing],
                )?;
                for statement in [
                    "DELETE FROM journal WHERE deploy <= ?1",
                    "DELETE FROM receipts WHERE deploy <= ?1",
                    "DELETE FROM deploys WHERE id <= ?1 AND phase = 'done'",
                ] {
                    transaction.execute(statement, [id - KEEP])?;
                }
            }
            transaction.commit()
        })
        .await
    }

    pub(crate) async fn deploy(&self, id: i64) -> Result<Option<DeployRow>, DeployError> {
        let raw = self
            .call("read deploy", move |connection| {
                connection
                    .query_row(
                        &format!("SELECT {COLUMNS} FROM deploys WHERE id = ?1"),
                        [id],
                        Raw::read,
                    )
                    .optional()
            })
            .await?;
        raw.map(Raw::row).transpose()
    }

    /// Deploys that a crash left behind, oldest first.
    pub(crate) async fn unfinished(&self) -> Result<Vec<DeployRow>, DeployError> {
        let raws = self
            .call("list deploys", |connection| {
                connection
                    .prepare(&format!(
                        "SELECT {COLUMNS} FROM deploys WHERE phase <> 'done' ORDER BY id"
                    ))?
                    .query_map([], Raw::read)?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        raws.into_iter().map(Raw::row).collect()
    }

    /// Before the deed, and after it.
    pub(crate) async fn journal(
        &self,
        deploy: i64,
        step: StepName,
        kind: &EntryKind,
    ) -> Result<(), DeployError> {
        let kind = to_json("write journal", kind)?;
        self.call("write journal", move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO journal (deploy, step, entry, at) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![deploy, step.as_str(), kind, now()])
                .map(drop)
        })
        .await
    }

    /// All entries of a deploy in their order.
    pub(crate) async fn entries(&self, deploy: i64) -> Result<Vec<Entry>, DeployError> {
        let rows = self
            .call("read journal", move |connection| {
                connection
                    .prepare_cached(
                        "SELECT step, entry, at FROM journal WHERE deploy = ?1 ORDER BY id",
                    )?
                    .query_map([deploy], |row| {
                        Ok((
                            row.get::<_, String>(0)?,
                            row.get::<_, String>(1)?,
                            row.get::<_, String>(2)?,
                        ))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        rows.into_iter()
            .map(|(step, entry, at)| {
                Ok(Entry {
                    deploy,
                    step: from_json("read journal", &format!("{step:?}"))?,
                    kind: from_json("read journal", &entry)?,
                    at: read_stamp(&at),
                })
            })
            .collect()
    }
}
