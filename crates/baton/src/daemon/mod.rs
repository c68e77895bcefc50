//! `baton serve`: one process, two planes that do not wait for each other.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | flag, environment, file, default → what the daemon is started with |
//! | [`log`] | the log on standard error |
//! | [`lock`] | one daemon a data folder |
//! | [`socket`] | the control socket |
//! | [`dashboard`] | the status page and the API over TCP |
//! | [`engines`] | docker and process, whichever this machine has |
//! | [`router`] | what carries traffic |
//! | [`signals`] | SIGTERM, SIGINT, SIGHUP |

pub mod dashboard;
mod engines;
mod lock;
mod log;
mod router;
pub mod settings;
mod signals;
mod socket;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_deploy::ControlPlane;
use baton_deploy::telling::Listener;
use baton_proxy::{AccessLog, Proxy};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;

use self::dashboard::Dashboard;
use self::router::Carrier;
use self::settings::{Machine, Settings, Typed};
use self::signals::{Asked, Signals};
use crate::access_log;
use crate::acme::Acme;
use crate::api::Api;
use crate::api::door::Names;
use crate::api::peer::Peer;
use crate::error::CliError;
use crate::metrics::{self, deploys::Deploys};
use crate::notify::Team;
use crate::wire::DaemonInfo;

/// How long requests in flight may take to end after SIGTERM, before they are cut. Nothing is accepted
/// meanwhile, so this is also the longest that a restart keeps new clients out.
const GRACE: Duration = Duration::from_secs(10);
/// How long connections wait for the live colors to be published after a start. An engine that does not
/// answer is given up after 5 s, and its apps are served where they were last.
const PUBLISHED: Duration = Duration::from_secs(6);
/// How long a step that blocks (the database) may hold up the end of the control plane.
const CONTROL_ENDS: Duration = Duration::from_secs(2);
/// Threads of the control plane: two, so that one that blocks in the database stops nothing.
const CONTROL_THREADS: usize = 2;

/// Runs until SIGTERM.
///
/// # Errors
/// The settings are wrong (exit 2); a port, the data folder or the socket is taken.
pub fn run(typed: Typed, config: Option<&Path>) -> Result<(), CliError> {
    let settings = settings::resolve(typed, config, &Machine::this())?;
    log::start();
    // Held until the very end: the next daemon may start only when this one does nothing any more.
    let _lock = lock::take(&settings.data)?;
    raise_file_limit();
    let (mut writer, log) = match &settings.access_log {
        Some(wanted) => access_log::Writer::start(wanted).map(|(w, log)| (Some(w), Some(log)))?,
        None => (None, None),
    };
    let proxy = start_proxy(&settings, log)?;
    let control = runtime(CONTROL_THREADS, "baton-control")?;
    let result = control.block_on(serve(settings, &proxy, writer.as_ref()));
    // The control plane ends first, as if it were killed: the next one takes up what it was doing,
    // from the journal. Commands lose their connection and wait for that.
    control.shutdown_timeout(CONTROL_ENDS);
    runtime(1, "baton-stop")?.block_on(stop(&proxy))?;
    if let Some(writer) = &mut writer {
        writer.finish();
    }
    result
}

fn runtime(threads: usize, name: &str) -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| CliError::other("cannot start a runtime", error))
}

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

/// Its workers have threads and runtimes of their own. Nothing is accepted before the live colors are
/// published: a client that comes right after a restart waits a moment instead of hearing 404.
fn start_proxy(settings: &Settings, access_log: Option<AccessLog>) -> Result<Arc<Proxy>, CliError> {
    let started = Proxy::start_closed(baton_proxy::Settings {
        http: settings.http.clone(),
        https: settings.https.clone(),
        workers: settings.workers,
        trusted_proxies: settings.trusted_proxies.clone(),
        access_log,
        ..baton_proxy::Settings::default()
    });
    started.map_err(|error| CliError::Other(error.to_string()))
}

