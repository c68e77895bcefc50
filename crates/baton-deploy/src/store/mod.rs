//! The SQLite database: releases, slots, deploys, journal, receipts, events.
//!
//! One thread owns the connection; everyone else sends it closures. WAL and `synchronous=FULL`: what
//! was committed survives a power cut (p99 of a commit: half a millisecond).
//!
//! | module | holds |
//! | --- | --- |
//! | `schema` | tables, and how an older file becomes today's |
//! | `apps` | paused or not, the next release number, what was live when |
//! | `releases` | what can be started again |
//! | `slots` | the two colors of each app; the switch is one transaction here |
//! | `deploys` | deploys and their journal |
//! | `receipts`, `events` | what a person reads later |
//! | `tokens` | who may use the API over TCP, by the hash of a token |

mod apps;
mod deploys;
mod events;
mod receipts;
mod releases;
mod schema;
mod slots;
mod tokens;

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rusqlite::{Connection, Params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::error::DeployError;

pub(crate) use deploys::{DeployRow, Phase};
pub(crate) use slots::Commit;

/// What the tables of this version are; a file that a newer one has written is refused.
pub use schema::VERSION;

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

enum Job {
    Work(Work),
    /// The file is closed, then the sender dropped.
    Close(oneshot::Sender<()>),
}

/// The handle; the thread ends when the last one is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens or makes `baton.db` in `folder` (0700, the file 0600) and brings its tables up to date.
    pub(crate) async fn open(folder: &Path) -> Result<Store, DeployError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (opened, ready) = oneshot::channel();
        let folder = folder.to_owned();
        std::thread::Builder::new()
            .name("baton-store".to_owned())
            .spawn(move || match open_file(&folder) {
                Ok(mut connection) => {
                    if opened.send(Ok(())).is_ok() {
                        let closing = loop {
                            match queue.recv() {
                                Ok(Job::Work(work)) => work(&mut connection),
                                Ok(Job::Close(closed)) => break Some(closed),
                                Err(_) => break None,
                            }
                        };
                        drop(connection);
                        drop(closing);
                    }
                }
                Err(error) => drop(opened.send(Err(error))),
            })
            .map_err(|error| failed("open", error))?;
        ready
            .await
            .unwrap_or_else(|_| Err(failed("open", "its thread ended")))?;
        Ok(Store { jobs })
    }

    /// Ends its thread and returns when the file is closed. Whatever is asked of the store afterwards fails.
    pub(crate) async fn close(&self) {
        let (closing, closed) = oneshot::channel();
        if self.jobs.send(Job::Close(closing)).is_ok() {
            // Always an error: that is how it is told.
            let _ = closed.await;
        }
    }

    /// Runs `work` on the store's thread. `action` says what it was for in an error.
    async fn call<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DeployError> {
        let (answer, result) = oneshot::channel();
        let work: Work = Box::new(move |connection| drop(answer.send(work(connection))));
        self.jobs
            .send(Job::Work(work))
            .map_err(|_| failed(action, "its thread ended"))?;
        result
            .await
            .map_err(|_| failed(action, "its thread ended"))?
            .map_err(|error| failed(action, error))
    }

    /// What a statement gives, row by row: each is JSON in its first column. It is read here, not on the
    /// store's thread.
    async fn records<T: DeserializeOwned>(
        &self,
        action: &'static str,
        statement: &'static str,
        parameters: impl Params + Send + 'static,
    ) -> Result<Vec<T>, DeployError> {
        let texts = self
            .call(action, move |connection| {
                connection
                    .prepare_cached(statement)?
                    .query_map(parameters, |row| row.get::<_, String>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .await?;
        texts.iter().map(|text| from_json(action, text)).collect()
    }

    /// The same of a statement that gives one row at most.
    async fn record<T: DeserializeOwned>(
        &self,
        action: &'static str,
        statement: &'static str,
        parameters: impl Params + Send + 'static,
    ) -> Result<Option<T>, DeployError> {
        let mut records = self.records(action, statement, parameters).await?;
        Ok(records.pop())
    }
}

fn open_file(folder: &Path) -> Result<Connection, DeployError> {
    private_folder(folder)
        .map_err(|error| failed("folder", format!("{}: {error}", folder.display())))?;
    let file = folder.join("baton.db");
    private_file(&file).map_err(|error| failed("file", format!("{}: {error}", file.display())))?;
    let mut connection = Connection::open(&file).map_err(|error| failed("open", error))?;
    schema::prepare(&mut connection).map_err(|error| match error {
        schema::Problem::Sqlite(error) => failed("open", explain(&file, &error)),
        schema::Problem::Newer { found, known } => failed(
            "open",
            format!(
                "{} was written by a newer Baton (version {found}, this one knows {known}); start that one again, or move the file away",
                file.display()
            ),
        ),
    })?;
    Ok(connection)
}

/// A second daemon on the same folder shows as a locked database.
fn explain(file: &Path, error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => format!(
            "{} is in use; another `baton serve` runs on this data folder: stop it, or give this one another --data",
            file.display()
        ),
        _ => error.to_string(),
    }
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Made before SQLite opens it: SQLite gives `-wal` the mode of the database file.
fn private_file(file: &Path) -> std::io::Result<()> {
    let handle = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file)?;
    handle.set_permissions(Permissions::from_mode(0o600))
}

const BUSY: Duration = Duration::from_secs(5);

fn failed(action: &'static str, reason: impl ToString) -> DeployError {
    DeployError::Store {
        action,
        reason: reason.to_string(),
    }
}

fn to_json<T: Serialize>(what: &'static str, value: &T) -> Result<String, DeployError> {
    serde_json::to_string(value).map_err(|error| failed(what, error))
}

fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DeployError> {
    serde_json::from_str(text).map_err(|error| failed(what, error))
}

/// Now, as the database writes it.
fn now() -> String {
    stamp(time::OffsetDateTime::now_utc())
}

fn stamp(at: time::OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

fn read_stamp(text: &str) -> time::OffsetDateTime {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}
