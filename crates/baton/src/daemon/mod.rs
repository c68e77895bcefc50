//! `baton serve`: one process, two planes that do not wait for each other.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | flag, environment, file, default → what the daemon is started with |
//! | [`log`] | the log on standard error |
//! | [`lock`] | one daemon a data folder |
//! | [`socket`], [`activation`] | the control socket; sockets that systemd listens on |
//! | [`sides`], [`dashboard`] | metrics, and the status page with the API over TCP |
//! | [`engines`] | docker and process, whichever this machine has |
//! | [`router`] | what carries traffic |
//! | [`reign`] | the control plane and its API, while this process is the daemon |
//! | [`handover`], [`upgrades`] | from one process to the next; who asks for it |
//! | [`ending`] | finishing what is in flight |
//! | [`reload`] | SIGHUP |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP |

mod activation;
pub mod dashboard;
mod ending;
mod engines;
pub mod handover;
mod lock;
mod log;
mod reign;
mod reload;
mod router;
pub mod settings;
mod sides;
mod signals;
mod socket;
pub mod upgrades;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_deploy::router::Router;
use baton_deploy::router::succession::{Succession, Successor};
use baton_deploy::telling::Listener;
use baton_proxy::{AccessLog, InheritedListener, Proxy};
use futures_util::FutureExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use self::handover::giver::Candidate;
use self::handover::heir::{Heir, Log};
use self::handover::listeners::{CONTROL, Inherited, Label, OfferedListener};
use self::handover::{Offer, fault};
use self::lock::Lock;
use self::reign::{Parts, Reign};
use self::router::Carrier;
use self::settings::{Machine, Settings, Typed};
use self::sides::Sides;
use self::signals::{Asked, Signals};
use self::socket::Socket;
use self::upgrades::{Refused, Request, Upgrades};
use crate::access_log;
use crate::acme::Acme;
use crate::api::Api;
use crate::api::door::Names;
use crate::error::CliError;
use crate::metrics::{self, deploys::Deploys};
use crate::notify::Team;
use crate::wire::{DaemonInfo, UpgradeAccepted, UpgradeFailed};

/// How long connections wait for the live colors to be published after a start. An engine that does not
/// answer is given up after 5 s, and its apps are served where they were last.
const PUBLISHED: Duration = Duration::from_secs(6);
/// How long a new process may take to open the state and to accept.
const ACCEPTING: Duration = Duration::from_secs(20);
/// How soon a state that could not be opened again after a failed upgrade is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the data folder may still be held by a process that has ended.
const LET_GO: Duration = Duration::from_secs(5);

/// What was typed, to be read again on SIGHUP.
#[derive(Debug, Clone)]
struct Source {
    typed: Typed,
    config: Option<PathBuf>,
}

impl Source {
    fn resolve(&self) -> Result<Settings, CliError> {
        settings::resolve(self.typed.clone(), self.config.as_deref(), &Machine::this())
    }
}

/// Runs until SIGTERM, or until another process has taken over. `take_over`: that is what this one is to
/// do.
///
/// # Errors
/// The settings are wrong (exit 2); a port, the data folder or the socket is taken.
pub fn run(typed: Typed, config: Option<&Path>, take_over: bool) -> Result<(), CliError> {
    let source = Source {
        typed,
        config: config.map(Path::to_owned),
    };
    let mut settings = source.resolve()?;
    log::start(settings.log.as_deref());
    raise_file_limit();
    let start = if take_over {
        take_from_the_old(&mut settings)?
    } else {
        take_from_the_machine(&settings)?
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::other("cannot start a runtime", error))?;
    runtime.block_on(async {
        let daemon = Daemon::new(source, settings, start).await?;
        daemon.live().await
    })
}

/// What a process begins with.
struct Start {
    proxy: Arc<Proxy>,
    /// Held until the very end: the next daemon may start only when this one does nothing any more.
    lock: Lock,
    /// One that is there already.
    socket: Option<Socket>,
    sides: Sides,
    writer: Option<access_log::Writer>,
    before: Option<Before>,
}

/// The process that this one takes over from.
struct Before {
    link: std::os::unix::net::UnixStream,
    log: Log,
    session: String,
    pids: Vec<u32>,
}

