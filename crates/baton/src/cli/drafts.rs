//! `x-baton`s on their way into a compose file: for `init` and `import`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use baton_compose::glance::{self, Glance};
use baton_engine::whole_file;
use serde_json::{Value, json};

use super::Global;
use crate::error::CliError;
use crate::init::Draft;

/// What is to come into one file.
#[derive(Debug)]
pub(super) struct Drafts<'a> {
    file: &'a Path,
    drafts: &'a [Draft],
    /// The file with all of them.
    text: String,
}

impl<'a> Drafts<'a> {
    /// # Errors
    /// A service is written so that lines cannot be added to it; with the lines.
    pub(super) fn insert(glance: &'a Glance, drafts: &'a [Draft]) -> Result<Drafts<'a>, CliError> {
        let mut text = glance.text.clone();
        for draft in drafts {
            text = glance::insert(&text, &draft.service, &draft.lines).ok_or_else(|| {
                CliError::Usage(format!(
                    "{}: services.{} is not written as a block of lines; add this to it by hand:\n{}",
                    glance.file.display(),
                    draft.service,
                    draft.lines.trim_end()
                ))
            })?;
        }
        Ok(Drafts {
            file: &glance.file,
            drafts,
            text,
        })
    }

    /// Changes the compose file: whole or not at all, with the permissions it had.
    pub(super) fn write(&self) -> Result<(), CliError> {
        let failed = |error: std::io::Error| CliError::other(self.file.display(), error);
        // What a link leads to is changed, not the link.
        let file = self.file.canonicalize().map_err(failed)?;
        let permissions = std::fs::metadata(&file).map_err(failed)?.permissions();
        whole_file::write(&file, self.text.as_bytes(), permissions.mode() & 0o7777).map_err(failed)
    }

    pub(super) fn show(&self, global: &Global, written: bool) -> Result<(), CliError> {
        let out = global.out();
        for draft in self.drafts {
            let verb = if written { "has" } else { "would get" };
            out.text(&format!("services.{} {verb}", draft.service))?;
            for line in draft.lines.lines() {
                out.text(&format!("  {}", out.paint.green(&format!("+ {line}"))))?;
            }
            for remark in &draft.remarks {
                out.text(&format!("{} {remark}", out.paint.yellow("!")))?;
            }
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Vec<Value> {
        let one = |draft: &Draft| json!({"service": draft.service, "x_baton": draft.lines, "remarks": draft.remarks});
        self.drafts.iter().map(one).collect()
    }
}
