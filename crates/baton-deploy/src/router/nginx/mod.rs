//! An nginx that is already there as the router. Baton owns one file that it includes.
//!
//! | module | does |
//! | --- | --- |
//! | `include` | the text of that file |
//! | `rules` | what an `x-baton` asks for and nginx cannot do: refused by name |
//! | `place` | the file: whole or not at all, and what was before until the new one is verified |
//! | `command` | `nginx -t`, the reload, and the server that says which text nginx follows |
//! | `apply` | one change: write, test, reload, verify, or put back |
//! | `workers` | nginx's processes and their connections: what a drain waits for |
//!
//! A reload closes clients' idle connections, so nothing is reloaded whose text is the same.

mod apply;
mod command;
mod include;
mod place;
mod rules;
mod workers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use baton_compose::AppName;
use baton_engine::{Instance, InstanceId};
use tokio::sync::Notify;

use self::command::Commands;
use self::include::Upstream;
use self::place::Place;
use self::workers::Worker;
use super::{Feature, Figures, InstanceFigures, RouteError, Router, ServiceRoute};

/// A daemon that starts waits so long for nginx to follow; then nginx goes on with what it has.
const BEGINS: Duration = Duration::from_secs(3);

/// How often a drain looks.
const LOOK: Duration = Duration::from_millis(100);

/// How long what the kernel showed is taken as now, where it is only for show.
const FRESH: Duration = Duration::from_millis(250);

/// After a change that nginx did not take, it is tried again so often.
const AGAIN: Duration = Duration::from_secs(3);

/// Addresses that are remembered, of instances that are gone.
const KEEP: usize = 256;

/// How Baton finds its nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxSettings {
    /// The file that Baton owns; nginx must include it in its `http` block.
    pub include: PathBuf,
    /// Program and first arguments, before `-t`.
    pub command: Vec<String>,
    /// None: the command with `-s reload`.
    pub reload: Option<Vec<String>>,
    /// Loopback address of the server in the include that Baton asks.
    pub check: SocketAddr,
}

/// The include file cannot be Baton's.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct NginxError {
    file: PathBuf,
    reason: String,
}

/// Carries traffic with an nginx that is already there.
#[derive(Debug)]
pub struct Nginx {
    place: Place,
    commands: Commands,
    /// One change after the other.
    applying: tokio::sync::Mutex<()>,
    /// What is wanted is there for the first time.
    begins: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// All that is live has been published once: what comes counts.
    begun: bool,
    /// A trial was put back at the start, and nginx may just be about to follow it: what it says of itself
    /// counts only after another reload, which it takes after the one of the trial.
    in_doubt: bool,
    wanted: Vec<ServiceRoute>,
    /// The body that nginx is known to follow.
    applied: Option<String>,
    /// What that body leads to.
    upstreams: Vec<Upstream>,
    serving: HashMap<InstanceId, SocketAddr>,
    /// Where instances were, also those that serve no more.
    known: HashMap<InstanceId, SocketAddr>,
    /// Of an instance that serves no more: the workers that knew it.
    left: HashMap<InstanceId, Vec<Worker>>,
    /// It was cut: nobody waits for it any more.
    cut: Vec<InstanceId>,
    /// What nginx would not take the last time.
    refused: Option<(Instant, String, RouteError)>,
    /// A worker, for finding the network where they all live.
    worker: Option<u32>,
    seen: Option<(Instant, Arc<HashMap<SocketAddr, u64>>)>,
}

impl Nginx {
    /// Puts back what was not verified before a kill, and tries again what nginx does not take; on a
    /// tokio runtime.
    ///
    /// # Errors
    /// The folder of the include is not there, or somebody else's file is in the place.
    pub fn start(settings: NginxSettings) -> Result<Arc<Nginx>, NginxError> {
        let (place, untested) = Place::open(&settings.include).map_err(|error| NginxError {
            file: settings.include.clone(),
            reason: error.to_string(),
        })?;
        if untested.is_some() {
            tracing::warn!(
                file = %place.file().display(),
                "it was written and not verified before the daemon ended; what was before is put back"
            );
        }
        let text = place.read().unwrap_or_default();
        let in_doubt = untested.is_some();
        // Of a trial, too: nginx may follow it, and forward to it until it follows something else.
        let serving: HashMap<_, _> = [Some(text), untested]
            .iter()
            .flatten()
            .flat_map(|text| include::servers(text))
            .collect();
        let nginx = Arc::new(Nginx {
            place,
            commands: Commands {
                nginx: settings.command,
                reload: settings.reload,
                check: settings.check,
            },
            applying: tokio::sync::Mutex::default(),
            begins: Notify::new(),
            state: Mutex::new(State {
                in_doubt,
                known: serving.clone(),
                serving,
                ..State::default()
            }),
        });
        tokio::spawn(again(Arc::downgrade(&nginx)));
        Ok(nginx)
    }

