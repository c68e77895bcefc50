//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Puts `content` where `path` is, or leaves what was there. A reader finds the one or the other, and so does
/// whoever comes after a kill or a power cut; once this has returned, it is the new one. A kill may leave a
/// hidden file beside it that nobody reads, `.NAME.PID-N.new`. `mode`: its permissions, whatever the umask; a
/// link at `path` is replaced, not followed.
///
/// # Errors
/// The folder is not there or cannot be written, or the disk is full; `path` is as it was. Or the folder
/// cannot be synced: then a power cut may still bring back what was there.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, |new| fs::rename(new, path))
}

/// The same where nothing may be lost: whatever is at `path` stays, a link that leads nowhere too.
///
/// # Errors
/// As [`write`]; `AlreadyExists` when there is something.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    put(path, content, mode, |new| {
        // Unlike a rename it never replaces anything.
        fs::hard_link(new, path)?;
        fs::remove_file(new)
    })
}

/// Makes a rename or a removal at `path` outlive a power cut.
///
/// # Errors
/// The folder of `path` is not there, or its disk fails.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn put(
    path: &Path,
    content: &[u8],
    mode: u32,
    place: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path)?;
    // Of a killed writer with the same number.
    let _ = fs::remove_file(&new);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            // A link that somebody laid there is not followed.
            .create_new(true)
            // Nobody reads a secret before its permissions are set.
            .mode(mode & 0o600)
            .open(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        place(&new)
    })();
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&new);
    }
    written?;
    sync_folder_of(path)
}

/// Nobody else's name: two writers of one file do not meet in it, and no user has a file of that name. The
/// dot keeps it out of what includes `conf.d/*`.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it names no file"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    hidden.push(format!(".{}-{number}.new", std::process::id()));
    Ok(path.with_file_name(hidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                let name = entry.expect("an entry").file_name();
                name.into_string().expect("plain")
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_replaced_with_its_permissions_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept.json");
        for (content, mode) in [("one", 0o600), ("another", 0o644)] {
            write(&path, content.as_bytes(), mode).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
            let found = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(found & 0o7777, mode);
        }
        assert_eq!(names(folder.path()), ["kept.json"]);
    }

    #[test]
    fn what_was_there_stays_when_it_cannot_be_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        // A folder with something in it cannot be replaced by a file.
        let path = folder.path().join("taken");
        fs::create_dir(&path).expect("made");
        fs::write(path.join("inside"), "kept").expect("written");
        assert!(write(&path, b"new", 0o600).is_err());
        assert_eq!(
            fs::read_to_string(path.join("inside")).expect("read"),
            "kept"
        );
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write(&folder.path().join("no/such"), b"new", 0o600).is_err());
        assert!(write(Path::new("/"), b"new", 0o600).is_err());
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("baton.toml");
        write_new(&path, b"mine", 0o644).expect("written");
        let error = write_new(&path, b"yours", 0o644).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("read"), "mine");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).expect("linked");
        let error = write_new(&link, b"yours", 0o644).expect_err("it is there");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(folder.path()), ["baton.toml", "link"]);
    }

    #[test]
    fn a_neighbour_of_almost_the_same_name_is_not_touched() {
        let folder = tempfile::tempdir().expect("a folder");
        let neighbour = folder.path().join("compose.yaml.new");
        fs::write(&neighbour, "the user's").expect("written");
        write(&folder.path().join("compose.yaml"), b"new", 0o644).expect("written");
        assert_eq!(fs::read_to_string(&neighbour).expect("read"), "the user's");
    }
}
