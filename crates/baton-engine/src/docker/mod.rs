//! The `docker` engine: containers through the Engine API, started by `docker compose up`.
//!
//! | module | does |
//! | --- | --- |
//! | `client` | finds the engine, negotiates, bounds every call in time |
//! | `labels` | says whose a container is |
//! | `inspect` | a container as an [`Instance`] |
//! | `containers` | lists, stops and removes what carries Baton's labels |
//! | `start` | a color into its slot: `shared`, `compose_up` (by `cli`) |
//! | `shared` | networks and volumes of the user's project |
//! | `set_live`, `live_network` | who answers to the plain service name, and what a reboot revives |
//! | `shield`, `cgroup` | what a candidate is kept from doing to the live color |
//! | `once` | a command that runs to its end beside the instances |
//! | `events`, `oom` | what happens to containers, as [`EngineEvent`]s |
//! | `usage`, `logs`, `healthcheck`, `direct` | looks at one instance |
//! | `names` | what a container knows: its environment, other containers by name |
//! | `adopted` | what a plain container was started with, as a rendering |
//! | `restarts` | counts what Baton itself started again |
//! | `images` | tags the images of releases and prunes old ones |
//! | `brought` | images that come through the API: an archive, or a pull for somebody elsewhere |
//! | [`fetch`] | pull and build, for the command line |
//!
//! A container without Baton's labels is never touched, but one of a plain service that joins the
//! live network, and one that was adopted (see `set_live`).

mod adopted;
mod brought;
mod cgroup;
mod cli;
mod client;
mod compose_up;
mod containers;
mod direct;
mod events;
pub mod fetch;
mod healthcheck;
mod images;
mod inspect;
mod labels;
mod live_network;
mod logs;
mod names;
mod once;
mod oom;
mod restarts;
mod set_live;
mod shared;
mod shield;
mod start;
mod usage;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::project::FetchedImage;
use baton_compose::rendering::{ComposeModel, Rendering};
use baton_compose::{AppName, Color, Role};
use bollard::models::ContainerInspectResponse;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;

use self::client::{Client, call, failed, is_gone};
use crate::engine::{HealthcheckResult, ImageTar, KeptImages, WantedImage};
use crate::{
    Engine, EngineError, EngineEvent, Exit, Instance, InstanceId, LogLine, Once, OnceResult,
    Shield, Slot, Start, Usage,
};

/// Oldest `docker compose` that Baton drives: it keeps `x-*` keys in its YAML output.
const OLDEST_COMPOSE: (u32, u32) = (2, 20);
/// Events kept for a slow receiver before it lags and must list anew.
const EVENTS_KEPT: usize = 1024;

/// Runs instances in containers. Made inside a Tokio runtime; what follows the engine's events ends
/// when this is dropped.
pub struct DockerEngine {
    inner: Arc<Inner>,
    follower: JoinHandle<()>,
}

/// What the calls and the follower of events share.
struct Inner {
    host: String,
    client: Mutex<Option<Client>>,
    events: broadcast::Sender<EngineEvent>,
    /// Apps whose plain containers matter, with the names of their colored services.
    apps: Mutex<BTreeMap<AppName, BTreeSet<String>>>,
    /// What each slot was told last: to make an instance again that cannot be started.
    slots: Mutex<HashMap<Slot, SlotMemory>>,
    restarts: restarts::Restarts,
    shields: shield::Shields,
    /// The engine allows two networks of one name: they are made one at a time.
    networks: tokio::sync::Mutex<()>,
}

/// What a slot was told last.
#[derive(Debug, Clone)]
struct SlotMemory {
    rendering: Rendering,
    /// Release and role of the last start; None when only told by `set_live` after a daemon restart.
    started: Option<(u64, Role)>,
    /// How many instances of each service were started: made once more, one counts as restarted.
    services: BTreeMap<String, usize>,
    live: bool,
}

impl SlotMemory {
    /// These were taken away on purpose; all, when none are named.
    fn forget(&mut self, services: &[String]) {
        self.services
            .retain(|service, _| !services.is_empty() && !services.contains(service));
    }

