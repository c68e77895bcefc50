//! What a process has before it is the daemon: from the machine, or from the process before it.

use std::sync::Arc;

use baton_proxy::{AccessLog, InheritedListener, Proxy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::handover::fault;
use super::handover::heir::{Heir, Log};
use super::handover::listeners::{CONTROL, Inherited};
use super::lock::{self, Lock};
use super::settings::Settings;
use super::sides::Sides;
use super::socket::Socket;
use super::{LET_GO, activation};
use crate::access_log;
use crate::error::CliError;

/// A control socket that goes with the daemon, and one that systemd looks after.
pub(super) const OWNED: &str = "owned";
pub(super) const LENT: &str = "lent";

/// What a process begins with.
pub(super) struct Start {
    pub(super) proxy: Arc<Proxy>,
    /// Held until the very end: the next daemon may start only when this one does nothing any more.
    pub(super) lock: Lock,
    /// One that is there already.
    pub(super) socket: Option<Socket>,
    pub(super) sides: Sides,
    pub(super) writer: Option<access_log::Writer>,
    pub(super) before: Option<Before>,
}

/// The process that this one takes over from.
pub(super) struct Before {
    pub(super) link: std::os::unix::net::UnixStream,
    pub(super) log: Log,
    pub(super) session: String,
    pub(super) pids: Vec<u32>,
}

/// # Errors
/// The data folder is another daemon's, or something that it listens on is taken.
pub(super) fn take_from_the_machine(settings: &Settings) -> Result<Start, CliError> {
    let lock = lock::take(&settings.data)?;
    let given = activation::take(settings)?;
    let socket = given
        .control
        .map(|descriptor| Socket::inherited(&settings.socket, descriptor, false));
    // Bound before anything is served: an address that is taken ends the start.
    let sides = Sides::bind(settings, &mut Inherited::default())?;
    let (writer, log) = start_access_log(settings)?;
    Ok(Start {
        proxy: start_proxy(settings, given.proxy, log)?,
        lock,
        socket,
        sides,
        writer,
        before: None,
    })
}

/// Listeners and all: returns once the old process has let go of the state.
///
/// # Errors
/// The settings do not go with those of the old process, or it has gone.
pub(super) fn take_from_the_old(settings: &mut Settings) -> Result<Start, CliError> {
    fault::at("new:start");
    let mut heir = Heir::greet()?;
    fault::at("new:offer");
    heir.check(settings)?;
    let inherited = heir.listeners.of_proxy(settings);
    let control = heir.listeners.take(CONTROL).pop();
    let socket = control.map(|one| {
        let owned = one.label.asked == OWNED;
        Socket::inherited(&settings.socket, one.socket, owned)
    });
    let sides = Sides::bind(settings, &mut heir.listeners)?;
    let (writer, log) = start_access_log(settings)?;
    let proxy = start_proxy(settings, inherited, log)?;
    heir.wait()?;
    fault::at("new:go");
    let lock = lock::take_within(&settings.data, LET_GO)?;
    let (session, pids) = (heir.offer.session.clone(), heir.offer.pids.clone());
    let (link, log) = heir.into_parts();
    let before = Before {
        link,
        log,
        session,
        pids,
    };
    Ok(Start {
        proxy,
        lock,
        socket,
        sides,
        writer,
        before: Some(before),
    })
}

/// Each proxied connection is two open files, and the usual soft limit of 1024 is there for programs
/// that use `select`, which this one does not.
pub(super) fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

fn start_access_log(
    settings: &Settings,
) -> Result<(Option<access_log::Writer>, Option<AccessLog>), CliError> {
    let Some(wanted) = &settings.access_log else {
        return Ok((None, None));
    };
    access_log::Writer::start(wanted).map(|(writer, log)| (Some(writer), Some(log)))
}

/// Its workers have threads and runtimes of their own. Nothing is accepted before the live colors are
/// published: a client that comes right after a restart waits a moment instead of hearing 404.
fn start_proxy(
    settings: &Settings,
    inherited: Vec<InheritedListener>,
    access_log: Option<AccessLog>,
) -> Result<Arc<Proxy>, CliError> {
    let started = Proxy::start_closed(baton_proxy::Settings {
        http: settings.http.clone(),
        https: settings.https.clone(),
        workers: settings.workers,
        trusted_proxies: settings.trusted_proxies.clone(),
        inherited,
        access_log,
        ..baton_proxy::Settings::default()
    });
    started.map_err(|error| CliError::Other(error.to_string()))
}
