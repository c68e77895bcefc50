//! The folder of one instance: `<root>/<app>-<color>/<service>-<replica>-<start>/`.
//!
//! | file | written by | holds |
//! | --- | --- | --- |
//! | `spec.json` | engine | [`Spec`]; locked (flock) by the shim as long as that lives |
//! | `running.json` | shim | [`Running`], once the command runs |
//! | `ended.json` | shim | [`Ended`] |
//! | `killed` | engine | nothing; there when the engine itself sent SIGKILL |
//! | `stdout`, `stderr` | shim | FIFOs, opened read-write by the shim, the command and the reader |
//! | `log`, `log.1` | the reader | output, see `log.rs`; `reader` is its lock |
//!
//! The lock on `spec.json` is taken by the engine before it spawns the shim and inherited by it, so
//! there is no moment at which a shim lives and a new daemon could not know.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::proc;
use super::spec::{Ended, Running, Spec};
use crate::engine::Slot;
use crate::whole_file;
use crate::{Exit, Instance, InstanceId, InstanceState};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder(PathBuf);

/// What runs of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Liveness {
    /// A shim lives that has not yet said what it runs.
    Starting,
    Runs(Running),
    /// None: the shim ended without writing why, e.g. with the machine.
    Ended(Option<Ended>),
}

impl Folder {
    pub(super) fn at(path: impl Into<PathBuf>) -> Folder {
        Folder(path.into())
    }

    /// None for an id that no process of ours can have.
    pub(super) fn of(root: &Path, id: &InstanceId) -> Option<Folder> {
        let parts: Vec<&str> = id.0.split('/').collect();
        let [slot, service, replica, start] = parts.as_slice() else {
            return None;
        };
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        (is_plain(slot) && is_plain(service) && number(replica) && number(start))
            .then(|| Folder(root.join(slot).join(format!("{service}-{replica}-{start}"))))
    }

    /// Makes the folder of `spec` and writes it there.
    pub(super) fn create(root: &Path, spec: &Spec) -> io::Result<Folder> {
        let Some(folder) = Folder::of(root, &spec.id()) else {
            return Err(io::Error::other(format!(
                "{:?} cannot name a service",
                spec.service.name
            )));
        };
        make_private_folder(&folder.0)?;
        folder.write("spec.json", spec)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn spec(&self) -> io::Result<Option<Spec>> {
        self.read("spec.json")
    }

    pub(super) fn running(&self) -> io::Result<Option<Running>> {
        self.read("running.json")
    }

    pub(super) fn ended(&self) -> io::Result<Option<Ended>> {
        self.read("ended.json")
    }

    /// Opens `spec.json` with the lock that says "a shim lives"; the shim inherits it.
    pub(super) fn lock_for_shim(&self) -> io::Result<File> {
        let file = File::open(self.file("spec.json"))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    pub(super) fn shim_lives(&self) -> io::Result<bool> {
        let file = File::open(self.file("spec.json"))?;
        // Shared: two looks at the same time must not take each other for a shim.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn liveness(&self) -> io::Result<Liveness> {
        let shim_lives = self.shim_lives()?;
        if let Some(ended) = self.ended()? {
            return Ok(Liveness::Ended(Some(ended)));
        }
        Ok(match self.running()? {
            Some(running) if shim_lives => Liveness::Runs(running),
            // The shim was killed; what it started goes on.
            Some(running) if running.boot == proc::boot_id() && running.child.lives() => {
                Liveness::Runs(running)
            }
            None if shim_lives => Liveness::Starting,
            _ => Liveness::Ended(None),
        })
    }

    /// The instance as it is now.
    pub(super) fn instance(&self, spec: &Spec) -> io::Result<Instance> {
        let liveness = self.liveness()?;
        let running = self.running()?;
        let state = match liveness {
            Liveness::Starting => InstanceState::Created,
            Liveness::Runs(_) => InstanceState::Running,
            Liveness::Ended(ended) => InstanceState::Exited(exit_of(ended, running.as_ref())),
        };
        Ok(spec.instance(state, running.map(|running| running.started_at)))
    }

    /// Marks that the engine itself killed it, so that nobody takes it for an OOM kill.
    pub(super) fn mark_killed(&self) -> io::Result<()> {
        private_file()
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.file("killed"))
            .map(drop)
    }

    pub(super) fn was_killed(&self) -> bool {
        self.file("killed").exists()
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whole or not at all, and there after a power cut.
    pub(super) fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        whole_file::write(&self.file(name), &serde_json::to_vec(value)?, 0o600)
    }
}

/// How it ended, for one whose end nobody may have written down.
pub(super) fn exit_of(ended: Option<Ended>, running: Option<&Running>) -> Exit {
    match (ended, running) {
        (Some(ended), _) => ended.exit(),
        (None, Some(running)) => Exit {
            code: None,
            oom_killed: false,
            error: (running.boot != proc::boot_id())
                .then(|| "the machine was started anew since".to_owned()),
        },
        (None, None) => Exit {
            code: None,
            oom_killed: false,
            error: Some("it was never started: its start was cut off".to_owned()),
        },
    }
}

/// Every instance folder below `root`, of one slot or of all, by service, replica and start.
pub(super) fn list(root: &Path, slot: Option<&Slot>) -> io::Result<Vec<(Folder, Spec)>> {
    let slots = match slot {
        Some(slot) => vec![root.join(slot.to_string())],
        None => folders_in(root)?,
    };
    let mut found = Vec::new();
    for slot in slots {
        for path in folders_in(&slot)? {
            let folder = Folder(path);
            match folder.spec() {
                Ok(Some(spec)) => found.push((folder, spec)),
                // Its making or its removal was cut off. The next clear takes it along.
                Ok(None) => {}
                // One that cannot be read must not hide the others.
                Err(error) => {
                    tracing::warn!(folder = %folder.path().display(), %error, "not an instance that can be read");
                }
            }
        }
    }
    found.sort_by(|(_, a), (_, b)| {
        (&a.service.name, a.replica, a.start).cmp(&(&b.service.name, b.replica, b.start))
    });
    Ok(found)
}

fn folders_in(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

pub(super) fn make_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 200
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_the_state_folder() {
        let root = Path::new("/var/lib/baton/process");
        let of = |id: &str| Folder::of(root, &InstanceId(id.to_owned()));
        assert_eq!(
            of("shop-blue/my-api/1/17"),
            Some(Folder::at("/var/lib/baton/process/shop-blue/my-api-1-17"))
        );
        for bad in [
            "../api/1/1",
            "shop-blue/../1/1",
            "shop-blue/api/1",
            "shop-blue/api/1/1/1",
            "shop-blue/api/x/1",
            "shop-blue//1/1",
            "/etc/1/1",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
