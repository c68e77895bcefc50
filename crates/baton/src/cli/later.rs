//! Commands that are designed and known by name, and not built in this version: they are refused, so
//! that nobody takes them for a typing error.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::error::CliError;

/// Hidden from the help.
#[derive(Debug, Subcommand)]
pub enum Later {
    #[command(hide = true)]
    Stage(Anything),
    #[command(hide = true)]
    Promote(Anything),
    #[command(hide = true)]
    Canary(Anything),
    #[command(hide = true)]
    Maintenance(Anything),
    #[command(hide = true)]
    Observe(Anything),
    #[command(hide = true)]
    Init(Anything),
    #[command(hide = true)]
    Import(Anything),
    #[command(hide = true)]
    Load(Anything),
    #[command(hide = true)]
    Doctor(Anything),
    #[command(hide = true)]
    Install(Anything),
    #[command(hide = true)]
    Uninstall(Anything),
    #[command(hide = true)]
    Upgrade(Anything),
}

/// Whatever was typed behind it.
#[derive(Debug, Args)]
pub struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _rest: Vec<OsString>,
}

impl Later {
    /// `baton stage: not supported yet`.
    #[must_use]
    pub fn refuse(&self) -> CliError {
        let name = match self {
            Later::Stage(_) => "stage",
            Later::Promote(_) => "promote",
            Later::Canary(_) => "canary",
            Later::Maintenance(_) => "maintenance",
            Later::Observe(_) => "observe",
            Later::Init(_) => "init",
            Later::Import(_) => "import",
            Later::Load(_) => "load",
            Later::Doctor(_) => "doctor",
            Later::Install(_) => "install",
            Later::Uninstall(_) => "uninstall",
            Later::Upgrade(_) => "upgrade",
        };
        CliError::NotYet(format!("baton {name}"))
    }
}
