//! What `baton install` puts on a machine, and `baton uninstall` takes away.
//!
//! | file | |
//! | --- | --- |
//! | `/usr/local/bin/baton` | this binary; one of a package stays in `/usr/bin` |
//! | `/etc/systemd/system/baton.service` | the unit, see [`unit`]; a package's is in `/lib/systemd/system` |
//! | `/etc/baton/baton.toml` | settings; written once, then the user's |
//! | group `baton` | may use the control socket |
//! | `/var/lib/baton` | state; made by systemd, kept by `uninstall` unless it is told to purge |

pub mod unit;

use std::path::{Path, PathBuf};
use std::process::Command;

use baton_engine::whole_file;

use crate::error::CliError;

/// Name of the unit.
pub const UNIT: &str = "baton.service";
/// Whose members may use the control socket.
const GROUP: &str = "baton";

/// Where the files go.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// `/`, or a folder that stands for it: then nothing is started.
    #[must_use]
    pub fn new(root: Option<&Path>) -> Place {
        Place {
            root: root.unwrap_or(Path::new("/")).to_owned(),
        }
    }

    /// Is it this very machine?
    #[must_use]
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.at("/usr/local/bin/baton")
    }

    #[must_use]
    pub fn unit(&self) -> PathBuf {
        self.at("/etc/systemd/system").join(UNIT)
    }

    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.at("/etc/baton/baton.toml")
    }

    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.at("/var/lib/baton")
    }

    /// A package's binary, which its package manager replaces.
    fn packaged(&self) -> PathBuf {
        self.at("/usr/bin/baton")
    }

    /// Puts this program there, unless it runs from an installed place already; returns where it is
    /// as seen from the machine that it is installed on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_binary(&self) -> Result<PathBuf, CliError> {
        let own =
            std::env::current_exe().map_err(|error| CliError::other("this program", error))?;
        if own == self.packaged() {
            return Ok("/usr/bin/baton".into());
        }
        let target = self.binary();
        if own != target {
            let bytes =
                std::fs::read(&own).map_err(|error| CliError::other(own.display(), error))?;
            write(&target, &bytes, 0o755)?;
        }
        Ok("/usr/local/bin/baton".into())
    }

    /// Writes the unit that starts `binary`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_unit(&self, binary: &Path) -> Result<(), CliError> {
        write(&self.unit(), unit::text(binary).as_bytes(), 0o644)
    }

    /// Writes the settings, once: later they are the user's.
    ///
    /// # Errors
    /// There are others already, or the file cannot be written.
    pub fn put_settings(&self, settings: &toml::Table) -> Result<(), CliError> {
        let file = self.settings();
        let text = settings.to_string();
        match std::fs::read_to_string(&file) {
            Ok(there) if settings.is_empty() || there == text => Ok(()),
            Ok(_) => Err(CliError::Usage(format!(
                "{} is there already and says something else\n  \
                 edit it, then `systemctl reload-or-restart baton`; or run this without settings to keep it",
                file.display()
            ))),
            Err(_) => write(&file, text.as_bytes(), 0o644),
        }
    }
}

/// Whole or not at all, also when the power fails.
fn write(file: &Path, content: &[u8], mode: u32) -> Result<(), CliError> {
    let failed = |error: std::io::Error| CliError::other(file.display(), error);
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(failed)?;
    whole_file::write(file, content, mode).map_err(failed)
}

/// Removes a file that may not be there; false when it was not.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(file: &Path) -> Result<bool, CliError> {
    match std::fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::other(file.display(), error)),
    }
}

/// Is it systemd that starts services on this machine?
#[must_use]
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// Does the unit run?
#[must_use]
pub fn is_active() -> bool {
    Command::new("systemctl")
        .args(["is-active", "--quiet", UNIT])
        .status()
        .is_ok_and(|status| status.success())
}

/// `systemctl …`.
///
/// # Errors
/// It failed; with what it said.
pub fn systemctl(arguments: &[&str]) -> Result<(), CliError> {
    run("systemctl", arguments)
}

/// Makes the group of the control socket, if there is none.
///
/// # Errors
/// It cannot be made.
pub fn make_group() -> Result<(), CliError> {
    let there = std::fs::read_to_string("/etc/group")
        .is_ok_and(|groups| groups.lines().any(|line| line.starts_with("baton:")));
    if there {
        return Ok(());
    }
    run("groupadd", &["--system", GROUP])
}

fn run(program: &str, arguments: &[&str]) -> Result<(), CliError> {
    let shown = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| CliError::other(&shown, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(CliError::Other(format!("{shown}: {}", said.trim())))
}
