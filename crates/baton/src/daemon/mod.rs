//! `baton serve`: one process, two planes that do not wait for each other.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | flag, environment, file, default → what the daemon is started with |
//! | [`log`] | the log on standard error |
//! | [`start`] | what a process has before it is the daemon |
//! | [`lock`] | one daemon a data folder |
//! | [`socket`], [`activation`] | the control socket; sockets that systemd listens on |
//! | [`sides`], [`dashboard`] | metrics, and the status page with the API over TCP |
//! | [`engines`] | docker and process, whichever this machine has |
//! | [`router`] | what carries traffic |
//! | [`reign`] | the control plane and its API, while this process is the daemon |
//! | [`handover`], [`upgrades`] | from one process to the next; who asks for it |
//! | [`parting`] | the old process's part of it |
//! | [`ending`] | finishing what is in flight |
//! | [`reload`] | SIGHUP |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP |
//! | [`systemd`] | what systemd hears of it |

mod activation;
pub mod dashboard;
mod ending;
mod engines;
pub mod handover;
mod lock;
mod log;
mod parting;
mod reign;
mod reload;
mod router;
pub mod settings;
mod sides;
mod signals;
mod socket;
mod start;
mod systemd;
pub mod upgrades;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use baton_deploy::router::succession::Succession;
use baton_deploy::telling::Listener;
use baton_proxy::Proxy;
use futures_util::FutureExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use self::handover::fault;
use self::handover::giver::Candidate;
use self::handover::heir::Log;
use self::lock::Lock;
use self::reign::{Parts, Reign};
use self::router::Carrier;
use self::settings::{Machine, Settings, Typed};
use self::sides::Sides;
use self::signals::{Asked, Signals};
use self::socket::Socket;
use self::start::Start;
use self::upgrades::{Request, Upgrades};
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
    start::raise_file_limit();
    let start = if take_over {
        start::take_from_the_old(&mut settings)?
    } else {
        start::take_from_the_machine(&settings)?
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
                    systemd::stopping();
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
                        systemd::reloading();
                        reload::all(&self.source, &mut self.settings, &self.proxy, &self.carrier).await;
                        if let Some(writer) = &self.writer {
                            writer.reopen();
                        }
                        if let Some(tls) = &self.sides.tls {
                            tls.reload();
                        }
                        systemd::ready();
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
        systemd::serving();
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