    /// The file that Baton owns.
    #[must_use]
    pub fn include(&self) -> &Path {
        self.place.file()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings nginx to what is wanted now.
    async fn settle(&self) -> Result<(), RouteError> {
        let wanted = self.state().wanted.clone();
        self.apply(include::upstreams(&wanted)?).await
    }

    /// Connections that are open to the instance, and whether workers that knew it are still there.
    fn open(&self, id: &InstanceId, fresh: bool) -> Option<(u64, bool)> {
        let mut state = self.state();
        let address = *state.known.get(id)?;
        let seen = match &state.seen {
            Some((at, seen)) if !fresh && at.elapsed() < FRESH => Arc::clone(seen),
            _ => {
                let worker = state.worker;
                let seen = Arc::new(workers::connections(worker));
                state.seen = Some((Instant::now(), Arc::clone(&seen)));
                seen
            }
        };
        let open = seen.get(&address).copied().unwrap_or_default();
        let left = state.left.get(id).cloned().unwrap_or_default();
        drop(state);
        Some((open, left.iter().any(Worker::is_alive)))
    }

    /// Nothing of nginx leads to it, or may lead to it later.
    fn is_drained(&self, id: &InstanceId) -> bool {
        let state = self.state();
        if state.serving.contains_key(id) {
            return false;
        }
        if state.cut.contains(id) {
            return true;
        }
        drop(state);
        self.open(id, true)
            .is_none_or(|(open, workers)| open == 0 && !workers)
    }

    fn names_of(&self, app: &AppName) -> Vec<String> {
        let state = self.state();
        let of = state.upstreams.iter().filter(|up| up.app == app.as_str());
        of.filter(|up| !up.name.ends_with("_preview"))
            .map(|up| up.name.clone())
            .collect()
    }

    /// Does a file of nginx other than Baton's name one of these? True where nginx does not tell.
    async fn is_named(&self, names: &[String]) -> bool {
        let Ok(dump) = self.commands.dump().await else {
            return true;
        };
        // By its name: nginx may know another way to the folder, or live in a container.
        let own = self.place.file().file_name();
        let mut inside = false;
        dump.lines().any(|line| {
            if let Some(file) = line.strip_prefix("# configuration file ") {
                inside = Path::new(file.trim_end_matches(':')).file_name() == own;
            }
            let line = line.split('#').next().unwrap_or_default();
            !inside && names.iter().any(|name| has_word(line, name))
        })
    }
}

/// `http://baton_shop;` has `baton_shop`, `http://baton_shop_api;` has not.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    line.split(|c: char| !part(c)).any(|found| found == word)
}

/// Tries again what nginx did not take: it may not have run yet, or somebody's file was broken.
async fn again(nginx: std::sync::Weak<Nginx>) {
    let mut told = None;
    loop {
        let Some(nginx) = nginx.upgrade() else { return };
        if !nginx.state().begun {
            let _ = tokio::time::timeout(AGAIN, nginx.begins.notified()).await;
            continue;
        }
        match nginx.settle().await {
            Ok(()) => told = None,
            Err(error) => {
                // Once for each reason.
                let text = error.to_string();
                if told.as_ref() != Some(&text) {
                    tracing::error!("nginx does not follow yet; trying again: {text}");
                    told = Some(text);
                }
            }
        }
        drop(nginx);
        tokio::time::sleep(AGAIN).await;
    }
}

#[async_trait]
impl Router for Nginx {
    async fn publish(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        {
            let mut state = self.state();
            state.wanted = routes.to_vec();
            state.learn(routes);
            if !state.begun {
                return Ok(());
            }
        }
        self.settle().await
    }

    fn check(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        include::upstreams(routes)?;
        let state = self.state();
        // What is published already is not refused again: it would stand against other apps.
        let published = |route: &ServiceRoute| {
            state.wanted.iter().any(|known| {
                (&known.app, &known.service, known.role) == (&route.app, &route.service, route.role)
                    && Arc::ptr_eq(&known.policy, &route.policy)
            })
        };
        let misfits: Vec<String> = routes
            .iter()
            .filter(|route| !published(route))
            .flat_map(rules::misfits)
            .collect();
        if misfits.is_empty() {
            Ok(())
        } else {
            Err(RouteError::Refused(misfits.join("; ")))
        }
    }

