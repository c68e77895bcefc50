//! One change of what nginx follows: write, test, reload, verify through nginx, or put back what was.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::command::Answer;
use super::include::{self, Upstream};
use super::workers::{self, Worker};
use super::{Nginx, State};
use crate::fault;
use crate::router::RouteError;

/// How long nginx may take to follow after a reload: it reads all certificates and resolves names.
const FOLLOWS: Duration = Duration::from_secs(12);

/// The same for what is put back: nobody waits for it longer.
const BACK: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(30);

/// Whoever waited for a try that failed does not try the same again at once.
const JUST_NOW: Duration = Duration::from_millis(300);

/// So many answers in a row must be of the new generation.
const IN_A_ROW: u32 = 3;

/// Instances whose workers are remembered.
const KEEP: usize = 64;

impl Nginx {
    /// Nginx leads to these when it returns, and every worker that takes connections does.
    ///
    /// # Errors
    /// [`RouteError::Failed`]: what was there before is in place again.
    pub(super) async fn apply(&self, upstreams: Vec<Upstream>) -> Result<(), RouteError> {
        let _one = self.applying.lock().await;
        let body = include::body(&upstreams, self.commands.check);
        if self.state().applied.as_ref() == Some(&body) {
            return Ok(());
        }
        if let Some((at, tried, error)) = &self.state().refused
            && *tried == body
            && at.elapsed() < JUST_NOW
        {
            return Err(error.clone());
        }
        let result = self.bring(body.clone(), upstreams).await;
        self.state().refused = match &result {
            Ok(()) => None,
            Err(error) => Some((std::time::Instant::now(), body, error.clone())),
        };
        result
    }

    async fn bring(&self, body: String, upstreams: Vec<Upstream>) -> Result<(), RouteError> {
        let before = self.commands.ask().await.ok();
        let in_doubt = self.state().in_doubt;
        if !in_doubt && self.follows_already(&body, before.as_ref()).await? {
            self.state().takes(body, upstreams, &[]);
            return Ok(());
        }
        let old = match &before {
            Some(answer) => workers_of(answer.pid).await,
            None => Vec::new(),
        };
        let generation = generation();
        let text = include::with_generation(&body, &generation);
        self.on_disk(move |place| place.try_out(&text)).await?;
        fault::at("nginx:written");
        if let Err(said) = self.commands.test().await {
            self.on_disk(|place| place.put_back()).await?;
            return Err(self.failed(&format!("nginx would not take what Baton wrote: {said}")));
        }
        let followed = match self.commands.reload().await {
            Err(said) => Err(format!("nginx cannot be reloaded: {said}")),
            Ok(()) => {
                fault::at("nginx:reloaded");
                self.verified(&generation, &upstreams, &old).await
            }
        };
        if let Err(reason) = followed {
            self.back(&upstreams, before.as_ref()).await?;
            return Err(self.failed(&reason));
        }
        self.on_disk(|place| place.keep()).await?;
        let mut state = self.state();
        state.in_doubt = false;
        state.takes(body, upstreams, &old);
        Ok(())
    }

    fn failed(&self, reason: &str) -> RouteError {
        let file = self.place.file().display();
        RouteError::Failed(format!(
            "{reason}; {file} is as it was, and nginx serves as before"
        ))
    }

    /// After a restart of the daemon nothing may have changed.
    async fn follows_already(
        &self,
        body: &str,
        answer: Option<&Answer>,
    ) -> Result<bool, RouteError> {
        let text = self.on_disk(|place| place.read()).await?;
        let there = include::read(&text);
        Ok(there
            .zip(answer)
            .is_some_and(|((there, generation), answer)| {
                there == body && generation == answer.generation
            }))
    }

    /// New connections meet the new text only, and nginx reaches what it leads to.
    async fn verified(
        &self,
        generation: &str,
        upstreams: &[Upstream],
        old: &[Worker],
    ) -> Result<(), String> {
        let deadline = Instant::now() + FOLLOWS;
        let follows = self.follows(generation, deadline).await?;
        // Each one that was there before has closed its doors.
        while old.iter().any(Worker::accepts) {
            if Instant::now() > deadline {
                return Err("old workers of nginx go on taking connections".to_owned());
            }
            sleep(LOOK).await;
        }
        self.state().worker = workers_of(follows.pid)
            .await
            .first()
            .map(|worker| worker.pid);
        let known = self.state().upstreams.clone();
        for upstream in upstreams.iter().filter(|up| !known.contains(up)) {
            self.reached(upstream, deadline).await?;
        }
        Ok(())
    }

