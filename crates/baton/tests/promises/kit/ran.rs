//! What became of a command.

use std::process::Output;

use serde_json::Value;

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn ok(&self) -> bool {
        self.code == 0
    }

    /// Every line of standard output that is JSON.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The last line of `--json`.
    pub(crate) fn result(&self) -> Value {
        let last = self
            .stdout
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("last line is no JSON ({error}): {self}"))
    }

    /// What the result says of its end.
    pub(crate) fn message(&self) -> String {
        let message = &self.result()["message"];
        message.as_str().unwrap_or_default().to_owned()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit code {}\nstdout:\n{}\nstderr:\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}
