//! The new process: takes what the old one gives.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::link::Link;
use super::listeners::{Inherited, OfferedListener};
use super::{FromNew, FromOld, Hello, Offer, PROTOCOL};
use crate::daemon::settings::Settings;
use crate::error::CliError;

/// The link to the old process is this one's standard input.
#[derive(Debug)]
pub struct Heir {
    link: Link,
    pub offer: Offer,
    pub listeners: Inherited,
    /// Where the old process writes its log. Until this one accepts, the old one reads what it writes, for
    /// whoever asked for the upgrade.
    log: OwnedFd,
}

impl Heir {
    /// Says hello, and is told what there is.
    ///
    /// # Errors
    /// Nobody is there: it was not `baton upgrade` that started this.
    pub fn greet() -> Result<Heir, CliError> {
        let refuse = |error: std::io::Error| {
            CliError::Other(format!(
                "cannot take over from a running daemon: {error}; only `baton upgrade` starts a daemon so"
            ))
        };
        let socket = std::io::stdin().as_fd().try_clone_to_owned();
        let mut link = Link::new(UnixStream::from(socket.map_err(refuse)?));
        link.send(&FromNew::Hello(Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: baton_deploy::DATABASE_VERSION,
        }))
        .map_err(refuse)?;
        let FromOld::Offer(offer) = link.receive().map_err(refuse)? else {
            return Err(refuse(std::io::ErrorKind::InvalidData.into()));
        };
        let count = offer.listeners.len();
        let mut sockets = link.receive_descriptors(count + 1).map_err(refuse)?;
        let log = sockets.pop();
        let log = log.ok_or_else(|| refuse(std::io::ErrorKind::UnexpectedEof.into()))?;
        let labels = offer.listeners.iter().cloned();
        let listeners = labels.zip(sockets).map(|(label, socket)| OfferedListener {
            label,
            socket: socket.into(),
        });
        Ok(Heir {
            link,
            listeners: Inherited::new(listeners.collect()),
            offer,
            log,
        })
    }

    /// Two daemons on one folder cannot be, nor one that nobody finds.
    ///
    /// # Errors
    /// The settings now name another data folder or socket.
    pub fn check(&self, settings: &Settings) -> Result<(), CliError> {
        for (what, now, then) in [
            ("data folder", &self.offer.data, &settings.data),
            ("control socket", &self.offer.socket, &settings.socket),
        ] {
            if now != then {
                return Err(CliError::Usage(format!(
                    "the {what} cannot change in an upgrade ({} → {}); stop the daemon and start it again for that",
                    now.display(),
                    then.display()
                )));
            }
        }
        Ok(())
    }

    /// Waits until the old process has let go of the state.
    ///
    /// # Errors
    /// It has ended, or thought better of it. Where nothing watches over the daemon, one that was killed
    /// is followed all the same: its listeners are here.
    pub fn wait(&mut self) -> Result<(), CliError> {
        let mut said = || -> std::io::Result<()> {
            self.link.send(&FromNew::Ready)?;
            match self.link.receive()? {
                FromOld::Go => Ok(()),
                FromOld::Offer(_) => Err(std::io::ErrorKind::InvalidData.into()),
            }
        };
        match said() {
            Err(_) if std::env::var_os("NOTIFY_SOCKET").is_none() => {
                tracing::warn!("the old process has gone before the handover; going on without it");
                Ok(())
            }
            result => result.map_err(|error| {
                CliError::other("the old daemon has gone before the handover", error)
            }),
        }
    }

    /// From *go* on it is the new process that asks. What this one writes goes where the old one's log
    /// does, once `accepting` is called.
    #[must_use]
    pub fn into_parts(self) -> (UnixStream, Log) {
        (self.link.into_inner(), Log(self.log))
    }
}

/// See [`Heir::into_parts`].
#[derive(Debug)]
pub struct Log(OwnedFd);

impl Log {
    /// Writes there from now on.
    pub fn begin(self) {
        if let Err(error) = rustix::stdio::dup2_stderr(&self.0) {
            tracing::error!(%error, "this log ends with the old process");
        }
    }
}
