//! What happens to containers, as [`EngineEvent`]s.
//!
//! Engines.md §2: `die` carries the exit code; after an engine restart `--since` is empty, so
//! receivers list everything anew on [`EngineEvent::Back`]. No event of a living engine is missed:
//! each subscription asks for those since a moment before it, and those seen already are dropped.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use baton_compose::AppName;
use bollard::Docker;
use bollard::errors::Error;
use bollard::models::EventMessage;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use crate::docker::client::{Client, call, within};
use crate::docker::oom::{Verdict, WITHIN, Witness, kernel_count};
use crate::docker::{Inner, labels, lock, set_live, shield};
use crate::{EngineEvent, Exit, InstanceId, Slot};

/// How often the engine is asked whether it is still there, and the kernel for its count of kills.
const PULSE: Duration = Duration::from_secs(2);
const PULSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pulses in a row without an answer before the engine counts as lost.
const PULSES_MISSED: u32 = 3;
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(2);

/// More events than a second of trouble has.
const TOLD_KEPT: usize = 512;
/// In a second: `--since` counts those.
const NANOS: i64 = 1_000_000_000;

/// Follows the engine for ever; ends when it is aborted.
pub(super) async fn follow(inner: Arc<Inner>) {
    let mut follower = Follower {
        inner,
        witness: Witness::default(),
        dying: HashMap::new(),
        told: VecDeque::with_capacity(TOLD_KEPT),
        floor: None,
        since: None,
    };
    let mut lost = false;
    let mut retry = RETRY_FIRST;
    loop {
        if let Ok(client) = follower.inner.client().await
            && follower.learn_apps(&client.docker).await.is_ok()
        {
            if lost {
                follower.send(EngineEvent::Back);
                lost = false;
            }
            retry = RETRY_FIRST;
            let reason = follower.listen(&client).await;
            follower.settle_all();
            tracing::warn!(
                reason,
                "the Docker Engine went away; instances may still run"
            );
        }
        follower.inner.forget_client();
        if !lost {
            follower.send(EngineEvent::Lost);
            lost = true;
        }
        sleep(retry).await;
        retry = (retry * 2).min(RETRY_LONGEST);
    }
}

struct Follower {
    inner: Arc<Inner>,
    witness: Witness,
    /// Containers whose end was seen and not yet told, because an `oom` event may follow.
    dying: HashMap<String, Dying>,
    /// Newest events taken, to know a repeat. Not just the newest time: the engine may send events
    /// of the same moment out of order.
    told: VecDeque<(i64, String, String)>,
    /// Nanoseconds of the engine's clock at the first subscription: older events are nobody's news.
    floor: Option<i64>,
    /// Seconds of the engine's clock from which on the next subscription asks.
    since: Option<i64>,
}

struct Dying {
    slot: Option<Slot>,
    code: Option<i32>,
    died: Instant,
}

type Events<'a> = Pin<Box<dyn Stream<Item = Result<EventMessage, Error>> + Send + 'a>>;

impl Follower {
    fn send(&self, event: EngineEvent) {
        // Nobody listens: nobody needs it.
        let _ = self.inner.events.send(event);
    }

    /// Apps that a former daemon started, so that their plain services join the live network.
    async fn learn_apps(&mut self, docker: &Docker) -> Result<(), Error> {
        let filters = HashMap::from([("label", vec![labels::APP])]);
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        for container in call(docker.list_containers(Some(options))).await? {
            let labels = container.labels.unwrap_or_default();
            if let Some(slot) = labels::slot(&labels) {
                self.inner
                    .know(&slot.app, labels.get(labels::SERVICE).cloned());
            }
        }
        Ok(())
    }

