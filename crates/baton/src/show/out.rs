//! Standard output.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Paint;
use crate::error::CliError;

/// Where and how a command speaks.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    json: bool,
    terminal: bool,
    /// For standard output.
    pub paint: Paint,
}

impl Out {
    /// `json`: one JSON object a line on standard output, human text only for errors, on standard
    /// error.
    #[must_use]
    pub fn new(json: bool) -> Out {
        let terminal = std::io::stdout().is_terminal();
        Out {
            json,
            terminal,
            paint: Paint::new(terminal),
        }
    }

    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// Standard output is a terminal and text is shown on it.
    #[must_use]
    pub fn is_live(self) -> bool {
        self.terminal && !self.json
    }

    /// Text for a person; nothing with `--json`.
    ///
    /// # Errors
    /// The reader of the output went away.
    pub fn text(self, text: &str) -> Result<(), CliError> {
        if self.json { Ok(()) } else { write_line(text) }
    }

    /// One JSON line; nothing without `--json`.
    ///
    /// # Errors
    /// As [`Out::text`].
    pub fn line(self, value: &impl Serialize) -> Result<(), CliError> {
        if !self.json {
            return Ok(());
        }
        let text = serde_json::to_string(value).map_err(|error| CliError::other("JSON", error))?;
        write_line(&text)
    }

    /// A JSON line that is text already.
    ///
    /// # Errors
    /// As [`Out::text`].
    pub fn raw(self, line: &str) -> Result<(), CliError> {
        if self.json { write_line(line) } else { Ok(()) }
    }

    /// The last line of a command that went well: `{"event":"result","ok":true,"exit_code":0,…}`
    /// with the fields of `value`.
    ///
    /// # Errors
    /// As [`Out::text`].
    pub fn result(self, value: &impl Serialize) -> Result<(), CliError> {
        if !self.json {
            return Ok(());
        }
        let mut line = Map::new();
        line.insert("event".into(), "result".into());
        line.insert("ok".into(), true.into());
        line.insert("exit_code".into(), 0.into());
        let fields = serde_json::to_value(value).map_err(|error| CliError::other("JSON", error))?;
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        self.line(&line)
    }

    /// Says why a command failed: to a person on standard error, with `--json` also as the last line
    /// of standard output.
    pub fn error(self, error: &CliError) {
        if matches!(error, CliError::OutputClosed) {
            return;
        }
        // An outcome has been shown, as its own result line with `--json`.
        let shown = matches!(error, CliError::Outcome(_));
        if self.json && !shown {
            let line = failed(error.exit_code(), &error.to_string());
            // Nobody may be there to read it; the exit code says it as well.
            let _ = self.line(&line);
        }
        if self.json || !shown {
            say(error);
        }
    }
}

/// The result line of a command that failed.
#[must_use]
pub fn failed(exit_code: u8, message: &str) -> Value {
    json!({"event": "result", "ok": false, "exit_code": exit_code, "message": message})
}

fn say(error: &CliError) {
    let paint = Paint::new(std::io::stderr().is_terminal());
    let label = match error {
        CliError::Interrupted(_) => paint.bold("baton:"),
        _ => paint.bold(&paint.red("error:")),
    };
    // Standard error may be closed; then there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{label} {error}");
}

fn write_line(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(CliError::OutputClosed),
        Err(error) => Err(CliError::other("standard output", error)),
    }
}