    async fn prepare(&self, routes: &[ServiceRoute]) -> Result<(), RouteError> {
        self.apply(include::upstreams(routes)?).await?;
        // Before the next look of `again`: it must not take this back.
        self.state().wanted = routes.to_vec();
        Ok(())
    }

    async fn begin(&self) {
        let wanted = {
            let mut state = self.state();
            state.begun = true;
            state.wanted.clone()
        };
        for misfit in wanted.iter().flat_map(rules::misfits) {
            tracing::warn!("{misfit}");
        }
        self.begins.notify_one();
        let begun = Instant::now();
        while self.state().applied.is_none() && begun.elapsed() < BEGINS {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn reaches(&self, app: &AppName, adopted: bool) -> Result<(), RouteError> {
        let refused = |text: String| Err(RouteError::Refused(text));
        if let Err(error) = self.settle().await {
            return refused(format!("nothing was changed: {error}"));
        }
        if let Err(said) = self.commands.test().await {
            return refused(format!(
                "nginx would not take its own configuration as it is now, before anything was changed; repair that first: {said}"
            ));
        }
        let names = self.names_of(app);
        if adopted && !names.is_empty() && !self.is_named(&names).await {
            return refused(format!(
                "nginx sends nobody to {name} yet, so that a switch would reach nobody and the end of the old container everybody: the upstream is there now and leads to the container that serves. Write `proxy_pass http://{name};` into the server block in place of the address that it has, reload nginx, and deploy again",
                name = names.join(" or ")
            ));
        }
        Ok(())
    }

    fn lacks(&self, feature: Feature) -> Option<&'static str> {
        Some(rules::lacks(feature))
    }

    fn counts(&self) -> bool {
        false
    }

    fn figures(&self, _: &AppName) -> Figures {
        Figures::default()
    }

    fn reset_longest_held(&self, _: &AppName) {}

    /// Connections only. Whether bytes move on them cannot be seen: they count as moving.
    fn instance(&self, id: &InstanceId) -> Option<InstanceFigures> {
        let (open, workers) = self.open(id, false)?;
        let cut = self.state().cut.contains(id);
        let draining = if cut { 0 } else { open.max(u64::from(workers)) };
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let ticks = now.map_or(0, |now| now.as_secs());
        Some(InstanceFigures {
            in_flight: if cut { 0 } else { open },
            draining,
            opaque: draining,
            body_bytes: if draining > 0 { ticks } else { 0 },
            ..InstanceFigures::default()
        })
    }

    async fn drained(&self, id: &InstanceId) {
        while !self.is_drained(id) {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The connections are nginx's: they end with the instance. What is open is counted.
    async fn cut(&self, id: &InstanceId) -> u64 {
        if self.state().serving.contains_key(id) {
            return 0;
        }
        let open = self.open(id, true).map_or(0, |(open, _)| open);
        let mut state = self.state();
        if state.cut.contains(id) {
            return 0;
        }
        state.cut.push(id.clone());
        open
    }

    fn unattached(&self, _: &AppName) -> u64 {
        0
    }

    async fn streams_ended(&self, _: &InstanceId) {}

    async fn requests_drained(&self, id: &InstanceId) {
        self.drained(id).await;
    }

    /// They stay with nginx's old workers; refused as a setting.
    fn end_websockets(&self, _: &InstanceId, _: u16, _: Duration, _: bool) {}

    fn sessions(&self, _: &InstanceId) -> u64 {
        0
    }

    fn session_cookie(&self, _: &AppName) -> Option<String> {
        None
    }
}

impl State {
    /// Where the instances of these routes are.
    fn learn(&mut self, routes: &[ServiceRoute]) {
        let all = routes
            .iter()
            .flat_map(|route| route.instances.iter().chain(&route.halves));
        let found: Vec<(InstanceId, SocketAddr)> = all.filter_map(place_of).collect();
        self.known.extend(found);
        if self.known.len() > KEEP {
            let (serving, left) = (&self.serving, &self.left);
            self.known
                .retain(|id, _| serving.contains_key(id) || left.contains_key(id));
        }
    }
}

fn place_of(instance: &Instance) -> Option<(InstanceId, SocketAddr)> {
    let address = instance.address?;
    let address = SocketAddr::new(address.ip, address.port);
    Some((instance.id.clone(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole_word() {
        assert!(has_word("  proxy_pass http://baton_shop;", "baton_shop"));
        assert!(has_word("set $to \"baton_shop\";", "baton_shop"));
        assert!(has_word("grpc_pass grpc://baton_shop/x;", "baton_shop"));
        assert!(!has_word("proxy_pass http://baton_shop_api;", "baton_shop"));
        assert!(!has_word("proxy_pass http://127.0.0.1:80;", "baton_shop"));
    }
}
