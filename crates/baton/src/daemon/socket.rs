//! The control socket: who may connect, and no moment in which it is half made.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::UnixListener;

use crate::error::CliError;

/// Its members may use the daemon of this machine, where the group exists.
const GROUP: &str = "baton";

/// A bound socket that is removed with the daemon.
#[derive(Debug)]
pub struct Socket {
    /// Where it is; None for one that somebody else looks after.
    path: Option<PathBuf>,
    descriptor: Arc<OwnedFd>,
}

impl Socket {
    /// One that the process before this one has bound, or (`owned` false) systemd.
    #[must_use]
    pub fn inherited(path: &Path, descriptor: Arc<OwnedFd>, owned: bool) -> Socket {
        Socket {
            path: owned.then(|| path.to_owned()),
            descriptor,
        }
    }

    /// To accept from. Whoever connects between two of them waits in the queue, which is one.
    ///
    /// # Errors
    /// Out of files.
    pub fn listener(&self) -> std::io::Result<UnixListener> {
        let listener = std::os::unix::net::UnixListener::from(self.descriptor.try_clone()?);
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener)
    }

    /// For a process that takes over.
    #[must_use]
    pub fn descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Whether it goes with this daemon.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.path.is_some()
    }

    /// Another process has it now, and removes it one day.
    pub fn give_away(mut self) {
        self.path = None;
    }
}

/// Binds under a temporary name, sets mode 0660 and the group, then renames: whoever connects finds
/// a socket with its final rights or none. The data folder's lock is held, so a socket that is there
/// already belongs to nobody who lives.
///
/// # Errors
/// The folder cannot be made or written, or the path is too long for a socket (108 bytes).
pub fn bind(path: &Path) -> Result<Socket, CliError> {
    let at = |action: &str, error: &dyn std::fmt::Display| {
        CliError::Other(format!(
            "control socket {}: {action}: {error}\n  name another place with --socket or BATON_SOCKET",
            path.display()
        ))
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| at("cannot make its folder", &error))?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(at(
            "cannot take it",
            &"another daemon, with another data folder, answers there",
        ));
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(temporary);
    // What an earlier daemon of the same pid was killed over.
    let _ = std::fs::remove_file(&temporary);
    let listener = std::os::unix::net::UnixListener::bind(&temporary)
        .map_err(|error| at("cannot bind it", &error))?;
    let made = restrict(&temporary).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = made {
        let _ = std::fs::remove_file(&temporary);
        return Err(at("cannot give it its rights", &error));
    }
    Ok(Socket {
        path: Some(path.to_owned()),
        descriptor: Arc::new(listener.into()),
    })
}

fn restrict(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if let Some(group) = group_id(&groups, GROUP) {
        // Without root one may only give a file to a group one is in; then it stays with the own.
        if let Err(error) = std::os::unix::fs::chown(path, None, Some(group)) {
            tracing::debug!(%error, "the socket stays with its own group");
        }
    }
    Ok(())
}

/// The id of a group in the text of `/etc/group`. Read by hand: the static C library cannot load the
/// modules that its own look-up wants.
fn group_id(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name() {
        let groups = "root:x:0:\nbaton:x:990:alice,bob\n";
        assert_eq!(group_id(groups, "baton"), Some(990));
        assert_eq!(group_id(groups, "bat"), None);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/baton.sock");
        let socket = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let taken = bind(&path).unwrap_err().to_string();
        assert!(taken.contains("another daemon"), "{taken}");
        socket.give_away();
        assert!(path.exists());
        let socket = bind(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }
}
