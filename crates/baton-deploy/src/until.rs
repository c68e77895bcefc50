//! `drain.until`: the app itself says that it has nothing left, before its stop signal (DESIGN.md
//! §5.7). For everything that Baton cannot see: NOACK consumers, other queues, jobs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use baton_compose::Policy;
use baton_compose::policy::Until;
use baton_engine::{Engine, Instance, InstanceId, InstanceState};
use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until, timeout};

use crate::core::ask;
use crate::health::http::{self, Question};

/// From one question to the next.
const EVERY: Duration = Duration::from_secs(1);

/// Longest wait for one answer.
const LIMIT: Duration = Duration::from_secs(5);

/// How often a wait tells that nothing has changed.
const TELL: Duration = Duration::from_secs(10);

/// Opens when every instance that is asked says that it is done.
#[derive(Debug)]
pub(crate) struct Gate {
    engine: Arc<dyn Engine>,
    asked: Vec<Asked>,
    every: Duration,
}

#[derive(Debug)]
struct Asked {
    id: InstanceId,
    /// `api 1`, for messages.
    name: String,
    until: Until,
    policy: Policy,
    last: Said,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    done: bool,
    /// `GET /drained: 503 Service Unavailable: "3 jobs"`.
    text: String,
}

impl Gate {
    /// `instances` with what the file says of their services; those without `drain.until` are not
    /// asked.
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        instances: impl IntoIterator<Item = (Instance, Policy)>,
    ) -> Gate {
        let mut asked = Vec::new();
        for (instance, policy) in instances {
            let Some(until) = policy.drain.until.clone() else {
                continue;
            };
            asked.push(Asked {
                name: format!("{} {}", instance.service, instance.replica),
                id: instance.id,
                until,
                policy,
                last: Said {
                    done: false,
                    text: "not asked yet".to_owned(),
                },
            });
        }
        Gate {
            engine,
            asked,
            every: EVERY,
        }
    }

    /// Asks every instance once. True when all of them are done, in this very round: an app that says
    /// so and then finds more to do is waited for.
    pub(crate) async fn poll(&mut self) -> bool {
        let answers = self.asked.iter().map(|one| one.ask(&self.engine));
        let answers = join_all(answers).await;
        for (one, said) in self.asked.iter_mut().zip(answers) {
            one.last = said;
        }
        self.asked.iter().all(|one| one.last.done)
    }

    /// Asks each second until all are done; `note` is told who is not, when that changes and every
    /// ten seconds. Has no end of its own: the caller sets one, and [`Gate::describe`] says what held.
    pub(crate) async fn wait(&mut self, note: &(dyn Fn(String) + Send + Sync)) {
        let mut told: Option<(String, Instant)> = None;
        loop {
            let begun = Instant::now();
            if self.poll().await {
                return;
            }
            let text = self.describe();
            let old = |(what, when): &(String, Instant)| *what == text && when.elapsed() < TELL;
            if !told.as_ref().is_some_and(old) {
                note(text.clone());
                told = Some((text, Instant::now()));
            }
            sleep_until(begun + self.every).await;
        }
    }

    /// The last answers of those that are not done: `api 1: GET /drained: 503 …`. Empty: all are.
    pub(crate) fn describe(&self) -> String {
        let waiting = self.asked.iter().filter(|one| !one.last.done);
        let texts: Vec<String> = waiting
            .map(|one| format!("{} is not done yet ({})", one.name, one.last.text))
            .collect();
        texts.join("; ")
    }
}

impl Asked {
    async fn ask(&self, engine: &Arc<dyn Engine>) -> Said {
        // Its address may be another one by now.
        let instance = match ask("inspect", engine.inspect(&self.id)).await {
            Ok(Some(instance)) if instance.state == InstanceState::Running => instance,
            Ok(_) => return Said::done("it has ended"),
            Err(error) => return Said::not_done(error.to_string()),
        };
        match &self.until {
            Until::Http(path) => self.get(path, &instance).await,
            Until::Exec(command) => self.exec(engine, command).await,
        }
    }

    async fn get(&self, path: &str, instance: &Instance) -> Said {
        let Some(address) = instance.address else {
            return Said::not_done("it has no address to ask".to_owned());
        };
        let at = SocketAddr::new(address.ip, address.port);
        let mut headers = HeaderMap::new();
        http::with_host(&mut headers, &self.policy, at);
        let question = Question {
            method: "GET",
            path,
            headers,
            protocol: self.policy.protocol,
            body: "",
        };
        match http::ask(at, &question, LIMIT).await {
            Ok(answer) if answer.status.is_success() => Said::done("it says so"),
            Ok(answer) => Said::not_done(format!("GET {path}: {}", answer.describe())),
            Err(reason) => Said::not_done(format!("GET {path}: {reason}")),
        }
    }

    async fn exec(&self, engine: &Arc<dyn Engine>, command: &[String]) -> Said {
        let shown = command.join(" ");
        // The engine has a limit of its own; an engine that hangs has none.
        let run = timeout(LIMIT * 2, engine.exec(&self.id, command, LIMIT)).await;
        let Ok(run) = run else {
            return Said::not_done(format!("{shown}: the engine does not answer"));
        };
        match run {
            Ok(result) if result.healthy => Said::done("it says so"),
            Ok(result) => Said::not_done(format!(
                "{shown}: exit code {}: {:?}",
                result.exit_code,
                result.output.trim()
            )),
            Err(error) => Said::not_done(format!("{shown}: {error}")),
        }
    }
}

impl Said {
    fn done(text: &str) -> Said {
        Said {
            done: true,
            text: text.to_owned(),
        }
    }

    fn not_done(text: String) -> Said {
        Said { done: false, text }
    }
}

#[cfg(test)]
mod tests;
