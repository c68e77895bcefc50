//! The control plane and its API, as long as this process is the daemon: on a runtime of their own, so
//! that all of it ends with that.

use std::future::IntoFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use baton_deploy::ControlPlane;
use baton_deploy::certificates::Certificates;
use baton_deploy::router::Router;
use baton_deploy::telling::Listener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::engines;
use super::socket::Socket;
use crate::api::Api;
use crate::api::peer::Peer;
use crate::error::CliError;

/// Threads of the control plane: two, so that one that blocks in the database stops nothing.
const THREADS: usize = 2;
/// How long a step that blocks (the database) may hold up the end of the control plane.
const ENDS: Duration = Duration::from_secs(2);
/// How long commands that are being answered hold it up.
const ANSWERS: Duration = Duration::from_millis(500);
/// How long it may take to write down what is known, and to close the database.
const CLOSES: Duration = Duration::from_secs(10);

/// What a reign begins with.
#[derive(Debug)]
pub struct Parts {
    pub data: PathBuf,
    pub router: Arc<dyn Router>,
    /// Whose figures the router goes on counting.
    pub session: Option<String>,
    /// Processes that this one has taken over from.
    pub before: Vec<u32>,
    pub certificates: Option<Arc<dyn Certificates>>,
    /// Told what deploys come to.
    pub listeners: Vec<Arc<dyn Listener>>,
}

/// From opening the state to closing it.
#[derive(Debug)]
pub struct Reign {
    runtime: Runtime,
    pub control: Arc<ControlPlane>,
    api: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Reign {
    /// Opens the state; what is live is published when it returns. Nobody is answered yet.
    ///
    /// # Errors
    /// The database or the folder of the process engine cannot be used.
    pub async fn begin(parts: Parts) -> Result<Reign, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("baton-control")
            .enable_all()
            .build()
            .map_err(|error| CliError::other("cannot start a runtime", error))?;
        // The engines have tasks of their own, which have to end with it.
        let opened = runtime.spawn(async move {
            let engines = engines::all(&parts.data, &parts.before);
            let settings = baton_deploy::control::Settings {
                data: parts.data,
                engines: engines.map_err(|error| error.to_string())?,
                router: parts.router,
                session: parts.session,
                certificates: parts.certificates,
            };
            let opened = ControlPlane::open_heard(settings, parts.listeners).await;
            opened.map_err(|error| error.to_string())
        });
        let failed = match opened.await {
            Ok(Ok(control)) => {
                return Ok(Reign {
                    runtime,
                    control,
                    api: None,
                });
            }
            Ok(Err(error)) => error,
            Err(error) => format!("this broke inside the control plane: {error}"),
        };
        shut_down(runtime).await;
        Err(CliError::Other(failed))
    }

    /// Where what the daemon does beside it belongs, so that it ends with it.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Answers commands from now on.
    ///
    /// # Errors
    /// The socket cannot be polled.
    pub fn answer(&mut self, socket: &Socket, api: Api) -> Result<(), CliError> {
        let _entered = self.runtime.enter();
        let listener = socket
            .listener()
            .map_err(|error| CliError::other("control socket", error))?;
        let service = api
            .on_socket()
            .into_make_service_with_connect_info::<Peer>();
        let (end, mut ended) = watch::channel(false);
        let until = async move {
            // Without the sender it is over as well.
            let _ = ended.wait_for(|over| *over).await;
        };
        let serve = axum::serve(listener, service).with_graceful_shutdown(until);
        let task = self.runtime.spawn(async move {
            if let Err(error) = serve.into_future().await {
                // The proxy goes on without commands.
                tracing::error!(%error, "the control socket is gone");
            }
        });
        self.api = Some((end, task));
        Ok(())
    }

    /// Ends as if it were killed, but with the database closed: the next one takes up what it was doing,
    /// from the journal. Commands lose their connection and wait for that.
    pub async fn end(mut self) {
        if let Some((end, mut task)) = self.api.take() {
            end.send_replace(true);
            let _ = tokio::time::timeout(ANSWERS, &mut task).await;
            task.abort();
        }
        let control = Arc::clone(&self.control);
        let closed = self.runtime.spawn(async move { control.close().await });
        if tokio::time::timeout(CLOSES, closed).await.is_err() {
            tracing::warn!("the database is not closed in time");
        }
        drop(self.control);
        shut_down(self.runtime).await;
    }
}

/// Away from the caller's thread, which must not block.
async fn shut_down(runtime: Runtime) {
    let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(ENDS)).await;
    if let Err(error) = ended {
        tracing::error!(%error, "the control plane's threads");
    }
}
