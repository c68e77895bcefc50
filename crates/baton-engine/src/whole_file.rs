//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Puts `content` where `path` is, or leaves what was there. A reader finds the one or the other, and so does
/// whoever comes after a kill or a power cut; once this has returned, it is the new one. Until then the content
/// is in `NAME.new` beside it, which a kill may leave behind and the next write takes. `mode`: its permissions,
/// whatever the umask; a link at `path` is replaced, not followed.
///
/// # Errors
/// The folder is not there or cannot be written, or the disk is full; `path` is as it was.
pub fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let new = beside(path);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            // Nobody reads a secret before its permissions are set.
            .mode(mode & 0o600)
            .open(&new)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    if written.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&new);
    }
    written?;
    // The rename is there after a power cut, too.
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_replaced_with_its_permissions_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kept.json");
        // Of a writer that was killed.
        fs::write(beside(&path), "torn").expect("written");
        for (content, mode) in [("one", 0o600), ("another", 0o644)] {
            write(&path, content.as_bytes(), mode).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
            let found = fs::metadata(&path).expect("there").permissions().mode();
            assert_eq!(found & 0o7777, mode);
        }
        let names = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(names, 1);
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
        assert!(!beside(&path).exists());
        assert!(write(&folder.path().join("no/such"), b"new", 0o600).is_err());
    }
}
