//! The one trait that `docker` and `process` implement.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use baton_compose::project::FetchedImage;
use baton_compose::rendering::Rendering;
use baton_compose::{AppName, Color, Role};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::{
    EngineError, EngineEvent, Exit, Instance, InstanceId, LogLine, Once, OnceResult, Usage,
};

/// One color of one app: the place where a release runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Slot {
    pub app: AppName,
    pub color: Color,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.app, self.color)
    }
}

/// What to start in a slot. The rendering has its images and its release number filled in.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    pub slot: &'a Slot,
    /// `7` for `r7`; a label of each container.
    pub release: u64,
    pub role: Role,
    pub rendering: &'a Rendering,
    /// Services of the rendering to start now: workers start after the switch, the others before.
    pub services: &'a [String],
    pub replicas: Replicas,
    /// The slot is under [`Shield::Candidate`] from its first moment. Otherwise it stays under the
    /// shield it has, or, when nothing else is left in it, begins without one.
    pub shielded: bool,
}

/// How many instances of each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replicas {
    /// As many as the rendering says.
    #[default]
    All,
    /// So many of them, and never more than the rendering says: a rolling deploy adds one after the
    /// other. Those that run are kept.
    UpTo(u32),
}

impl Replicas {
    /// How many instances a service of so many replicas is to have.
    #[must_use]
    pub fn of(self, replicas: u32) -> u32 {
        match self {
            Replicas::All => replicas,
            Replicas::UpTo(most) => most.min(replicas),
        }
    }
}

/// What a slot is kept from doing to the live color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Shield {
    /// The live color: as its file says.
    #[default]
    None,
    /// It was live and still answers: the kernel ends it first when memory runs out.
    Leaving,
    /// That, and it gets CPU only when nobody else wants it: by the weight of a parent cgroup, since
    /// low shares of its own would make a JVM size its pools for ever.
    Candidate,
}

/// Runs the instances of slots. Every method may be called again after a crash at any point and then
/// ends well: a step of a deploy is run again when its outcome was never written.
///
/// Cancel safety: none is promised; callers run a method to its end.
#[async_trait]
pub trait Engine: Send + Sync + fmt::Debug {
    /// Can instances be started now? The error says what is missing and what to do.
    async fn check(&self) -> Result<(), EngineError>;

