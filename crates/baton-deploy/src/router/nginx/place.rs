//! Where the include file stands: written whole or not at all, and what was there before is kept until
//! the new one is verified. After a kill between the two the next start puts it back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use baton_engine::whole_file;

use super::include;

#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
    /// What was there before a trial. The leading dot keeps it out of `include conf.d/*`.
    before: PathBuf,
}

impl Place {
    /// Puts back what was there before a trial that was not verified; the text of that trial beside it.
    ///
    /// # Errors
    /// The folder is not there, or somebody else's file is in the place.
    pub(super) fn open(file: &Path) -> io::Result<(Place, Option<String>)> {
        // What a link leads to is written, not the link.
        let file = match file.canonicalize() {
            Ok(real) => real,
            Err(_) => file.to_owned(),
        };
        let name = file
            .file_name()
            .ok_or_else(|| io::Error::other("it names no file"))?;
        let mut before = std::ffi::OsString::from(".");
        before.push(name);
        before.push(".before");
        let place = Place {
            before: file.with_file_name(before),
            file: file.clone(),
        };
        let text = place.read()?;
        if !text.trim().is_empty() && !text.starts_with(include::FIRST) {
            return Err(io::Error::other(
                "it was not written by Baton; name another file with --nginx-include",
            ));
        }
        if !place.before.exists() {
            return Ok((place, None));
        }
        place.put_back()?;
        Ok((place, Some(text)))
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Empty when there is none.
    pub(super) fn read(&self) -> io::Result<String> {
        match fs::read_to_string(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        }
    }

    /// Keeps what is there, and puts `text` in its place.
    pub(super) fn try_out(&self, text: &str) -> io::Result<()> {
        // A file that is there and says nothing is as good as none, and a plain `include` wants one.
        let before = match self.read()? {
            text if text.is_empty() => format!("{}\n", include::FIRST),
            text => text,
        };
        write(&self.before, &before)?;
        write(&self.file, text)
    }

    /// It is verified.
    pub(super) fn keep(&self) -> io::Result<()> {
        fs::remove_file(&self.before)?;
        whole_file::sync_folder_of(&self.before)
    }

    pub(super) fn put_back(&self) -> io::Result<()> {
        fs::rename(&self.before, &self.file)?;
        whole_file::sync_folder_of(&self.file)
    }
}

/// Nginx may read it whoever it runs as: there is nothing secret in it.
fn write(file: &Path, text: &str) -> io::Result<()> {
    whole_file::write(file, text.as_bytes(), 0o644)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_verified_is_put_back_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baton.conf");
        let (place, untested) = Place::open(&file).unwrap();
        assert_eq!(untested, None);
        let text = |word: &str| format!("{}\n# {word}\n", include::FIRST);
        place.try_out(&text("one")).unwrap();
        place.keep().unwrap();
        place.try_out(&text("two")).unwrap();
        assert_eq!(place.read().unwrap(), text("two"));
        let (place, untested) = Place::open(&file).unwrap();
        assert_eq!(untested, Some(text("two")));
        assert_eq!(place.read().unwrap(), text("one"));
        let names = fs::read_dir(folder.path()).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["baton.conf"], "nothing stays beside it");
    }

    #[test]
    fn a_file_of_somebody_else_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("shop.conf");
        fs::write(&file, "server {}\n").unwrap();
        let error = Place::open(&file).unwrap_err().to_string();
        assert!(error.contains("--nginx-include"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "server {}\n");
    }
}
