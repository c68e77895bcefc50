//! Values that are run, and the figures of a canary.

use serde_json::{Value, json};

use super::{Leaf, expected, or_variable, scalar};
use crate::policy::HookCommand;

/// A share of the clients.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Percent(pub(crate) u8);

impl Leaf for Percent {
    const NAME: &'static str = "percent";

    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 100,
            "pattern": or_variable("[0-9]+"),
            "examples": [5],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(percent @ 1..=100) => Ok(Percent(percent)),
            _ => expected("a percentage from 1 to 100, such as 25", value),
        }
    }
}

/// A number of requests, 0 included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requests(pub(crate) u64);

impl Leaf for Requests {
    const NAME: &'static str = "requests";

    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": or_variable("[0-9]+"),
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(requests) => Ok(Requests(requests)),
            None => expected("a whole number of requests such as 300", value),
        }
    }
}

/// An argument vector: a list as it is, a string split as a shell would; no shell is run.
#[derive(Debug)]
pub(crate) struct CommandLine(pub(crate) Vec<String>);

impl Leaf for CommandLine {
    const NAME: &'static str = "command";

    fn schema() -> Value {
        json!({
            "type": ["array", "string"],
            "items": { "type": "string" },
            "minItems": 1,
            "examples": [["./migrate", "up"]],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = match value {
            Value::String(text) => match shlex::split(text) {
                Some(words) => words,
                None => return Err(format!("a quote is not closed in {text:?}")),
            },
            Value::Array(_) => arguments(value)?,
            other => return expected(EXAMPLE, other),
        };
        match words.first() {
            Some(program) if !program.is_empty() => Ok(CommandLine(words)),
            _ => Err(format!("expected {EXAMPLE}, found an empty one")),
        }
    }
}

const EXAMPLE: &str = "a command such as [\"./migrate\", \"up\"]";

/// The items of a list, each one argument.
fn arguments(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().into_iter().flatten();
    items
        .map(|item| scalar(item).map_or_else(|| expected("a text in the command", item), Ok))
        .collect()
}

/// A string is a line for a shell, a list an argument vector.
#[derive(Debug)]
pub(crate) struct Hook(pub(crate) HookCommand);

impl Leaf for Hook {
    const NAME: &'static str = "hook";

    fn schema() -> Value {
        json!({
            "type": ["string", "array"],
            "items": { "type": "string" },
            "minItems": 1,
            "examples": ["./purge-cache >> hooks.log"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(line) if !line.trim().is_empty() => {
                Ok(Hook(HookCommand::Shell(line.clone())))
            }
            Value::Array(_) => {
                CommandLine::read(value).map(|CommandLine(words)| Hook(HookCommand::Exec(words)))
            }
            other => expected(
                "a line for a shell, or a command such as [\"./purge\", \"cache\"]",
                other,
            ),
        }
    }
}
