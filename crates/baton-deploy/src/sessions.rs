//! Which clients' sessions live on which instance, written down so that a restart of the daemon in the
//! middle of a drain parts nobody from theirs (DESIGN.md §5.7).
//!
//! A file of its own beside the database, not a table in it: it is written anew again and again, must
//! hold up no step of a deploy, and is worth nothing after a power cut, when the instances are gone and
//! the sessions with them. So it is not synced either. There is no cookie in it, but the key of the
//! hashes that stand for them: 0600.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use baton_engine::engine::Address;
use baton_engine::{Instance, InstanceId};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::core::Core;

/// How often they are written while an old color is kept for its sessions: a kill of the daemon parts
/// those from it that were begun there since.
const WHILE_PINNED: Duration = Duration::from_secs(1);

/// How often otherwise. It matters where a service has several instances.
const AT_REST: Duration = Duration::from_secs(10);

/// The sessions of one life of one instance.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    id: InstanceId,
    address: Option<Address>,
    #[serde(with = "time::serde::rfc3339::option")]
    started_at: Option<OffsetDateTime>,
    /// What the router says of them, in base 64.
    sessions: String,
}

/// What an earlier daemon wrote.
#[derive(Debug, Default)]
pub(crate) struct KnownSessions(HashMap<InstanceId, Record>);

/// Writes them down from time to time.
pub(crate) async fn look_after(core: Arc<Core>) {
    loop {
        let pinned = core.remember_sessions().await;
        sleep(if pinned { WHILE_PINNED } else { AT_REST }).await;
    }
}

impl Core {
    /// Writes down what is known now; whether an old color is kept for its sessions. A disk that is full
    /// stops nothing.
    pub(crate) async fn remember_sessions(&self) -> bool {
        // One after the other: what is newer is written last.
        let mut failing = self.remembering.lock().await;
        let (instances, pinned) = self.routes.with_sessions().await;
        let router = self.routes.router();
        let records: Vec<Record> = instances
            .iter()
            .filter_map(|instance| record(instance, &router.known_sessions(instance)))
            .collect();
        let path = path(&self.data);
        // It does not end when the control plane is stopped in it.
        let Ok(written) = spawn_blocking(move || write(&path, &records)).await else {
            return pinned;
        };
        if let (Err(error), false) = (&written, *failing) {
            tracing::warn!("cannot write down where sessions live: {error}");
        }
        *failing = written.is_err();
        pinned
    }
}

impl KnownSessions {
    /// Whatever cannot be read is not known.
    pub(crate) async fn read(data: &Path) -> KnownSessions {
        let path = path(data);
        let read = spawn_blocking(move || fs::read(path)).await;
        let records: Vec<Record> = match read {
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap_or_default(),
            _ => Vec::new(),
        };
        let known = records
            .into_iter()
            .map(|record| (record.id.clone(), record));
        KnownSessions(known.collect())
    }

    /// Gives those of these instances back to the router. One that was started again meanwhile has
    /// forgotten them.
    pub(crate) fn recall<'i>(&self, core: &Core, instances: impl Iterator<Item = &'i Instance>) {
        for instance in instances {
            let Some(record) = self.0.get(&instance.id) else {
                continue;
            };
            if (record.address, record.started_at) != (instance.address, instance.started_at) {
                continue;
            }
            let known = BASE64_STANDARD.decode(&record.sessions).unwrap_or_default();
            if !core.routes.router().recall_sessions(instance, &known) {
                tracing::warn!(id = %instance.id, "where its sessions lived is not known any more");
            }
        }
    }
}

/// None: nothing is known of it.
fn record(instance: &Instance, known: &[u8]) -> Option<Record> {
    (!known.is_empty()).then(|| Record {
        id: instance.id.clone(),
        address: instance.address,
        started_at: instance.started_at,
        sessions: BASE64_STANDARD.encode(known),
    })
}

fn path(data: &Path) -> PathBuf {
    data.join("sessions.json")
}

/// A reader finds all of it or what was there before. No file where there is nothing to know.
fn write(path: &Path, records: &[Record]) -> io::Result<()> {
    if records.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(records)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_again_and_only_by_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path());
        let record = Record {
            id: InstanceId("shop-blue/api/1/7".to_owned()),
            address: None,
            started_at: Some(OffsetDateTime::now_utc()),
            sessions: BASE64_STANDARD.encode(b"bytes"),
        };
        let started_at = record.started_at;
        write(&path, &[record]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let known = KnownSessions::read(folder.path()).await;
        let found = &known.0[&InstanceId("shop-blue/api/1/7".to_owned())];
        assert_eq!(found.started_at, started_at, "to the nanosecond");
        assert_eq!(BASE64_STANDARD.decode(&found.sessions).unwrap(), b"bytes");

        write(&path, &[]).unwrap();
        assert!(!path.exists());
        write(&path, &[]).unwrap();
        fs::write(&path, "half of i").unwrap();
        assert!(KnownSessions::read(folder.path()).await.0.is_empty());
    }
}
