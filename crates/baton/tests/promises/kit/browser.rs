//! A real Chromium, driven by a small Python program (playwright).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Pages with a stream each.
pub(crate) struct Browser {
    driver: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Browser {
    /// Opens each `(kind, path)` of an origin; returns when all are open.
    pub(crate) fn open(origin: &str, streams: &[(&str, &str)]) -> Browser {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut driver = Command::new(python())
            .arg(folder.join("tests/browser/streams.py"))
            .arg(origin)
            .args(streams.iter().map(|(kind, path)| format!("{kind}={path}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut browser = Browser {
            ask: driver.stdin.take(),
            answers: BufReader::new(driver.stdout.take().unwrap()),
            driver,
        };
        let answer = browser.answer();
        assert_eq!(
            answer, "ready",
            "Chromium or playwright is missing: scripts/test installs them"
        );
        browser
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// What each stream has seen so far.
    pub(crate) fn look(&mut self) -> Vec<Value> {
        writeln!(self.ask.as_ref().unwrap(), "look").unwrap();
        let answer = self.answer();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The end of its input ends it, and Chromium with it.
        drop(self.ask.take());
        let _ = self.driver.wait();
    }
}

/// `BATON_TEST_PYTHON`, else the one that `scripts/test` sets up.
fn python() -> PathBuf {
    if let Some(python) = std::env::var_os("BATON_TEST_PYTHON") {
        return python.into();
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/python/bin/python");
    if tools.exists() {
        tools
    } else {
        "python3".into()
    }
}
