//! An engine in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::{AppName, Color, Rendering, Role};
use baton_engine::engine::{Address, HealthcheckResult};
use baton_engine::{
    Engine, EngineError, EngineEvent, Exit, Instance, InstanceId, InstanceState, LogLine, Once,
    OnceResult, Replicas, Shield, Slot, Start, Usage,
};
use tokio::sync::{broadcast, mpsc};

use super::freeze::Freezer;

#[derive(Debug)]
pub(crate) struct FakeEngine {
    pub(crate) freezer: Arc<Freezer>,
    state: Mutex<State>,
    events: broadcast::Sender<EngineEvent>,
}

/// What tests script and look at.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) instances: Vec<Instance>,
    next: u64,
    /// What goes wrong with the next starts.
    pub(crate) start_error: Option<EngineError>,
    /// New instances end at once so.
    pub(crate) ends_at_start: Option<Exit>,
    /// Only those of this release, and only from this replica on.
    pub(crate) ends_only: Option<(u64, u32)>,
    /// New instances never get healthy.
    pub(crate) unhealthy: BTreeSet<InstanceId>,
    pub(crate) new_are_unhealthy: bool,
    pub(crate) hangs: bool,
    pub(crate) usage: Usage,
    pub(crate) direct: u32,
    /// Exit codes of commands that are run in an instance, in order; then 0.
    pub(crate) exit_codes: VecDeque<i64>,
    /// Slots that the engine was told are live.
    pub(crate) live: BTreeMap<Slot, bool>,
    pub(crate) shields: BTreeMap<Slot, Shield>,
    /// As what each slot was started last.
    pub(crate) roles: BTreeMap<Slot, Role>,
    /// Instances that carry traffic now, as the router tells.
    pub(crate) serving: BTreeSet<InstanceId>,
    pub(crate) in_flight: BTreeMap<InstanceId, u64>,
    /// Open `union` streams; each wants a half on every instance that the router was told of.
    pub(crate) union: u64,
    /// Halves of them by instance.
    pub(crate) halves: BTreeMap<InstanceId, u64>,
    /// No half is opened, or ended, until a test says so.
    pub(crate) halves_stand_still: bool,
    /// Sessions that are pinned to an instance.
    pub(crate) sessions: BTreeMap<InstanceId, u64>,
    /// Two colors may serve at once: a rolling deploy.
    pub(crate) mixed: bool,
    /// Requests and errors that an instance has answered.
    pub(crate) answers: BTreeMap<InstanceId, (u64, u64)>,
    /// Every rule that was broken, for the end of the test.
    pub(crate) violations: Vec<String>,
    /// What was asked of it, in order.
    pub(crate) calls: Vec<String>,
}

impl State {
    fn make(&mut self, slot: Option<&Slot>, service: &str, release: Option<u64>) -> Instance {
        self.next += 1;
        let n = self.next;
        let address = Address {
            ip: [127, 0, 0, 1].into(),
            port: u16::try_from(20_000 + n).unwrap(),
            published: false,
        };
        Instance {
            id: InstanceId(format!("i{n}")),
            slot: slot.cloned(),
            service: service.to_owned(),
            replica: 1,
            release,
            state: InstanceState::Running,
            address: Some(address),
            started_at: Some(time::OffsetDateTime::now_utc()),
            restarts: 0,
            image: "sha256:plain".to_owned(),
        }
    }

    /// Nothing that serves may be stopped.
    fn stopping(&mut self, id: &InstanceId) {
        let in_flight = self.in_flight.get(id).copied().unwrap_or(0);
        let halves = self.halves.get(id).copied().unwrap_or(0);
        let sessions = self.sessions.get(id).copied().unwrap_or(0);
        if self.serving.contains(id) || in_flight + halves + sessions > 0 {
            self.violations.push(format!(
                "{id} was stopped with {in_flight} in flight, {halves} streams and {sessions} sessions, or while it served"
            ));
        }
    }
}

