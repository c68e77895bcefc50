//! A whole blue-green deploy under load, with nothing but this binary.
//!
//! | module | does |
//! | --- | --- |
//! | [`stage`] | the temporary folder, the daemon in it, and taking both away again |
//! | [`streams`] | event streams that stay open throughout, checked event by event |
//! | [`figures`] | what was counted, and the last line |
//!
//! The app is this binary, too (`__testapp`), run by the `process` engine; the commands that are shown
//! are the ones that run.

mod figures;
mod stage;
mod streams;

use std::time::Duration;

use baton_compose::Color;
use baton_deploy::slots::SlotRole;
use baton_deploy::status::{AppStatus, Status};
use testapp::load::{Load, Plan};

use self::figures::Figures;
use self::stage::{Release, Stage};
use self::streams::Streams;
use crate::error::CliError;
use crate::show::Out;

/// Client connections that send one request after the other.
const CONNECTIONS: usize = 16;
/// Event streams, opened once.
const STREAMS: usize = 8;
/// Between two requests of a connection: enough load to be seen, and a CPU left to deploy with.
const PAUSE: Duration = Duration::from_millis(5);
/// The most that a color may take to drain here.
const DRAINED: Duration = Duration::from_secs(20);

/// Runs it, and takes everything away again, also after Ctrl-C.
///
/// # Errors
/// A request failed, a stream ended, or a deploy ended otherwise than it should.
pub async fn run(out: Out) -> Result<(), CliError> {
    let stage = Stage::new(out)?;
    let played = tokio::select! {
        _ = tokio::signal::ctrl_c() => {
            Err(CliError::Interrupted("the demo was stopped; everything of it is gone".into()))
        }
        played = play(&stage, out) => played,
    };
    let daemon_log = stage.log();
    stage.strike().await;
    match played {
        Ok(figures) => figures.tell(out),
        Err(error @ CliError::Interrupted(_)) => Err(error),
        Err(error) => Err(CliError::Other(format!(
            "{error}\nthe daemon wrote:\n{daemon_log}"
        ))),
    }
}

async fn play(stage: &Stage, out: Out) -> Result<Figures, CliError> {
    title(out, "A daemon of its own, and the first release")?;
    let address = stage.start_daemon().await?;
    stage.write(Release::good(1))?;
    stage.baton(&["deploy"], 0).await?;

    let load = Load::start(Plan {
        http1: CONNECTIONS,
        pause: PAUSE,
        ..Plan::small(address, "demo.test")
    });
    let streams = Streams::open(address, STREAMS);
    title(
        out,
        &format!(
            "{CONNECTIONS} keep-alive connections and {STREAMS} open streams from here on; a new release"
        ),
    )?;
    stage.write(Release::good(2))?;
    stage.baton(&["deploy"], 0).await?;
    settled(stage).await?;

    title(
        out,
        "A release that crashes at start: it never gets a request",
    )?;
    stage.write(Release::crashing(3))?;
    stage.baton(&["deploy"], 3).await?;

    title(out, "One that works")?;
    stage.write(Release::good(4))?;
    stage.baton(&["deploy"], 0).await?;
    settled(stage).await?;

    title(out, "And back: the release before is still warm")?;
    stage.baton(&["rollback", "--wait", "drained"], 0).await?;

    let streams = streams.finish().await;
    let load = tokio::task::spawn_blocking(move || load.stop())
        .await
        .map_err(|error| CliError::other("the load", error))?;
    Ok(Figures { load, streams })
}

/// Waits until the color that was live has answered all it had, and its streams are the new color's.
async fn settled(stage: &Stage) -> Result<(), CliError> {
    let look = async {
        loop {
            let status: Status = stage.client().get("/v1/status").await?;
            if status.apps.first().is_some_and(is_settled) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DRAINED, look)
        .await
        .unwrap_or_else(|_| Err(CliError::Other("the old color did not drain".into())))
}

fn is_settled(app: &AppStatus) -> bool {
    let old = match app.live {
        Some(Color::Blue) => &app.colors.green,
        Some(Color::Green) => &app.colors.blue,
        None => return false,
    };
    matches!(old.role, SlotRole::Warm | SlotRole::Empty)
}

fn title(out: Out, text: &str) -> Result<(), CliError> {
    out.text(&format!("\n{}", out.paint.bold(&format!("── {text}"))))
}
