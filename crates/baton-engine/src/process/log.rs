//! What an instance wrote, bounded: `log` and the one before it, `log.1`, each up to [`LIMIT`].
//!
//! A line on disk is `<unix nanoseconds> <o|e> <bytes as they were written>`; `e` is stderr.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::folder::private_file;
use super::spec::Spec;
use crate::LogLine;

/// Bytes of one log file; an instance has at most twice that.
const LIMIT: u64 = 4 * 1024 * 1024;

/// The end of a log to which lines are appended. At most one exists per instance: its reader.
#[derive(Debug)]
pub(super) struct LogFile {
    folder: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    pub(super) fn open(folder: &Path) -> io::Result<LogFile> {
        let mut file = private_file()
            .read(true)
            .append(true)
            .create(true)
            .open(folder.join("log"))?;
        let bytes = file.metadata()?.len();
        let whole = whole_lines(&mut file, bytes)?;
        // A writer that was killed left a part of a line. All of it is still where it read it from.
        if whole < bytes {
            file.set_len(whole)?;
        }
        Ok(LogFile {
            folder: folder.to_owned(),
            file,
            bytes: whole,
        })
    }

    /// Appends `text`, one or more lines (the last one with or without its end), in one write.
    pub(super) fn append(&mut self, stderr: bool, text: &[u8]) -> io::Result<()> {
        let stream = if stderr { 'e' } else { 'o' };
        let mark = format!(
            "{} {stream} ",
            OffsetDateTime::now_utc().unix_timestamp_nanos()
        );
        let mut out = Vec::with_capacity(text.len() + 2 * mark.len());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            out.extend_from_slice(mark.as_bytes());
            out.extend_from_slice(line);
        }
        if !out.ends_with(b"\n") {
            out.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&out) {
            // On a disk that is full; what got in would tear the next line.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += out.len() as u64;
        if self.bytes >= LIMIT {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        match fs::rename(self.folder.join("log"), self.folder.join("log.1")) {
            // The one before went so far.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        *self = LogFile::open(&self.folder)?;
        Ok(())
    }
}

/// How many of a log's `bytes` are lines with their end.
fn whole_lines(file: &mut File, bytes: u64) -> io::Result<u64> {
    let mut last = [0];
    if bytes > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if bytes == 0 || last == *b"\n" {
        return Ok(bytes);
    }
    let mut all = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut all)?;
    Ok(end_of_last_line(&all) as u64)
}

pub(super) fn end_of_last_line(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1)
}

/// Reads a log: its last lines, then what is appended.
#[derive(Debug)]
pub(super) struct LogReader {
    folder: PathBuf,
    service: String,
    replica: u32,
    /// None until the first line was written. Read up to the end of a line.
    file: Option<File>,
}

impl LogReader {
    pub(super) fn open(folder: &Path, spec: &Spec) -> io::Result<LogReader> {
        Ok(LogReader {
            folder: folder.to_owned(),
            service: spec.service.name.clone(),
            replica: spec.replica,
            file: open_if_there(&folder.join("log"))?,
        })
    }

    /// The last `count` lines. Called once, before [`LogReader::more`].
    pub(super) fn tail(&mut self, count: usize) -> io::Result<Vec<LogLine>> {
        let mut lines = self.read_on()?;
        if lines.len() < count
            && let Some(mut before) = open_if_there(&self.folder.join("log.1"))?
            && !is_same(&before, self.file.as_ref())?
        {
            let mut bytes = Vec::new();
            before.read_to_end(&mut bytes)?;
            let mut all = self.parse(&bytes);
            all.append(&mut lines);
            lines = all;
        }
        Ok(lines.split_off(lines.len().saturating_sub(count)))
    }

    /// What was appended since the last call.
    pub(super) fn more(&mut self) -> io::Result<Vec<LogLine>> {
        let mut lines = self.read_on()?;
        let current = open_if_there(&self.folder.join("log"))?;
        if let Some(current) = current
            && !is_same(&current, self.file.as_ref())?
        {
            // Rotated. What was written to the old file between the two looks comes first.
            lines.append(&mut self.read_on()?);
            self.file = Some(current);
            lines.append(&mut self.read_on()?);
        }
        Ok(lines)
    }

