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

/// One Chromium on the status page.
pub(crate) struct Page {
    driver: Child,
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Page {
    pub(crate) fn on(origin: &str) -> Page {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut driver = Command::new(python())
            .arg(folder.join("tests/browser/page.py"))
            .arg(origin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed");
        let mut page = Page {
            ask: driver.stdin.take(),
            answers: BufReader::new(driver.stdout.take().unwrap()),
            driver,
        };
        assert_eq!(
            page.answer(),
            "ready",
            "Chromium or playwright is missing: scripts/test installs them"
        );
        page
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Does one thing (see page.py), which must go well; what it answers.
    pub(crate) fn does(&mut self, what: &Value) -> Value {
        writeln!(self.ask.as_ref().unwrap(), "{what}").unwrap();
        let answer = self.answer();
        let answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("{what}: {error}: {answer}"));
        assert!(answer["error"].is_null(), "{what}: {answer:#}");
        answer["ok"].clone()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The end of its input ends it, and Chromium with it.
        drop(self.ask.take());
        let _ = self.driver.wait();
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