    /// One of them was taken away on purpose.
    fn forget_one(&mut self, service: &str) {
        if let Some(count) = self.services.get_mut(service) {
            *count = count.saturating_sub(1);
        }
    }
}

impl fmt::Debug for DockerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DockerEngine")
            .field("host", &self.inner.host)
            .finish_non_exhaustive()
    }
}

impl Drop for DockerEngine {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

impl DockerEngine {
    /// The engine that the user's `docker` would use (`DOCKER_HOST`, else the system's socket). It
    /// need not run yet: calls fail until it does, and events begin when it does.
    #[must_use]
    pub fn open() -> DockerEngine {
        DockerEngine::at(client::default_host())
    }

    /// The engine at `unix:///path` or `tcp://host:port`.
    #[must_use]
    pub fn at(host: String) -> DockerEngine {
        let inner = Arc::new(Inner {
            host,
            client: Mutex::new(None),
            events: broadcast::Sender::new(EVENTS_KEPT),
            apps: Mutex::default(),
            slots: Mutex::default(),
            restarts: restarts::Restarts::default(),
            shields: shield::Shields::default(),
            networks: tokio::sync::Mutex::default(),
        });
        let follower = tokio::spawn(events::follow(Arc::clone(&inner)));
        DockerEngine { inner, follower }
    }

    /// Does the engine keep containers when it restarts? `baton check` recommends it
    /// (Engines.md §2).
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn live_restore(&self) -> Result<bool, EngineError> {
        Ok(self.inner.client().await?.live_restore)
    }
}

impl Inner {
    /// The connection, made at the first use and again after the engine was lost.
    async fn client(&self) -> Result<Client, EngineError> {
        if let Some(client) = lock(&self.client).clone() {
            return Ok(client);
        }
        let client = client::connect(&self.host).await?;
        *lock(&self.client) = Some(client.clone());
        Ok(client)
    }

    /// The next use connects anew: another engine version may have come.
    fn forget_client(&self) {
        *lock(&self.client) = None;
    }

    fn know(&self, app: &AppName, services: impl IntoIterator<Item = String>) {
        lock(&self.apps)
            .entry(app.clone())
            .or_default()
            .extend(services);
    }

    /// `restart:` of the file, by service, as the app's slots were told last.
    fn restart_policies(&self, app: &AppName) -> BTreeMap<String, String> {
        let slots = lock(&self.slots);
        let of_app = slots.iter().filter(|(slot, _)| slot.app == *app);
        of_app
            .filter_map(|(_, memory)| compose_model(&memory.rendering).ok())
            .flat_map(|model| &model.services)
            .map(|service| (service.name.clone(), service.restart.clone()))
            .collect()
    }

    async fn container(
        &self,
        id: &InstanceId,
    ) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let client = self.client().await?;
        match call(client.docker.inspect_container(&id.0, None)).await {
            Ok(container) => Ok(Some(container)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(failed(format!("looking at {id}"))(error)),
        }
    }

    /// With what Baton itself started again counted.
    fn instances(&self, found: &[ContainerInspectResponse], routable: bool) -> Vec<Instance> {
        let instances = containers::as_instances(found, routable).into_iter();
        instances
            .map(|instance| self.restarts.add(instance))
            .collect()
    }

