//! `baton completions`.

use clap::Args;
use clap_complete::Shell;

use crate::error::CliError;

/// Prints the completions of a shell, e.g. for bash:
/// `baton completions bash > /etc/bash_completion.d/baton`
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<(), CliError> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::tree(), "baton", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script)
            .map_err(|_| CliError::OutputClosed)
    }
}
