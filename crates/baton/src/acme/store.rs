//! What is kept in the data folder: the account and the certificates with their keys, readable by the
//! daemon alone, each authority's in a folder of its own.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_engine::whole_file;
use baton_proxy::Certificate;

use crate::error::CliError;

const ACCOUNT: &str = "account.json";
const CERTIFICATES: &str = "certificates";

#[derive(Debug)]
pub(super) struct Store(PathBuf);

impl Store {
    /// The folder of one authority, which its directory's URL names.
    pub(super) fn open(data: &Path, directory: &str) -> Result<Store, CliError> {
        let name = directory.strip_prefix("https://").unwrap_or(directory);
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
        let folder = data.join("acme").join(name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder.join(CERTIFICATES))
            .map_err(|error| CliError::other(folder.display(), error))?;
        Ok(Store(folder))
    }

    /// Those that are valid, by host. One that is not is passed over: another will be got.
    pub(super) fn certificates(&self) -> Result<Vec<(String, Arc<Certificate>)>, CliError> {
        let folder = self.0.join(CERTIFICATES);
        let failed = |error| CliError::other(folder.display(), error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(host) = name.and_then(|name| name.strip_suffix(".pem")) else {
                continue;
            };
            let pem = std::fs::read(&path).map_err(|error| error.to_string());
            match pem.and_then(|pem| Certificate::from_pem(&pem)) {
                Ok(certificate) => found.push((host.to_owned(), certificate)),
                Err(reason) => tracing::warn!("{}: {reason}", path.display()),
            }
        }
        Ok(found)
    }

    /// Chain and key in one file, so that no moment has one without the other.
    pub(super) fn keep(&self, host: &str, pem: &str) -> std::io::Result<()> {
        self.write(&format!("{CERTIFICATES}/{host}.pem"), pem.as_bytes())
    }

    /// None: there is none, or it cannot be read.
    pub(super) fn account(&self) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(ACCOUNT)).ok()
    }

    pub(super) fn keep_account(&self, json: &[u8]) -> std::io::Result<()> {
        self.write(ACCOUNT, json)
    }

    pub(super) fn forget_account(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.0.join(ACCOUNT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whole or not at all, also when the power fails.
    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        whole_file::write(&self.0.join(name), bytes, 0o600)
    }
}
