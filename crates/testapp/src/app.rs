//! The HTTP app: HTTP/1.1 and h2c on one port.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::active::Activity;
use crate::faults::{self, Fate};
use crate::routes::{self, App};
use crate::scene::Scene;
use crate::settings::Settings;

/// Serves until SIGTERM or SIGINT, then finishes what is in flight and returns.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(settings: Settings) -> io::Result<()> {
    println!(
        "booting release {} in {}",
        settings.identity.release, settings.identity.color
    );
    // Asked for before the boot, so that a stop during the boot ends it.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    faults::hold_memory(settings.faults.rss_mb);
    let burns = faults::burn(&settings.faults);
    tokio::select! {
        () = sleep(settings.boot.max(burns)) => {}
        _ = terminate.recv() => return Ok(()),
    }
    if settings.faults.oom_at_start {
        faults::run_out_of_memory(settings.faults.oom_cap_mb);
    }
    if let Some(code) = settings.crash_at_start {
        eprintln!("fatal: told to crash at start");
        std::process::exit(code);
    }
    if let Some((after, code)) = settings.crash_after {
        tokio::spawn(async move {
            sleep(after).await;
            eprintln!("fatal: told to crash after {after:?}");
            std::process::exit(code);
        });
    }
    let listener = TcpListener::bind(&settings.listen).await.map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot bind {}: {error}", settings.listen),
        )
    })?;
    println!("listening on {}", listener.local_addr()?);
    let graceful = GracefulShutdown::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let app = Rc::new(App {
                healthy_at: Instant::now() + settings.health_delay,
                fate: Fate::new(settings.faults.clone()),
                activity: Activity::start(&settings.ticks, &settings.identity),
                scene: Scene::start(&settings.identity).await?,
                settings,
            });
            let accept = accept(&listener, &app, &graceful);
            tokio::select! {
                () = accept => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sleep(app.settings.stop_delay).await;
            drop(listener);
            println!("stopping: finishing what is in flight");
            app.activity.set(false).await;
            app.scene.stop().await;
            graceful.shutdown().await;
            Ok::<_, io::Error>(())
        })
        .await?;
    println!("stopped");
    Ok(())
}

async fn accept(listener: &TcpListener, app: &Rc<App>, graceful: &GracefulShutdown) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // A test app on loopback: small answers must not wait for Nagle.
        let _ = stream.set_nodelay(true);
        let app = Rc::clone(app);
        let mut builder = auto::Builder::new(LocalExecutor);
        builder
            .http2()
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20);
        let service = service_fn(move |request| {
            let app = Rc::clone(&app);
            async move { routes::answer(&app, request).await }
        });
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .into_owned();
        let connection = graceful.watch(connection);
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
    }
}

/// hyper's tasks on this thread: nothing in the app needs to be `Send`.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: std::future::Future + 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Used by the other modules that need an executor of threads.
pub(crate) fn threads() -> TokioExecutor {
    TokioExecutor::new()
}
