//! `baton openapi`.

use clap::Args;

use crate::api::openapi;
use crate::error::CliError;
use crate::show::Out;

/// Prints the OpenAPI document of the daemon's API, which the daemon also serves at /openapi.json.
#[derive(Debug, Args)]
pub struct OpenApi {}

impl OpenApi {
    pub(super) fn run(&self, out: Out) -> Result<(), CliError> {
        let document = openapi::document();
        if out.is_json() {
            return out.line(&document);
        }
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| CliError::other("JSON", error))?;
        out.text(&text)
    }
}