    /// Makes the shared networks and volumes, clears what an earlier release left in the slot
    /// (only services in `start.services`; anonymous volumes too), and starts them. Instances that already run this very
    /// release in this slot are kept. Returns when they were started, not when they are healthy.
    /// Starts without a restart policy: [`Engine::set_live`] gives the live color its own.
    async fn start(&self, start: Start<'_>) -> Result<Vec<Instance>, EngineError>;

    /// Everything of `slot` that exists, running or not, also what a former daemon started.
    async fn instances(&self, slot: &Slot) -> Result<Vec<Instance>, EngineError>;

    /// One instance as it is now; None when it is gone.
    async fn inspect(&self, id: &InstanceId) -> Result<Option<Instance>, EngineError>;

    /// Starts an instance of the live color again after it ended. Its address may be another one.
    async fn restart(&self, id: &InstanceId) -> Result<Instance, EngineError>;

    /// Sends the stop signal, waits `stop_grace_period`, then kills. Idempotent.
    async fn stop(&self, id: &InstanceId) -> Result<Exit, EngineError>;

    /// Stops and removes everything of the slot, commands that run once included; of `services` only,
    /// unless that is empty. Idempotent; the user's networks and named volumes stay.
    async fn clear(&self, slot: &Slot, services: &[String]) -> Result<(), EngineError>;

    /// `true`: the slot becomes what a reboot revives, and the plain services find it by its plain
    /// service names (docker: restart policy of the file, alias in the `_live` network).
    /// `false`: neither any more; connections that are open stay usable. Idempotent.
    ///
    /// Where blue holds no instance of a service of the rendering, its plain instances are meant:
    /// `true` adopts them as `r0`, `false` ends that. Their stop and restart go by their ids.
    async fn set_live(
        &self,
        slot: &Slot,
        rendering: &Rendering,
        live: bool,
    ) -> Result<(), EngineError>;

    /// The app is taken away: what the engine made for the whole app and no slot holds (docker: the
    /// live network) is removed. After both slots were cleared. Idempotent.
    async fn forget(&self, _app: &AppName) -> Result<(), EngineError> {
        Ok(())
    }

    /// Removes what this service's older releases left on the disk (docker: images tagged
    /// `baton/<app>-<service>:rN`, which `start` tags), but for the releases `keep` and whatever a
    /// container holds. Returns the names that went.
    async fn prune_images(
        &self,
        _app: &AppName,
        _service: &str,
        _keep: &[u64],
    ) -> Result<Vec<String>, EngineError> {
        Ok(Vec::new())
    }

    /// Takes an archive of `docker save`; returns the names of its images, or the IDs of those without.
    async fn load_images(&self, _archive: ImageTar) -> Result<Vec<String>, EngineError> {
        Err(no_images())
    }

    /// Finds an image on this machine, or pulls it; lines about the pull go to `line` as they come.
    async fn fetch_image(
        &self,
        _wanted: WantedImage,
        _line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<FetchedImage, EngineError> {
        Err(no_images())
    }

    /// What of this service [`Engine::prune_images`] would find.
    async fn kept_images(&self, _app: &AppName, _service: &str) -> Result<KeptImages, EngineError> {
        Ok(KeptImages::default())
    }

    /// Instances of this service that plain Compose (not Baton) started and that run; for adoption
    /// as `r0`. Empty for engines without Compose.
    async fn plain_instances(
        &self,
        app: &AppName,
        service: &str,
    ) -> Result<Vec<Instance>, EngineError>;

    /// The renderings with each service as its `adopted` containers were started (image, command,
    /// environment, mounts, limits), so that `r0` can be started again after them. The image is kept
    /// from being pruned (docker: tagged `baton/<app>-<service>:r0`). Idempotent.
    async fn adopt(
        &self,
        _app: &AppName,
        renderings: &[(Color, Role, Rendering)],
        _adopted: &BTreeMap<String, Vec<InstanceId>>,
    ) -> Result<Vec<(Color, Role, Rendering)>, EngineError> {
        Ok(renderings.to_vec())
    }

    /// Puts the slot under `shield`, all of its processes and those that they start later; until the
    /// next call, over restarts of its instances. Returns what this machine does not allow, as a
    /// sentence for a person. Idempotent.
    async fn shield(&self, _slot: &Slot, _shield: Shield) -> Result<Option<String>, EngineError> {
        Ok(None)
    }

    /// Stops one instance as [`Engine::stop`] does, and removes it. Idempotent.
    async fn remove(&self, id: &InstanceId) -> Result<(), EngineError> {
        self.stop(id).await.map(drop)
    }

    /// Runs a command to its end; lines of its output go to `line` as they come. What an earlier run
    /// left in the slot (the daemon was killed) is ended and removed first. Nothing of it counts as an
    /// instance. One that cannot be executed ends with exit code 126 or 127, and says why.
    ///
    /// A caller that does not wait for the end calls [`Engine::clear_once`].
    async fn run_once(
        &self,
        once: Once<'_>,
        line: &(dyn Fn(String) + Send + Sync),
    ) -> Result<OnceResult, EngineError>;

    /// Ends and removes what a [`Engine::run_once`] left that was cut off, of a former daemon too.
    /// Idempotent.
    async fn clear_once(&self, slot: &Slot) -> Result<(), EngineError>;

    /// What happens to instances, from now on. A lagged receiver must list [`Engine::instances`] anew.
    fn events(&self) -> broadcast::Receiver<EngineEvent>;

    async fn usage(&self, id: &InstanceId) -> Result<Usage, EngineError>;

    /// The last `tail` lines, then, with `follow`, new ones until the receiver is dropped.
    async fn logs(
        &self,
        id: &InstanceId,
        tail: usize,
        follow: bool,
    ) -> Result<mpsc::Receiver<LogLine>, EngineError>;

    /// Runs the service's own Compose healthcheck once inside the instance; None where it has none.
    async fn healthcheck(
        &self,
        id: &InstanceId,
        timeout: Duration,
    ) -> Result<Option<HealthcheckResult>, EngineError>;

    /// Runs a command inside the instance (docker), or beside it in its environment (process), and
    /// waits for its end. One that takes longer than `timeout` counts as failed. `healthy` means
    /// exit code 0.
    async fn exec(
        &self,
        id: &InstanceId,
        _command: &[String],
        _timeout: Duration,
    ) -> Result<HealthcheckResult, EngineError> {
        Err(EngineError::Instance {
            action: "run a command in",
            id: id.clone(),
            reason: "this engine cannot".to_owned(),
        })
    }

    /// The final environment of an instance, what its image adds included; None where the engine
    /// adds nothing to what the rendering says, or the instance is gone. Holds secrets.
    async fn environment(
        &self,
        _id: &InstanceId,
    ) -> Result<Option<BTreeMap<String, String>>, EngineError> {
        Ok(None)
    }

    /// Where this machine reaches `port` of the host that the app's instances know by `name` (a
    /// service of its compose file without `x-baton`); None when no running plain container has that
    /// name, or for an engine without names of its own.
    async fn resolve(
        &self,
        _app: &AppName,
        _name: &str,
        _port: u16,
    ) -> Result<Option<SocketAddr>, EngineError> {
        Ok(None)
    }

    /// Established TCP connections to the instance that do not come through Baton (from other
    /// services on the live network); None where this cannot be known.
    async fn direct_connections(&self, id: &InstanceId) -> Result<Option<u32>, EngineError>;

    /// Address on which an app of this engine is reached from the daemon, for messages and tests.
    fn describe(&self) -> String;
}

fn no_images() -> EngineError {
    EngineError::Other {
        action: "images".to_owned(),
        reason: "this engine has none".to_owned(),
    }
}

/// An archive of images, as `docker save` writes it, plain or compressed.
pub type ImageTar = BoxStream<'static, std::io::Result<Bytes>>;

/// An image that a deploy from elsewhere needs on this machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WantedImage {
    /// `registry.example/shop/api:1.4`
    pub reference: String,
    /// Ask the registry even when an image of this name is here.
    #[serde(default)]
    pub always: bool,
    /// Never ask a registry.
    #[serde(default)]
    pub never: bool,
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// A login at a registry. Its `Debug` shows nothing of it.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct Credentials {
    /// Empty with a token.
    #[serde(default)]
    pub username: String,
    #[serde(default)]
    pub password: String,
    /// An identity token, in place of a password.
    #[serde(default)]
    pub identity_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// The images that are kept of a service's releases, for a rollback.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptImages {
    /// `baton/shop-api`; tagged `r3` for release 3.
    pub repository: String,
    /// In rising order.
    pub releases: Vec<u64>,
    /// Their size on the disk; what they share among each other may be counted more than once.
    pub bytes: u64,
}

/// Outcome of one run of a Compose healthcheck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthcheckResult {
    pub healthy: bool,
    pub exit_code: i64,
    /// First bytes of its output.
    pub output: String,
}

/// Where the proxy reaches an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    pub ip: IpAddr,
    pub port: u16,
    /// Through a port that the engine publishes: an accepted connection proves nothing there
    /// (Engines.md §2).
    pub published: bool,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}