fn take_from_the_machine(settings: &Settings) -> Result<Start, CliError> {
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

fn take_from_the_old(settings: &mut Settings) -> Result<Start, CliError> {
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

/// A control socket that goes with the daemon, and one that systemd looks after.
const OWNED: &str = "owned";
const LENT: &str = "lent";

/// Each proxied connection is two open files, and the usual soft limit of 1024 is there for programs
/// that use `select`, which this one does not.
fn raise_file_limit() {
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

/// One process of the daemon, from its start to the end of its last connection.
struct Daemon {
    source: Source,
    settings: Settings,
    proxy: Arc<Proxy>,
    carrier: Carrier,
    router: Arc<Succession>,
    /// What the router's figures are counted in.
    session: Option<String>,
    /// Processes that this one, and those before it, have taken over from.
    before: Vec<u32>,
    lock: Option<Lock>,
    socket: Option<Socket>,
    sides: Sides,
    writer: Option<access_log::Writer>,
    /// Deploys by outcome, since the process began.
    deploys: Arc<Deploys>,
    /// Where to write the log, once this process is the daemon.
    log: Option<Log>,
    upgrades: Upgrades,
    requests: mpsc::Receiver<Request>,
    signals: Signals,
}

/// Why a reign is over.
enum Over {
    Stop,
    HandOver(Box<Candidate>, Duration),
}

impl Daemon {
    async fn new(source: Source, settings: Settings, start: Start) -> Result<Daemon, CliError> {
        let signals = Signals::new()?;
        let carrier = Carrier::start(&settings.router, &start.proxy)?;
        let own = carrier.router();
        let (router, session, log, before) = match start.before {
            None => (Succession::first(own), None, None, Vec::new()),
            Some(before) => {
                let link = asynchronous(before.link)?;
                let router = Succession::after(own, link).await;
                (router, Some(before.session), Some(before.log), before.pids)
            }
        };
        let (upgrades, requests) = Upgrades::new();
        Ok(Daemon {
            source,
            settings,
            proxy: start.proxy,
            carrier,
            router: Arc::new(router),
            session,
            before,
            lock: Some(start.lock),
            socket: start.socket,
            sides: start.sides,
            writer: start.writer,
            deploys: Arc::default(),
            log,
            upgrades,
            requests,
            signals,
        })
    }

    /// Until SIGTERM, or as long as connections last after another process has taken over.
    async fn live(mut self) -> Result<(), CliError> {
        loop {
            let mut reign = match self.begin().await {
                Ok(reign) => reign,
                Err(error) if self.session.is_some() && self.log.is_none() => {
                    tracing::error!(%error, "traffic is served, and nothing else; trying again");
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => continue,
                        () = stopped(&mut self.signals) => return self.stop().await,
                    }
                }
                Err(error) => return Err(error),
            };
            match self.until_over(&mut reign).await {
                Over::Stop => {
                    tell(&[NotifyState::Stopping]);
                    // Goes away first of all: commands then wait for the next daemon.
                    self.socket = None;
                    reign.end().await;
                    return self.stop().await;
                }
                Over::HandOver(candidate, drain) => {
                    self.session = Some(reign.control.session().to_owned());
                    reign.end().await;
                    let pid = candidate.pid();
                    match self.hand_over(*candidate).await {
                        Ok(successor) => return self.finish(successor, drain).await,
                        Err(message) => {
                            tracing::error!("the upgrade failed, this process goes on: {message}");
                            self.upgrades.set_failed(UpgradeFailed { pid, message });
                        }
                    }
                }
            }
        }
    }

    async fn stop(mut self) -> Result<(), CliError> {
        tracing::info!("stopping: requests in flight may end, instances keep running");
        ending::now(&self.proxy, self.carrier.embedded(), &mut self.signals).await;
        self.last_lines();
        Ok(())
    }

    /// Opens the state, publishes what is live, accepts, and answers commands.
    async fn begin(&mut self) -> Result<Reign, CliError> {
        let first = self.log.is_none() && self.session.is_none();
        // Where an older process serves meanwhile nobody waits.
        let in_time = first.then(|| tokio::spawn(open_in_time(Arc::clone(&self.proxy))));
        // Before anything is published: what is kept is served from the first handshake on.
        let acme = self.acme()?;
        let team = Arc::new(Team::default());
        let reign = Reign::begin(Parts {
            data: self.settings.data.clone(),
            router: Arc::clone(&self.router) as _,
            session: self.session.clone(),
            before: self.before.clone(),
            certificates: acme.clone().map(|acme| acme as _),
            listeners: vec![
                Arc::clone(&self.deploys) as Arc<dyn Listener>,
                Arc::clone(&team) as _,
            ],
        });
        let reign = reign.await;
        if let Some(in_time) = in_time {
            in_time.abort();
        }
        let mut reign = reign?;
        if self.log.is_some() {
            fault::at("new:open");
        }
        self.router.lead().await;
        self.proxy.open();
        if let Some(log) = self.log.take() {
            log.begin();
            self.router.accepting().await;
            fault::at("new:accepting");
        }
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => socket::bind(&self.settings.socket)?,
        };
        let api = Api::new(
            Arc::clone(&reign.control),
            self.info(),
            self.upgrades.clone(),
        );
        if let Some(acme) = acme {
            reign.runtime().spawn(acme.keep());
        }
        self.answer_beside(&reign, &api, team)?;
        reign.answer(&socket, api)?;
        self.socket = Some(socket);
        self.announce();
        Ok(reign)
    }

    fn acme(&self) -> Result<Option<Arc<Acme>>, CliError> {
        let (Some(acme), Some(router)) = (self.settings.acme.clone(), self.carrier.embedded())
        else {
            return Ok(None);
        };
        Acme::open(acme, &self.settings.data, &self.proxy, router).map(Some)
    }

    /// Metrics, and the status page with the API over TCP.
    fn answer_beside(&self, reign: &Reign, api: &Api, team: Arc<Team>) -> Result<(), CliError> {
        let _entered = reign.runtime().enter();
        if let Some(router) = self.carrier.embedded() {
            for listener in self.sides.metrics()? {
                let log = self.writer.as_ref().map(access_log::Writer::counts);
                let sources = metrics::Sources {
                    control: Arc::clone(&reign.control),
                    router: Arc::clone(router),
                    deploys: Arc::clone(&self.deploys),
                    team: Arc::clone(&team),
                    log: log.unwrap_or_default(),
                };
                tokio::spawn(metrics::serve(listener, sources));
            }
        }
        let names = Names::new(&self.settings.dashboard.names);
        let router = api.clone().on_network(names);
        dashboard::serve(self.sides.dashboard()?, self.sides.tls.as_ref(), &router);
        Ok(())
    }

    /// Of the access log.
    fn last_lines(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.finish();
        }
    }

    async fn until_over(&mut self, reign: &mut Reign) -> Over {
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Stop => return Over::Stop,
                    Asked::Reload => {
                        tell(&reloading());
                        reload::all(&self.source, &mut self.settings, &self.proxy, &self.carrier).await;
                        if let Some(writer) = &self.writer {
                            writer.reopen();
                        }
                        if let Some(tls) = &self.sides.tls {
                            tls.reload();
                        }
                        tell(&[NotifyState::Ready]);
                    }
                },
                Some(request) = self.requests.recv() => {
                    let (drain, answer) = (request.drain, request.answer);
                    let prepared = self.prepare(&request.binary, reign).await;
                    if self.signals.next().now_or_never() == Some(Asked::Stop) {
                        return Over::Stop;
                    }
                    match prepared {
                        Ok(candidate) => {
                            let accepted = UpgradeAccepted {
                                pid: candidate.pid(),
                                version: candidate.hello.version.clone(),
                                old_pid: std::process::id(),
                                old_version: env!("CARGO_PKG_VERSION").to_owned(),
                            };
                            // A command that has gone away changes nothing any more.
                            let _ = answer.send(Ok(accepted));
                            fault::at("old:ready");
                            return Over::HandOver(Box::new(candidate), drain);
                        }
                        Err(refused) => drop(answer.send(Err(refused))),
                    }
                }
            }
        }
    }

    /// Starts the new process and waits until it is ready; nothing has changed when that fails.
    async fn prepare(&self, binary: &Path, reign: &Reign) -> Result<Candidate, Refused> {
        reign.control.freeze().map_err(|error| Refused {
            message: error.to_string(),
            exit_code: error.exit_code() as u8,
        })?;
        let listeners = self.offered();
        let offer = Offer::new(&self.settings, reign.control.session(), &self.before);
        let binary = binary.to_owned();
        let started =
            tokio::task::spawn_blocking(move || Candidate::start(&binary, offer, &listeners)).await;
        let started = started.unwrap_or_else(|error| Err(error.to_string()));
        started.map_err(|message| {
            reign.control.thaw();
            Refused {
                message: format!("{message}\n  this daemon goes on as it was"),
                exit_code: baton_deploy::outcome::ExitCode::Error as u8,
            }
        })
    }

    /// Everything that is listened on.
    fn offered(&self) -> Vec<OfferedListener> {
        let mut all = handover::listeners::of_proxy(&self.proxy, &self.settings);
        all.extend(self.socket.iter().map(|socket| OfferedListener {
            label: Label {
                name: CONTROL.to_owned(),
                asked: if socket.is_owned() { OWNED } else { LENT }.to_owned(),
            },
            socket: socket.descriptor(),
        }));
        all.extend(self.sides.offered());
        all
    }

    /// The state is closed: the new process opens it and accepts. `Err`: it did not, and this one goes on.
    async fn hand_over(&mut self, mut candidate: Candidate) -> Result<Successor, String> {
        let kept = handover::state::keep(&self.settings.data, candidate.hello.database);
        self.lock = None;
        fault::at("old:closed");
        let gone = "it ended before it accepted";
        let result = match candidate.go().and_then(UnixStream::from_std) {
            Ok(link) => {
                fault::at("old:go");
                let router = Arc::clone(&self.router) as Arc<dyn Router>;
                let mut successor = Successor::serve(link, router);
                let accepting = tokio::time::timeout(ACCEPTING, successor.accepting()).await;
                match accepting {
                    Ok(true) => Ok(successor),
                    Ok(false) => Err(gone.to_owned()),
                    Err(_) => Err(format!(
                        "it did not accept within {} s",
                        ACCEPTING.as_secs()
                    )),
                }
            }
            Err(_) => Err(gone.to_owned()),
        };
        match result {
            Ok(successor) => {
                // Out of epoll, then closed: everyone who comes from here on meets the new process.
                fault::at("old:accepting");
                self.proxy.retire();
                successor.retired();
                if let Some(socket) = self.socket.take() {
                    socket.give_away();
                }
                self.sides = Sides::default();
                handover::state::forget(kept);
                tracing::info!(
                    pid = candidate.pid(),
                    "handed over; finishing what is in flight"
                );
                candidate.let_go();
                Ok(successor)
            }
            Err(why) => {
                let failed = tokio::task::spawn_blocking(move || candidate.fail(&why)).await;
                let message = failed.unwrap_or_else(|error| error.to_string());
                self.lock = lock::take_within(&self.settings.data, LET_GO)
                    .inspect_err(|error| tracing::error!(%error, "the data folder"))
                    .ok();
                handover::state::restore(kept);
                self.router.hold().await;
                Err(message)
            }
        }
    }

    /// What is in flight ends here, while the new process decides where it goes.
    async fn finish(mut self, mut successor: Successor, drain: Duration) -> Result<(), CliError> {
        let finished = async {
            self.proxy.ended().await;
            // Older processes hear through this one.
            self.router.alone().await;
        };
        tokio::select! {
            () = finished => {
                self.last_lines();
                successor.last_word().await;
                tracing::info!("all that this process had has ended");
                return Ok(());
            }
            () = tokio::time::sleep(drain) => {
                tracing::warn!("{} s are over; what is left is ended", drain.as_secs());
            }
            () = successor.gone() => {
                tracing::warn!("the new daemon has gone: what is left here is ended");
            }
            () = stopped(&mut self.signals) => {}
        }
        ending::now(&self.proxy, self.carrier.embedded(), &mut self.signals).await;
        self.last_lines();
        successor.last_word().await;
        Ok(())
    }

    fn info(&self) -> DaemonInfo {
        DaemonInfo {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            http: self.proxy.http_addrs().to_vec(),
            https: self.proxy.https_addrs().to_vec(),
            dashboard: self.sides.dashboard_addresses(),
            upgrade_failed: None,
        }
    }

    fn announce(&self) {
        let list = |addresses: &[std::net::SocketAddr]| {
            let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            list.join(", ")
        };
        tracing::info!(
            http = list(self.proxy.http_addrs()),
            https = list(self.proxy.https_addrs()),
            dashboard = list(&self.sides.dashboard_addresses()),
            socket = %self.settings.socket.display(),
            data = %self.settings.data.display(),
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        // After an upgrade it is another process that systemd has to watch.
        tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    }
}

fn asynchronous(link: std::os::unix::net::UnixStream) -> Result<UnixStream, CliError> {
    let made = link
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(link));
    made.map_err(|error| CliError::other("the link to the old process", error))
}

/// Waits until the process is asked to stop. Cancel safe.
async fn stopped(signals: &mut Signals) {
    while signals.next().await != Asked::Stop {}
}

/// An engine that hangs holds its own apps up, not those that are known.
async fn open_in_time(proxy: Arc<Proxy>) {
    tokio::time::sleep(PUBLISHED).await;
    tracing::warn!("not everything that is live is known yet; serving what is");
    proxy.open();
}

/// systemd wants to know when the reload began.
fn reloading() -> Vec<NotifyState<'static>> {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now());
    state
}

/// Tells systemd, where it started us.
fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
