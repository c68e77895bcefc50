//! The database, if the new version writes it in another way: a copy of before, in case it fails.

use std::path::{Path, PathBuf};

/// A database and its copy.
#[derive(Debug)]
pub struct Kept {
    file: PathBuf,
    copy: PathBuf,
}

/// Copies the closed database, where the new process will change its tables.
#[must_use]
pub fn keep(data: &Path, its_version: usize) -> Option<Kept> {
    if its_version == baton_deploy::DATABASE_VERSION {
        return None;
    }
    let kept = Kept {
        file: data.join("baton.db"),
        copy: data.join("baton.db.before-upgrade"),
    };
    match std::fs::copy(&kept.file, &kept.copy) {
        Ok(_) => Some(kept),
        Err(error) => {
            tracing::warn!(%error, "no copy of the database could be made");
            None
        }
    }
}

/// The new process works with it.
pub fn forget(kept: Option<Kept>) {
    if let Some(kept) = kept {
        // It is only in the way.
        let _ = std::fs::remove_file(kept.copy);
    }
}

/// The new process has failed: what it has changed is nobody's.
pub fn restore(kept: Option<Kept>) {
    let Some(kept) = kept else { return };
    for suffix in ["-wal", "-shm"] {
        let mut beside = kept.file.clone().into_os_string();
        beside.push(suffix);
        // Not there is as good.
        let _ = std::fs::remove_file(beside);
    }
    if let Err(error) = std::fs::rename(&kept.copy, &kept.file) {
        tracing::error!(%error, "the database stays as the new version has left it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_version_has_changed_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.db");
        std::fs::write(&file, "before").unwrap();
        assert!(keep(folder.path(), baton_deploy::DATABASE_VERSION).is_none());
        let kept = keep(folder.path(), baton_deploy::DATABASE_VERSION + 1);
        std::fs::write(&file, "after").unwrap();
        std::fs::write(folder.path().join("baton.db-wal"), "more").unwrap();
        restore(kept);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
