//! Following a deploy, rollback or switch to its end: through Ctrl-C, a daemon that restarts, and a
//! fetch that runs in this process meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use baton_compose::AppName;
use baton_compose::project::FetchedImages;
use baton_deploy::outcome::Outcome;
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use clap::{Args, ValueEnum};
use http::Method;
use tokio::sync::mpsc;

use crate::client::{Client, Lines};
use crate::error::CliError;
use crate::show::Out;
use crate::show::progress::View;
use crate::wire::{Done, FetchReport};

/// How long a daemon that restarts is waited for.
const DAEMON_RETURNS: Duration = Duration::from_secs(30);
/// How often it is looked for meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// How long to wait, and for what.
#[derive(Debug, Clone, Args)]
pub struct WaitArgs {
    /// Wait so long for another deploy of the app to end [default: exit 5 at once]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait_lock: Option<Duration>,
    /// Also wait until the old color has drained, and show the receipt
    #[arg(long, value_name = "drained", hide_possible_values = true)]
    pub wait: Option<WaitFor>,
}

/// What `--wait` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    Drained,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    baton_compose::units::parse_duration(text)
        .ok_or_else(|| format!("expected a duration such as 30s or 10m, found {text:?}"))
}

/// Whom receipts and events name: a pipeline's user, or whoever called sudo. The daemon adds the
/// user that it sees itself.
#[must_use]
pub fn asked_by() -> Option<String> {
    ["GITHUB_ACTOR", "GITLAB_USER_LOGIN", "SUDO_USER"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|value| !value.is_empty())
}

/// Pulls or builds; each text sent is a line for the person who waits.
pub type Fetch = Box<dyn FnOnce(mpsc::UnboundedSender<String>) -> Fetching>;

/// A [`Fetch`] that runs; `Err` with its reason.
pub type Fetching = Pin<Box<dyn Future<Output = Result<FetchedImages, String>>>>;

/// Follows one deploy.
#[derive(Debug)]
pub struct Follow {
    client: Client,
    app: AppName,
    view: View,
    deploy: Option<i64>,
    wait_drained: bool,
    switched: bool,
}

/// What came first.
enum Next {
    Line(Result<Option<String>, CliError>),
    Fetched(Result<FetchedImages, String>),
    Fetching(String),
    CtrlC,
}

impl Follow {
    /// Of one app's deploy, rollback or switch.
    #[must_use]
    pub fn new(client: Client, out: Out, app: &AppName, wait: &WaitArgs) -> Follow {
        let wait_drained = wait.wait == Some(WaitFor::Drained);
        Follow {
            client,
            app: app.clone(),
            view: View::new(out, Some(app.to_string()), wait_drained),
            deploy: None,
            wait_drained,
            switched: false,
        }
    }

    /// Shows everything until the end of the command's part, or of the tail with `--wait drained`.
    ///
    /// # Errors
    /// The deploy ended otherwise than asked (its exit code is kept), Ctrl-C, or a daemon that did
    /// not come back.
    pub async fn run(mut self, mut lines: Lines, fetch: Option<Fetch>) -> Result<(), CliError> {
        self.deploy = lines.deploy;
        let mut fetch = fetch;
        let mut fetching: Option<Fetching> = None;
        let (says, mut said) = mpsc::unbounded_channel();
        loop {
            // Whatever comes first; none of the branches loses anything when another one wins:
            // `Lines::next` and `recv` are cancel safe, and the fetch is polled in place.
            let next = tokio::select! {
                biased;
                _ = tokio::signal::ctrl_c() => Next::CtrlC,
                Some(text) = said.recv() => Next::Fetching(text),
                result = poll(&mut fetching), if fetching.is_some() => Next::Fetched(result),
                line = lines.next() => Next::Line(line),
            };
            match next {
                Next::CtrlC => {
                    let unfetched = fetch.is_some() || fetching.is_some();
                    return Err(self.interrupted(unfetched).await);
                }
                Next::Fetching(text) => self.view.fetching(&text),
                Next::Fetched(result) => {
                    fetching = None;
                    self.report(result).await;
                }
                Next::Line(Ok(Some(line))) => {
                    let progress = serde_json::from_str::<Progress>(&line).ok();
                    self.view.show(&line, progress.as_ref());
                    match progress {
                        Some(Progress::StepStarted {
                            step: StepName::Fetch,
                        }) => fetching = fetch.take().map(|fetch| fetch(says.clone())),
                        Some(progress) => {
                            if let Some(end) = self.end(progress) {
                                return end;
                            }
                        }
                        None => {}
                    }
                }
                Next::Line(Ok(None)) => lines = self.attach_again("it ended the answer").await?,
                Next::Line(Err(error)) => lines = self.attach_again(&error.to_string()).await?,
            }
        }
    }