    async fn follows(&self, generation: &str, deadline: Instant) -> Result<Answer, String> {
        let mut in_a_row = 0;
        loop {
            let answer = self.commands.ask().await;
            match &answer {
                Ok(answer) if answer.generation == generation => in_a_row += 1,
                _ => in_a_row = 0,
            }
            match answer {
                Ok(answer) if in_a_row >= IN_A_ROW => return Ok(answer),
                answer if Instant::now() > deadline => {
                    let seen = match answer {
                        Ok(_) => "it still follows the old text: its error log says why (a port in use, for example)".to_owned(),
                        Err(reason) => format!(
                            "{reason}. Does nginx run, and does its `http` block include {}?",
                            self.place.file().display()
                        ),
                    };
                    let seconds = FOLLOWS.as_secs();
                    return Err(format!(
                        "nginx did not follow within {seconds} s after the reload: {seen}"
                    ));
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    /// Its health check, through nginx, from one of its own instances.
    async fn reached(&self, upstream: &Upstream, deadline: Instant) -> Result<(), String> {
        if upstream.probe.is_none() {
            return Ok(());
        }
        let own = |address: &str| {
            let mut servers = upstream.servers.iter();
            servers.any(|(_, server)| server.to_string() == address)
        };
        let patience = deadline.min(Instant::now() + BACK);
        loop {
            let seen = match self.commands.through(&upstream.name).await {
                Ok(answer) if own(&answer.upstream) && !matches!(answer.status, 502 | 504) => {
                    return Ok(());
                }
                Ok(answer) => format!("{} from {}", answer.status, answer.upstream),
                Err(reason) => reason,
            };
            if Instant::now() > patience {
                return Err(format!(
                    "nginx does not reach {} ({}): its health check was answered with {seen}",
                    upstream.name, upstream.leads_to
                ));
            }
            sleep(LOOK).await;
        }
    }

    /// As before, also for nginx; the workers that may have met the trial are remembered.
    async fn back(&self, tried: &[Upstream], before: Option<&Answer>) -> Result<(), RouteError> {
        let met = match self.commands.ask().await {
            Ok(answer) => workers_of(answer.pid).await,
            Err(_) => Vec::new(),
        };
        self.on_disk(|place| place.put_back()).await?;
        if let Err(said) = self.commands.reload().await {
            tracing::warn!("after the include was put back: {said}");
        } else if let Some(before) = before {
            let followed = self
                .follows(&before.generation, Instant::now() + BACK)
                .await;
            if let Err(reason) = followed {
                tracing::error!("after the include was put back: {reason}");
            }
        }
        let mut state = self.state();
        // Asked anew the next time.
        state.applied = None;
        for (id, address) in tried.iter().flat_map(|up| &up.servers) {
            if !state.serving.contains_key(id) {
                state.known.insert(id.clone(), *address);
                state.left.insert(id.clone(), met.clone());
            }
        }
        Ok(())
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&super::Place) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, RouteError> {
        let place = self.place.clone();
        let file = self.place.file().display().to_string();
        let done = spawn_blocking(move || work(&place)).await;
        let done = done.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        done.map_err(|error| RouteError::Failed(format!("{file}: {error}")))
    }
}

impl State {
    /// Nginx follows this now; `old` are the workers that followed what was before.
    fn takes(&mut self, body: String, upstreams: Vec<Upstream>, old: &[Worker]) {
        let servers = upstreams.iter().flat_map(|up| &up.servers).cloned();
        let serving: HashMap<_, _> = servers.collect();
        let gone: Vec<_> = self
            .serving
            .keys()
            .filter(|id| !serving.contains_key(*id))
            .cloned()
            .collect();
        if self.left.len() > KEEP {
            self.left
                .retain(|_, workers| workers.iter().any(Worker::is_alive));
        }
        self.left.retain(|id, _| !serving.contains_key(id));
        self.cut.retain(|id| !serving.contains_key(id));
        for id in gone {
            self.left.insert(id, old.to_vec());
        }
        self.known.extend(serving.clone());
        self.applied = Some(body);
        (self.upstreams, self.serving) = (upstreams, serving);
    }
}

async fn workers_of(pid: u32) -> Vec<Worker> {
    spawn_blocking(move || workers::of(pid))
        .await
        .unwrap_or_default()
}

/// Another one for each writing.
fn generation() -> String {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
    format!("{:016x}", now.map_or(0, |now| now.as_nanos()))
}
