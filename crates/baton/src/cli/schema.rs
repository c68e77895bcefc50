//! `baton schema`.

use clap::Args;

use crate::error::CliError;
use crate::show::Out;

/// Prints the JSON Schema of `x-baton`. Editors complete and check the section with it.
#[derive(Debug, Args)]
pub struct Schema {}

impl Schema {
    pub(super) fn run(&self, out: Out) -> Result<(), CliError> {
        let schema = baton_compose::schema();
        let text = serde_json::to_string_pretty(&schema)
            .map_err(|error| CliError::other("schema", error))?;
        out.text(&text)?;
        // The schema is the result: a JSON object on one line.
        out.line(&schema)
    }
}