/// The control plane and its API, until the daemon is asked to stop.
async fn serve(
    settings: Settings,
    proxy: &Arc<Proxy>,
    writer: Option<&access_log::Writer>,
) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let carrier = Carrier::start(&settings.router, proxy)?;
    // Before anything is published: what is kept is served from the first handshake on.
    let acme = match (settings.acme.clone(), carrier.embedded()) {
        (Some(acme), Some(router)) => Some(Acme::open(acme, &settings.data, proxy, router)?),
        _ => None,
    };
    let in_time = tokio::spawn(open_in_time(Arc::clone(proxy)));
    // Bound before anything is served: an address that is taken ends the start.
    let scraped = metrics::bind(settings.metrics).await?;
    let dashboard = Dashboard::bind(&settings.dashboard).await?;
    let deploys = Arc::new(Deploys::default());
    let parts = baton_deploy::control::Settings {
        data: settings.data.clone(),
        engines: engines::all(&settings.data)?,
        router: carrier.router(),
        certificates: acme.clone().map(|acme| acme as _),
    };
    let team = Arc::new(Team::default());
    let listeners: Vec<Arc<dyn Listener>> = vec![Arc::clone(&deploys) as _, Arc::clone(&team) as _];
    let control = ControlPlane::open_heard(parts, listeners)
        .await
        .map_err(|error| CliError::Other(error.to_string()))?;
    in_time.abort();
    proxy.open();
    if let Some(acme) = acme {
        tokio::spawn(acme.keep());
    }
    // Goes away first of all: commands then wait for the next daemon.
    let (listener, _socket) = socket::bind(&settings.socket)?;
    if let (Some(listener), Some(router)) = (scraped, carrier.embedded()) {
        let sources = metrics::Sources {
            control: Arc::clone(&control),
            router: Arc::clone(router),
            deploys,
            team,
            log: writer.map(access_log::Writer::counts).unwrap_or_default(),
        };
        tokio::spawn(metrics::serve(listener, sources));
    }
    let tls = dashboard.tls();
    let info = info(proxy, &dashboard);
    announce(&settings, &info);

    let api = Api::new(Arc::clone(&control), info);
    dashboard.serve(
        &api.clone()
            .on_network(Names::new(&settings.dashboard.names)),
    );
    tokio::spawn(answer(listener, api));
    while signals.next().await == Asked::Reload {
        tell(&reloading());
        carrier.reload().await;
        if let Some(writer) = writer {
            writer.reopen();
        }
        if let Some(tls) = &tls {
            tls.reload();
        }
        tell(&[NotifyState::Ready]);
    }
    tell(&[NotifyState::Stopping]);
    control.remember_sessions().await;
    tracing::info!("stopping: requests in flight may end, instances keep running");
    Ok(())
}

/// An engine that hangs holds its own apps up, not those that are known.
async fn open_in_time(proxy: Arc<Proxy>) {
    tokio::time::sleep(PUBLISHED).await;
    tracing::warn!("not everything that is live is known yet; serving what is");
    proxy.open();
}

/// The data plane's end; a second signal cuts it short.
async fn stop(proxy: &Proxy) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    tokio::select! {
        () = proxy.shutdown(GRACE) => tracing::info!("stopped"),
        _ = signals.next() => tracing::warn!("stopped at once, as asked a second time"),
    }
    Ok(())
}

async fn answer(listener: UnixListener, api: Api) {
    let service = api
        .on_socket()
        .into_make_service_with_connect_info::<Peer>();
    if let Err(error) = axum::serve(listener, service).await {
        // The proxy goes on without commands.
        tracing::error!(%error, "the control socket is gone");
    }
}

fn info(proxy: &Proxy, dashboard: &Dashboard) -> DaemonInfo {
    DaemonInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        http: proxy.http_addrs().to_vec(),
        https: proxy.https_addrs().to_vec(),
        dashboard: dashboard.addresses.clone(),
    }
}

fn announce(settings: &Settings, info: &DaemonInfo) {
    let list = |addresses: &[std::net::SocketAddr]| {
        let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        list.join(", ")
    };
    tracing::info!(
        http = list(&info.http),
        https = list(&info.https),
        dashboard = list(&info.dashboard),
        socket = %settings.socket.display(),
        data = %settings.data.display(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    tell(&[NotifyState::Ready]);
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
