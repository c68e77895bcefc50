//! Commands that are designed and known by name, and not built in this version: they are refused, so
//! that nobody takes them for a typing error.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::error::CliError;

/// Hidden from the help.
#[derive(Debug, Subcommand)]
pub enum Later {
    #[command(hide = true)]
    Upgrade(Anything),
}

/// Whatever was typed behind it.
#[derive(Debug, Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<OsString>,
}

impl Later {
    fn parts(&self) -> (&'static str, &Anything) {
        match self {
            Later::Upgrade(rest) => ("upgrade", rest),
        }
    }

    /// `--json` behind arguments that nobody reads yet.
    #[must_use]
    pub fn wants_json(&self) -> bool {
        self.parts().1.rest.iter().any(|word| word == "--json")
    }

    /// `baton stage: not supported yet`.
    #[must_use]
    pub fn refuse(&self) -> CliError {
        CliError::NotYet(format!("baton {}", self.parts().0))
    }
}
