//! Sockets that systemd listens on for the daemon (`LISTEN_FDS`): a start then refuses nobody, and none of
//! its own ports needs a privilege. Each is known by its address.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use baton_proxy::{InheritedListener, ListenerProtocol};
use listenfd::ListenFd;

use super::settings::Settings;
use crate::error::CliError;

/// What systemd gave.
#[derive(Debug, Default)]
pub struct Activated {
    pub proxy: Vec<InheritedListener>,
    pub control: Option<Arc<OwnedFd>>,
}

/// Takes what this process was started with; nothing, mostly.
///
/// # Errors
/// A socket that no setting names: its clients would wait for ever.
pub fn take(settings: &Settings) -> Result<Activated, CliError> {
    let mut given = ListenFd::from_env();
    let mut taken = Activated::default();
    for index in 0..given.len() {
        if let Ok(Some(listener)) = given.take_tcp_listener(index) {
            taken.proxy.push(of_proxy(listener, settings)?);
        } else if let Ok(Some(listener)) = given.take_unix_listener(index) {
            let path = listener.local_addr().ok();
            let path = path.and_then(|path| path.as_pathname().map(Path::to_owned));
            if path.as_deref() != Some(&settings.socket) {
                return Err(unknown(&place(path)));
            }
            taken.control = Some(Arc::new(listener.into()));
        } else {
            return Err(unknown(&format!(
                "descriptor {}, which is no listening stream socket",
                index + 3
            )));
        }
    }
    Ok(taken)
}

fn of_proxy(listener: TcpListener, settings: &Settings) -> Result<InheritedListener, CliError> {
    let address = listener
        .local_addr()
        .map_err(|error| CliError::other("a socket that was passed", error))?;
    let named = |list: &[SocketAddr]| list.contains(&address);
    let protocol = match (named(&settings.http), named(&settings.https)) {
        (true, _) => ListenerProtocol::Http,
        (_, true) => ListenerProtocol::Https,
        _ => return Err(unknown(&address.to_string())),
    };
    Ok(InheritedListener {
        protocol,
        socket: Arc::new(listener.into()),
    })
}

fn place(path: Option<PathBuf>) -> String {
    path.map_or_else(
        || "a socket without a path".to_owned(),
        |path| path.display().to_string(),
    )
}

fn unknown(what: &str) -> CliError {
    CliError::Usage(format!(
        "systemd passed {what}, which neither --http nor --https nor --socket names\n  \
         give `ListenStream=` of the socket unit and the daemon's settings the same addresses"
    ))
}