    /// The container, or an error that says it is gone.
    async fn existing(
        &self,
        action: &'static str,
        id: &InstanceId,
    ) -> Result<ContainerInspectResponse, EngineError> {
        self.container(id).await?.ok_or_else(|| gone(action, id))
    }
}

fn gone(action: &'static str, id: &InstanceId) -> EngineError {
    EngineError::Instance {
        action,
        id: id.clone(),
        reason: "the container is gone".to_owned(),
    }
}

/// A panic while a map was held leaves at worst one entry of old news in it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compose_model(rendering: &Rendering) -> Result<&ComposeModel, EngineError> {
    match rendering {
        Rendering::Docker(model) => Ok(model),
        Rendering::Process(_) => Err(EngineError::Other {
            action: "using the docker engine".to_owned(),
            reason: "this release was rendered for processes".to_owned(),
        }),
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn check(&self) -> Result<(), EngineError> {
        self.inner.client().await?;
        check_compose(&self.inner.host).await
    }

    async fn start(&self, start: Start<'_>) -> Result<Vec<Instance>, EngineError> {
        start::start(&self.inner, start).await
    }

    async fn instances(&self, slot: &Slot) -> Result<Vec<Instance>, EngineError> {
        let client = self.inner.client().await?;
        let containers = containers::of_slot(&client.docker, slot).await?;
        Ok(self.inner.instances(&containers, client.routable))
    }

    async fn inspect(&self, id: &InstanceId) -> Result<Option<Instance>, EngineError> {
        let container = self.inner.container(id).await?;
        let routable = self.inner.client().await?.routable;
        let instance = container.map(|container| inspect::instance(&container, routable));
        Ok(instance.map(|instance| self.inner.restarts.add(instance)))
    }

    async fn restart(&self, id: &InstanceId) -> Result<Instance, EngineError> {
        start::restart(&self.inner, id).await
    }

    async fn stop(&self, id: &InstanceId) -> Result<Exit, EngineError> {
        let client = self.inner.client().await?;
        containers::stop(&client.docker, id).await
    }

    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        let client = self.inner.client().await?;
        let Some(container) = self.inner.container(id).await? else {
            return Ok(());
        };
        containers::stop(&client.docker, id).await?;
        containers::remove(&client.docker, &id.0).await?;
        let instance = inspect::instance(&container, false);
        self.inner.restarts.forget_one(&instance);
        if let Some(slot) = &instance.slot
            && let Some(memory) = lock(&self.inner.slots).get_mut(slot)
        {
            memory.forget_one(&instance.service);
        }
        Ok(())
    }

    async fn clear(&self, slot: &Slot, services: &[String]) -> Result<(), EngineError> {
        let client = self.inner.client().await?;
        containers::clear(&client.docker, slot, services).await?;
        self.inner.restarts.forget(slot, services);
        if let Some(memory) = lock(&self.inner.slots).get_mut(slot) {
            memory.forget(services);
        }
        if services.is_empty() {
            once::clear_once(&self.inner, slot).await?;
            shield::forget(&self.inner, &client, slot);
        }
        Ok(())
    }

    async fn run_once(
        &self,
        once: Once<'_>,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OnceResult, EngineError> {
        once::run_once(&self.inner, once, line).await
    }

    async fn clear_once(&self, slot: &Slot) -> Result<(), EngineError> {
        once::clear_once(&self.inner, slot).await
    }

    async fn shield(&self, slot: &Slot, shield: Shield) -> Result<Option<String>, EngineError> {
        shield::shield(&self.inner, slot, shield).await
    }

    async fn set_live(
        &self,
        slot: &Slot,
        rendering: &Rendering,
        live: bool,
    ) -> Result<(), EngineError> {
        set_live::set_live(&self.inner, slot, rendering, live).await
    }

    async fn forget(&self, app: &AppName) -> Result<(), EngineError> {
        lock(&self.inner.apps).remove(app);
        let client = self.inner.client().await?;
        let _guard = self.inner.networks.lock().await;
        let policies = self.inner.restart_policies(app);
        set_live::give_back(&client.docker, app, &policies).await?;
        live_network::remove(&client.docker, &live_network::name_of(app)).await?;
        lock(&self.inner.slots).retain(|slot, _| slot.app != *app);
        Ok(())
    }

    async fn prune_images(
        &self,
        app: &AppName,
        service: &str,
        keep: &[u64],
    ) -> Result<Vec<String>, EngineError> {
        let client = self.inner.client().await?;
        images::prune(&client.docker, app, service, keep).await
    }

    async fn load_images(&self, archive: ImageTar) -> Result<Vec<String>, EngineError> {
        let client = self.inner.client().await?;
        brought::load(&client.docker, archive).await
    }