    fn read_on(&mut self) -> io::Result<Vec<LogLine>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A line whose end is not there yet is read again: it may be taken back and written anew.
        let unfinished = bytes.split_off(end_of_last_line(&bytes)).len() as u64;
        file.seek(SeekFrom::Current(-unfinished.cast_signed()))?;
        Ok(self.parse(&bytes))
    }

    fn parse(&self, bytes: &[u8]) -> Vec<LogLine> {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| self.line(line))
            .collect()
    }

    fn line(&self, bytes: &[u8]) -> LogLine {
        let mut fields = bytes.splitn(3, |byte| *byte == b' ');
        let at = fields
            .next()
            .and_then(|nanos| std::str::from_utf8(nanos).ok()?.parse().ok())
            .and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos).ok());
        let stream = fields.next();
        // What is no line of ours is shown as it is.
        let text = match (at, fields.next()) {
            (Some(_), Some(text)) => text,
            _ => bytes,
        };
        LogLine {
            service: self.service.clone(),
            replica: self.replica,
            stderr: stream == Some(b"e"),
            at,
            text: String::from_utf8_lossy(text.strip_suffix(b"\r").unwrap_or(text)).into_owned(),
        }
    }
}

fn open_if_there(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(one: &File, other: Option<&File>) -> io::Result<bool> {
    let Some(other) = other else {
        return Ok(false);
    };
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(folder: &Path) -> LogReader {
        LogReader {
            folder: folder.to_owned(),
            service: "api".to_owned(),
            replica: 1,
            file: open_if_there(&folder.join("log")).expect("readable"),
        }
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn lines_keep_their_stream_time_and_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = LogFile::open(folder.path()).expect("a log");
        log.append(false, b"one\ntwo 2\r\n").expect("written");
        log.append(true, b"bad \xff no end").expect("written");
        let lines = reader(folder.path()).tail(10).expect("read");
        assert_eq!(texts(&lines), ["one", "two 2", "bad \u{fffd} no end"]);
        assert_eq!(
            lines.iter().map(|line| line.stderr).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert!(lines.iter().all(|line| line.at.is_some()));
    }

    #[test]
    fn a_line_that_a_kill_has_torn_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("log"), "1 o whole\n2 o line 69").expect("written");
        let mut follower = reader(folder.path());
        assert_eq!(texts(&follower.more().expect("read")), ["whole"]);
        LogFile::open(folder.path())
            .and_then(|mut log| log.append(false, b"line 6917\n"))
            .expect("written");
        assert_eq!(texts(&follower.more().expect("read")), ["line 6917"]);
        let lines = reader(folder.path()).tail(10).expect("read");
        assert_eq!(texts(&lines), ["whole", "line 6917"]);
    }

    #[test]
    fn following_goes_on_over_a_rotation_and_the_log_stays_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = LogFile::open(folder.path()).expect("a log");
        let mut follower = reader(folder.path());
        let mut seen = Vec::new();
        let filler = "x".repeat(1000);
        let mut written = 0;
        for _ in 0..100 {
            let batch: String = (written..written + 100)
                .map(|n| format!("{n} {filler}\n"))
                .collect();
            written += 100;
            log.append(false, batch.as_bytes()).expect("written");
            seen.extend(follower.more().expect("read"));
        }
        let numbers = |lines: &[LogLine]| -> Vec<usize> {
            lines
                .iter()
                .filter_map(|line| line.text.split(' ').next()?.parse().ok())
                .collect()
        };
        assert_eq!(numbers(&seen), (0..written).collect::<Vec<_>>());
        assert_eq!(
            numbers(&reader(folder.path()).tail(5000).expect("read")),
            (written - 5000..written).collect::<Vec<_>>()
        );
        let bytes: u64 = ["log", "log.1"]
            .iter()
            .map(|name| fs::metadata(folder.path().join(name)).expect("there").len())
            .sum();
        assert!(bytes < 2 * LIMIT + 200_000, "{bytes}");
    }
}