    /// Until the stream ends or the engine does not answer any more; returns why.
    async fn listen(&mut self, client: &Client) -> String {
        let since = self.since.or(client.time.map(|nanos| nanos / NANOS));
        self.floor = self.floor.or(client.time);
        let mut events = subscribe(&client.docker, since);
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missed = 0;
        loop {
            let settle_at = self.next_deadline();
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => self.take(client, &event).await,
                    Some(Err(error)) => return error.to_string(),
                    None => return "its events ended".to_owned(),
                },
                () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => {
                    self.settle_due(client).await;
                }
                _ = pulse.tick() => {
                    if client.local {
                        self.witness.look(Instant::now(), kernel_count());
                    }
                    match within(PULSE_TIMEOUT, client.docker.ping()).await {
                        Ok(_) => missed = 0,
                        Err(_) => missed += 1,
                    }
                    if missed >= PULSES_MISSED {
                        return "it does not answer".to_owned();
                    }
                }
            }
        }
    }

    async fn take(&mut self, client: &Client, event: &EventMessage) {
        let Some(actor) = &event.actor else { return };
        let (Some(id), Some(attributes)) = (&actor.id, &actor.attributes) else {
            return;
        };
        if !self.is_news(event, id) {
            return;
        }
        self.since = event.time.max(self.since);
        let slot = labels::slot(attributes);
        let plain = labels::plain_app(attributes).and_then(|app| {
            lock(&self.inner.apps)
                .get_key_value(&app)
                .map(|(a, s)| (a.clone(), s.clone()))
        });
        if slot.is_none() && plain.is_none() {
            return;
        }
        let now = Instant::now();
        match event.action.as_deref() {
            // Mostly in time for its first call: Compose makes all containers before it starts them.
            Some("create") => join_plain(client, id, plain),
            Some("start") => {
                self.settle_now(client, id);
                join_plain(client, id, plain);
                if let Some(slot) = slot.clone() {
                    let inner = Arc::clone(&self.inner);
                    tokio::spawn(async move { shield::apply_to_new(&inner, &slot).await });
                }
                self.send(EngineEvent::Started {
                    id: InstanceId(id.clone()),
                    slot,
                });
            }
            Some("oom") => {
                self.witness.saw_oom(id, now);
                self.finish(id, true);
            }
            Some("kill") if attributes.get("signal").is_some_and(|signal| signal == "9") => {
                self.witness.saw_kill(id, now);
            }
            Some("die") => {
                let code = attributes
                    .get("exitCode")
                    .and_then(|code| code.parse().ok());
                self.died(client, id, slot, code, now).await;
            }
            _ => {}
        }
    }

    /// A subscription reaches back to the last second that was seen, and so repeats some.
    fn is_news(&mut self, event: &EventMessage, id: &str) -> bool {
        let nanos = event.time_nano.unwrap_or(0);
        let key = (
            nanos,
            id.to_owned(),
            event.action.clone().unwrap_or_default(),
        );
        if self.floor.is_some_and(|floor| nanos <= floor) || self.told.contains(&key) {
            return false;
        }
        if self.told.len() == TOLD_KEPT {
            self.told.pop_front();
        }
        self.told.push_back(key);
        true
    }

    async fn died(
        &mut self,
        client: &Client,
        id: &str,
        slot: Option<Slot>,
        code: Option<i32>,
        now: Instant,
    ) {
        let count = client.local.then(kernel_count).flatten();
        let verdict = self.witness.verdict(id, now, code, count);
        let dying = Dying {
            slot,
            code,
            died: now,
        };
        self.dying.insert(id.to_owned(), dying);
        match verdict {
            Verdict::Oom => self.finish(id, true),
            Verdict::NotOom => self.finish(id, false),
            Verdict::Wait => {
                // Often the flag is there already.
                if flags(&client.docker, id).await.0 {
                    self.finish(id, true);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.dying.values().map(|dying| dying.died + WITHIN).min()
    }

    /// The second is over: the last word.
    async fn settle_due(&mut self, client: &Client) {
        let now = Instant::now();
        let due: Vec<String> = self
            .dying
            .iter()
            .filter(|(_, dying)| now >= dying.died + WITHIN)
            .map(|(id, _)| id.clone())
            .collect();
        let count = client.local.then(kernel_count).flatten();
        for id in due {
            let (flag, limited) = flags(&client.docker, &id).await;
            let oom = self.dying.get(&id).is_some_and(|dying| {
                self.witness
                    .last_word(dying.died, dying.code, count, flag, limited)
            });
            self.finish(&id, oom);
        }
    }

    /// It was started again already: its end must be told before that. `OOMKilled` is reset by now,
    /// so the kernel's count has the word.
    fn settle_now(&mut self, client: &Client, id: &str) {
        let count = client.local.then(kernel_count).flatten();
        let oom = self.dying.get(id).is_some_and(|dying| {
            self.witness
                .last_word(dying.died, dying.code, count, false, false)
        });
        self.finish(id, oom);
    }

    fn settle_all(&mut self) {
        let ids: Vec<String> = self.dying.keys().cloned().collect();
        for id in ids {
            self.finish(&id, false);
        }
    }

    fn finish(&mut self, id: &str, oom_killed: bool) {
        let Some(dying) = self.dying.remove(id) else {
            return;
        };
        self.send(EngineEvent::Exited {
            id: InstanceId(id.to_owned()),
            slot: dying.slot,
            exit: Exit {
                code: dying.code,
                oom_killed,
                error: None,
            },
        });
    }
}

/// A plain service of an app that is known finds its live color by name from now on.
fn join_plain(client: &Client, id: &str, plain: Option<(AppName, BTreeSet<String>)>) {
    let Some((app, colored)) = plain else { return };
    let (docker, id) = (client.docker.clone(), id.to_owned());
    tokio::spawn(async move {
        if let Err(error) = set_live::join_new(&docker, &app, &colored, &id).await {
            tracing::warn!(%error, "a plain service did not join the live network");
        }
    });
}

/// Only these actions: health checks would flood the stream with exec events (Engines.md §2).
fn subscribe(docker: &Docker, since: Option<i64>) -> Events<'_> {
    let filters = HashMap::from([
        ("type", vec!["container"]),
        ("event", vec!["create", "start", "die", "oom", "kill"]),
    ]);
    let mut options = EventsOptionsBuilder::default().filters(&filters);
    if let Some(since) = since {
        options = options.since(&since.to_string());
    }
    Box::pin(docker.events(Some(options.build())))
}

/// `OOMKilled`, and whether it has a memory limit.
async fn flags(docker: &Docker, id: &str) -> (bool, bool) {
    let Ok(container) = within(PULSE_TIMEOUT, docker.inspect_container(id, None)).await else {
        return (false, false);
    };
    let flag = container.state.and_then(|state| state.oom_killed);
    let limit = container.host_config.and_then(|config| config.memory);
    (flag.unwrap_or(false), limit.unwrap_or(0) > 0)
}