    async fn fetch_image(
        &self,
        wanted: WantedImage,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<FetchedImage, EngineError> {
        let client = self.inner.client().await?;
        brought::fetch(&client.docker, wanted, line).await
    }

    async fn kept_images(&self, app: &AppName, service: &str) -> Result<KeptImages, EngineError> {
        let client = self.inner.client().await?;
        images::kept(&client.docker, app, service).await
    }

    async fn plain_instances(
        &self,
        app: &AppName,
        service: &str,
    ) -> Result<Vec<Instance>, EngineError> {
        self.inner.know(app, [service.to_owned()]);
        let client = self.inner.client().await?;
        let containers = containers::plain(&client.docker, app, Some(service)).await?;
        Ok(self.inner.instances(&containers, client.routable))
    }

    async fn adopt(
        &self,
        app: &AppName,
        renderings: &[(Color, Role, Rendering)],
        adopted: &BTreeMap<String, Vec<InstanceId>>,
    ) -> Result<Vec<(Color, Role, Rendering)>, EngineError> {
        adopted::adopt(&self.inner, app, renderings, adopted).await
    }

    fn events(&self) -> broadcast::Receiver<EngineEvent> {
        self.inner.events.subscribe()
    }

    async fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError> {
        usage::usage(&self.inner, id).await
    }

    async fn logs(
        &self,
        id: &InstanceId,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, EngineError> {
        logs::logs(&self.inner, id, tail, follow).await
    }

    async fn healthcheck(
        &self,
        id: &InstanceId,
        timeout: Duration,
    ) -> Result<Option<HealthcheckResult>, EngineError> {
        healthcheck::healthcheck(&self.inner, id, timeout).await
    }

    async fn exec(
        &self,
        id: &InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<HealthcheckResult, EngineError> {
        healthcheck::exec(&self.inner, id, command, timeout).await
    }

    async fn environment(
        &self,
        id: &InstanceId,
    ) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        names::environment(&self.inner, id).await
    }

    async fn resolve(
        &self,
        app: &AppName,
        name: &str,
        port: u16,
    ) -> Result<Option<SocketAddr>, EngineError> {
        names::resolve(&self.inner, app, name, port).await
    }

    async fn direct_connections(&self, id: &InstanceId) -> Result<Option<u32>, EngineError> {
        let container = self
            .inner
            .existing("counting the connections of", id)
            .await?;
        let client = self.inner.client().await?;
        Ok(client.local.then(|| direct::count(&container)).flatten())
    }

    fn describe(&self) -> String {
        format!("docker at {}", self.inner.host)
    }
}

/// Is `docker compose` there, and new enough?
async fn check_compose(host: &str) -> Result<(), EngineError> {
    let missing = |reason: String| {
        EngineError::Missing {
        what: "docker compose 2.20 or newer",
        reason,
        next: "install the package docker-compose-plugin, or put the docker-compose binary into ~/.docker/cli-plugins"
            .to_owned(),
    }
    };
    let output = cli::Run {
        action: "docker compose version",
        args: ["compose", "version", "--short"].map(Into::into).to_vec(),
        environment: Some(cli::scrubbed_environment(host, &BTreeMap::new())),
        directory: None,
        input: None,
        timeout: client::CALL_TIMEOUT,
    }
    .quiet()
    .await?;
    if !output.success {
        return Err(missing(output.complaint()));
    }
    match compose_version(&output.stdout) {
        Some(version) if version >= OLDEST_COMPOSE => Ok(()),
        _ => Err(missing(format!("found version {}", output.stdout.trim()))),
    }
}

fn compose_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().trim_start_matches('v').split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_versions_are_read_with_and_without_v() {
        assert_eq!(compose_version("2.40.3\n"), Some((2, 40)));
        assert_eq!(compose_version("v2.20.0-desktop.1"), Some((2, 20)));
        assert!(compose_version("1.29.2").expect("a version") < OLDEST_COMPOSE);
        assert_eq!(compose_version("dev"), None);
    }
}