    /// Some: this was the last that the command waits for.
    fn end(&mut self, progress: Progress) -> Option<Result<(), CliError>> {
        match progress {
            Progress::Planned { deploy, .. } => {
                self.deploy = Some(deploy);
                None
            }
            Progress::StepSucceeded {
                step: StepName::Switch,
                ..
            } => {
                self.switched = true;
                None
            }
            // Without a deploy there is no tail: nothing was to be done.
            Progress::Result(outcome)
                if outcome.ok && self.wait_drained && outcome.deploy.is_some() && self.switched =>
            {
                None
            }
            Progress::Result(outcome) | Progress::Drained(outcome) => Some(ended(outcome)),
            _ => None,
        }
    }

    /// Tells the daemon at once that there is nothing to fetch, so that the deploy needs this command
    /// no more.
    pub async fn nothing_to_fetch(&mut self, lines: &Lines) {
        self.deploy = lines.deploy;
        // A deploy that has ended already says so itself.
        let _ = self.send(&FetchReport::Images(FetchedImages::new())).await;
    }

    /// Tells the daemon how the fetch ended. When it is away, re-attaching tells what became of it.
    async fn report(&mut self, result: Result<FetchedImages, String>) {
        let report = match result {
            Ok(images) => FetchReport::Images(images),
            Err(reason) => FetchReport::Error(reason),
        };
        if let Err(error) = self.send(&report).await {
            self.view
                .remark(&format!("  the images could not be reported: {error}"));
        }
    }

    async fn send(&self, report: &FetchReport) -> Result<(), CliError> {
        let Some(deploy) = self.deploy else {
            return Ok(());
        };
        let path = format!("/v1/deploys/{deploy}/images");
        self.client
            .call::<Done>(Method::PUT, &path, report)
            .await
            .map(drop)
    }

    /// Ctrl-C ends this command. What only it can fetch ends with it; everything else belongs to the
    /// daemon and goes on.
    async fn interrupted(&mut self, unfetched: bool) -> CliError {
        let app = &self.app;
        if unfetched {
            let report =
                FetchReport::Error("stopped by Ctrl-C before the images were there".into());
            // The daemon also sees that this client goes away, and does the same.
            let _ = self.send(&report).await;
            return CliError::Interrupted(format!(
                "stopped before the images were there: nothing of {app} was changed"
            ));
        }
        let text = if self.switched {
            format!(
                "the switch is done and the drain goes on in the daemon\n  \
                 follow it with `baton events -f -p {app}`, see its receipt with `baton receipts -p {app} 1`"
            )
        } else {
            format!(
                "the deploy goes on in the daemon\n  \
                 follow it with `baton events -f -p {app}` or `baton status --watch`, stop it with `baton cancel -p {app}`"
            )
        };
        CliError::Interrupted(text)
    }

    /// The daemon went away in the middle: it is back within seconds when it was restarted, takes the
    /// deploy back or forward, and tells how under the same id.
    async fn attach_again(&mut self, reason: &str) -> Result<Lines, CliError> {
        let lost = |what: &str| CliError::Lost {
            place: self.client.place(),
            reason: format!(
                "{reason}\n  {what}; `baton status` and `baton receipts` tell how the deploy ended"
            ),
        };
        let Some(deploy) = self.deploy else {
            return Err(lost("the deploy had not been planned yet"));
        };
        self.view
            .remark("  … the connection to the daemon was lost, waiting for it to come back");
        self.view.start_over();
        let until = Instant::now() + DAEMON_RETURNS;
        let path = format!("/v1/deploys/{deploy}/progress");
        loop {
            match self.client.lines(Method::GET, &path, &()).await {
                Ok(lines) => return Ok(lines),
                Err(
                    CliError::NoDaemon { .. }
                    | CliError::Unreachable { .. }
                    | CliError::Lost { .. },
                ) if Instant::now() < until => {
                    tokio::select! {
                        _ = tokio::signal::ctrl_c() => {
                            return Err(lost("it has not come back yet"));
                        }
                        () = tokio::time::sleep(LOOK_AGAIN) => {}
                    }
                }
                Err(
                    CliError::NoDaemon { .. }
                    | CliError::Unreachable { .. }
                    | CliError::Lost { .. },
                ) => {
                    return Err(lost("it did not come back within 30 s"));
                }
                Err(other) => return Err(other),
            }
        }
    }
}

fn ended(outcome: Outcome) -> Result<(), CliError> {
    if outcome.ok {
        Ok(())
    } else {
        Err(CliError::Outcome(Box::new(outcome)))
    }
}

/// Polls the fetch where it is; pending for ever when there is none.
async fn poll(fetching: &mut Option<Fetching>) -> Result<FetchedImages, String> {
    match fetching {
        Some(fetching) => fetching.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_compose() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(
            duration("30"),
            Err("expected a duration such as 30s or 10m, found \"30\"".to_owned())
        );
    }
}