impl FakeEngine {
    pub(crate) fn new(freezer: Arc<Freezer>) -> FakeEngine {
        FakeEngine {
            freezer,
            state: Mutex::default(),
            events: broadcast::Sender::new(256),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What plain Compose started.
    pub(crate) fn run_plain(&self, app: &str, service: &str) -> InstanceId {
        let mut state = self.state();
        let mut instance = state.make(None, service, None);
        instance.id = InstanceId(format!("plain-{app}-{}", instance.id));
        let id = instance.id.clone();
        state.instances.push(instance);
        id
    }

    /// Ends an instance as a kill from outside would.
    pub(crate) fn kill(&self, id: &InstanceId) {
        let exit = Exit {
            code: Some(137),
            oom_killed: false,
            error: None,
        };
        let mut state = self.state();
        let instance = state.instances.iter_mut().find(|i| i.id == *id).unwrap();
        instance.state = InstanceState::Exited(exit.clone());
        instance.address = None;
        let slot = instance.slot.clone();
        state.in_flight.remove(id);
        drop(state);
        let _ = self.events.send(EngineEvent::Exited {
            id: id.clone(),
            slot,
            exit,
        });
    }

    /// Everything of a slot, by release.
    pub(crate) fn in_slot(&self, app: &str, color: Color) -> Vec<Instance> {
        self.state()
            .instances
            .iter()
            .filter(|i| {
                i.slot
                    .as_ref()
                    .is_some_and(|s| s.app.as_str() == app && s.color == color)
            })
            .cloned()
            .collect()
    }

    async fn maybe_hang(&self) {
        while self.state().hangs {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn started(&self, start: &Start<'_>) -> Result<Vec<Instance>, EngineError> {
        let mut state = self.state();
        state
            .calls
            .push(format!("start {} {}", start.slot, start.services.join(",")));
        if let Some(error) = state.start_error.clone() {
            return Err(error);
        }
        let mut all = Vec::new();
        for service in start.services {
            let here = |i: &Instance| i.slot.as_ref() == Some(start.slot) && i.service == *service;
            let of_this = |i: &&Instance| {
                here(i) && i.release == Some(start.release) && i.state == InstanceState::Running
            };
            let running: Vec<_> = state.instances.iter().filter(of_this).cloned().collect();
            let wanted = wanted(start, service);
            if running.len() >= wanted {
                all.extend(running);
                continue;
            }
            let missing = wanted - running.len();
            let stale: Vec<_> = state
                .instances
                .iter()
                .filter(|i| here(i) && !of_this(i))
                .cloned()
                .collect();
            for instance in stale {
                state.stopping(&instance.id);
                state.instances.retain(|i| i.id != instance.id);
            }
            let numbers: BTreeSet<_> = running.iter().map(|i| i.replica).collect();
            all.extend(running);
            for replica in (1..).filter(|n| !numbers.contains(n)).take(missing) {
                let mut instance = state.make(Some(start.slot), service, Some(start.release));
                instance.replica = replica;
                let ends = state
                    .ends_only
                    .is_none_or(|(release, from)| start.release == release && replica >= from);
                if let Some(exit) = state.ends_at_start.clone().filter(|_| ends) {
                    instance.state = InstanceState::Exited(exit);
                    instance.address = None;
                }
                if state.new_are_unhealthy {
                    state.unhealthy.insert(instance.id.clone());
                }
                state.instances.push(instance.clone());
                all.push(instance);
            }
        }
        state.shields.insert(
            start.slot.clone(),
            if start.shielded {
                Shield::Candidate
            } else {
                Shield::None
            },
        );
        state.roles.insert(start.slot.clone(), start.role);
        Ok(all)
    }
}

/// How many instances of a service there are to be.
fn wanted(start: &Start<'_>, service: &str) -> usize {
    let Rendering::Docker(model) = start.rendering else {
        return 1;
    };
    let known = model.services.iter().find(|known| known.name == service);
    let all = known.map_or(1, |known| known.replicas.max(1));
    let number = match start.replicas {
        Replicas::All => all,
        Replicas::UpTo(most) => most.min(all),
    };
    number as usize
}

#[async_trait]
impl Engine for FakeEngine {
    async fn check(&self) -> Result<(), EngineError> {
        Ok(())
    }

    async fn start(&self, start: Start<'_>) -> Result<Vec<Instance>, EngineError> {
        self.freezer.call("start", || self.started(&start)).await
    }

    async fn instances(&self, slot: &Slot) -> Result<Vec<Instance>, EngineError> {
        self.maybe_hang().await;
        Ok(self.in_slot(slot.app.as_str(), slot.color))
    }

    async fn inspect(&self, id: &InstanceId) -> Result<Option<Instance>, EngineError> {
        self.maybe_hang().await;
        Ok(self.state().instances.iter().find(|i| i.id == *id).cloned())
    }

    async fn restart(&self, id: &InstanceId) -> Result<Instance, EngineError> {
        let mut state = self.state();
        state.calls.push(format!("restart {id}"));
        state.next += 1;
        let port = u16::try_from(20_000 + state.next).unwrap();
        let instance = state
            .instances
            .iter_mut()
            .find(|i| i.id == *id)
            .ok_or_else(|| EngineError::Other {
                action: "restart".to_owned(),
                reason: "gone".to_owned(),
            })?;
        instance.state = InstanceState::Running;
        instance.restarts += 1;
        instance.address = Some(Address {
            ip: [127, 0, 0, 1].into(),
            port,
            published: false,
        });
        Ok(instance.clone())
    }

    async fn stop(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let exit = Exit {
            code: Some(0),
            oom_killed: false,
            error: None,
        };
        self.freezer
            .call("stop", || {
                let mut state = self.state();
                state.calls.push(format!("stop {id}"));
                state.stopping(id);
                if let Some(instance) = state.instances.iter_mut().find(|i| i.id == *id) {
                    instance.state = InstanceState::Exited(exit.clone());
                    instance.address = None;
                }
            })
            .await;
        Ok(exit)
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.freezer
            .call("remove", || {
                let mut state = self.state();
                state.calls.push(format!("remove {id}"));
                state.stopping(id);
                state.instances.retain(|i| i.id != *id);
            })
            .await;
        Ok(())
    }

    async fn shield(&self, slot: &Slot, shield: Shield) -> Result<Option<String>, EngineError> {
        self.freezer
            .call("shield", || {
                self.state().shields.insert(slot.clone(), shield);
            })
            .await;
        Ok(None)
    }

    async fn run_once(
        &self,
        once: Once<'_>,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OnceResult, EngineError> {
        let code = self
            .freezer
            .call("run_once", || {
                let mut state = self.state();
                let call = format!(
                    "once {} {} {}",
                    once.slot,
                    once.service,
                    once.command.join(" ")
                );
                state.calls.push(call);
                state.exit_codes.pop_front().unwrap_or(0)
            })
            .await;
        line("migrating".to_owned());
        Ok(OnceResult {
            exit: Exit {
                code: i32::try_from(code).ok(),
                oom_killed: false,
                error: None,
            },
            timed_out: false,
            log: vec!["migrating".to_owned()],
        })
    }

    async fn clear_once(&self, slot: &Slot) -> Result<(), EngineError> {
        self.freezer
            .call("clear_once", || {
                self.state().calls.push(format!("clear_once {slot}"));
            })
            .await;
        Ok(())
    }

    async fn clear(&self, slot: &Slot, services: &[String]) -> Result<(), EngineError> {
        self.freezer
            .call("clear", || {
                let mut state = self.state();
                state
                    .calls
                    .push(format!("clear {slot} {}", services.join(",")));
                let gone: Vec<_> = state
                    .instances
                    .iter()
                    .filter(|i| i.slot.as_ref() == Some(slot))
                    .filter(|i| services.is_empty() || services.contains(&i.service))
                    .map(|i| i.id.clone())
                    .collect();
                for id in &gone {
                    state.stopping(id);
                }
                state.instances.retain(|i| !gone.contains(&i.id));
            })
            .await;
        Ok(())
    }

    async fn set_live(&self, slot: &Slot, _: &Rendering, live: bool) -> Result<(), EngineError> {
        self.freezer
            .call("set_live", || {
                let mut state = self.state();
                state.calls.push(format!("set_live {slot} {live}"));
                state.live.insert(slot.clone(), live);
            })
            .await;
        Ok(())
    }

    async fn plain_instances(
        &self,
        app: &AppName,
        service: &str,
    ) -> Result<Vec<Instance>, EngineError> {
        let prefix = format!("plain-{app}-");
        Ok(self
            .state()
            .instances
            .iter()
            .filter(|i| i.id.0.starts_with(&prefix) && i.service == service)
            .filter(|i| i.state == InstanceState::Running)
            .cloned()
            .collect())
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.events.subscribe()
    }

    async fn usage(&self, _: &InstanceId) -> Result<Usage, EngineError> {
        Ok(self.state().usage)
    }

    async fn logs(
        &self,
        id: &InstanceId,
        _: usize,
        _: bool,
    ) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        let (sender, receiver) = mpsc::channel(1);
        let line = LogLine {
            service: "api".to_owned(),
            replica: 1,
            stderr: false,
            at: None,
            text: format!("last words of {id}"),
        };
        let _ = sender.try_send(line);
        Ok(receiver)
    }

    async fn healthcheck(
        &self,
        id: &InstanceId,
        _: Duration,
    ) -> Result<Option<HealthcheckResult>, EngineError> {
        let healthy = !self.state().unhealthy.contains(id);
        Ok(Some(HealthcheckResult {
            healthy,
            exit_code: i64::from(!healthy),
            output: if healthy { "ok" } else { "starting" }.to_owned(),
        }))
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &[String],
        _timeout: Duration,
    ) -> Result<HealthcheckResult, EngineError> {
        let mut state = self.state();
        state.calls.push(format!("exec {id} {}", command.join(" ")));
        let exit_code = state.exit_codes.pop_front().unwrap_or(0);
        Ok(HealthcheckResult {
            healthy: exit_code == 0,
            exit_code,
            output: format!("{exit_code} left\n"),
        })
    }

    async fn direct_connections(&self, _: &InstanceId) -> Result<Option<u32>, EngineError> {
        Ok(Some(self.state().direct))
    }

    fn describe(&self) -> String {
        "fake engine".to_owned()
    }
}
