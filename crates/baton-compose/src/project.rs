//! What one read of the user's files gives.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::color::{AppName, Color, Role};
use crate::policy::{Notify, Overlap, Policy, Strategy};
use crate::rendering::Rendering;

/// Who runs the instances of an app.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Default,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    #[default]
    Docker,
    Process,
}

/// An app as its files say it, rendered for both colors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Project {
    pub app: AppName,
    pub engine: EngineKind,
    /// Folder of the first file; where `docker compose` is run for the plain services.
    pub directory: PathBuf,
    pub files: Vec<PathBuf>,
    /// Services with `x-baton`.
    pub services: Vec<Service>,
    /// Services without: started once with plain Compose, in dependency order, then left alone.
    pub plain: Vec<PlainService>,
    /// One rendering per color and role; the preview ones only where `x-baton.preview` asks.
    pub renderings: Vec<(Color, Role, Rendering)>,
    /// Every key that was changed or dropped, and what is not part of a release. For the plan.
    pub notices: Vec<Notice>,
    /// What the pipeline says about it; decides nothing of what runs.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// Where a release comes from, as the pipeline says it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// Hash of the commit.
    pub commit: Option<String>,
    /// Who made the commit, or started the pipeline.
    pub author: Option<String>,
    /// Page of the pipeline's run: `https://…`
    pub pipeline: Option<String>,
}

/// A service with `x-baton`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    pub name: String,
    pub policy: Policy,
    /// Docker engine only.
    pub image: Option<Image>,
    pub replicas: u32,
    /// The Compose healthcheck of the service, as the file says it; None if it has none.
    pub has_compose_healthcheck: bool,
}

impl Project {
    /// How the app goes live: all services that say it say the same.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        let said = self.services.iter().map(|service| service.policy.strategy);
        said.into_iter()
            .find(|strategy| *strategy != Strategy::default())
            .unwrap_or_default()
    }

    /// The strictest of the services: `never`, then `preferred`, then `required`.
    #[must_use]
    pub fn overlap(&self) -> Overlap {
        let said = self.services.iter().map(|service| service.policy.overlap);
        said.max().unwrap_or_default()
    }

    /// How long the new color is compared with the time before: the longest of the services that take
    /// traffic, zero where none does.
    #[must_use]
    pub fn watch(&self) -> Duration {
        let routed = self
            .services
            .iter()
            .filter(|service| service.policy.worker.is_none());
        routed
            .map(|service| service.policy.watch)
            .max()
            .unwrap_or_default()
    }

    /// Who is told what a deploy of the app comes to, each once.
    #[must_use]
    pub fn notify(&self) -> Vec<Notify> {
        let mut all: Vec<Notify> = Vec::new();
        for notify in self.services.iter().flat_map(|s| &s.policy.notify) {
            if !all.contains(notify) {
                all.push(notify.clone());
            }
        }
        all
    }

    /// Is there a test server to stage? Then there are renderings of [`Role::Preview`].
    #[must_use]
    pub fn has_preview(&self) -> bool {
        self.started(Role::Preview).next().is_some()
    }

    /// The services that run in a color of this role.
    pub fn started(&self, role: Role) -> impl Iterator<Item = &Service> {
        let starts = move |service: &&Service| service.starts_in(role);
        self.services.iter().filter(starts)
    }
}

impl Service {
    /// A preview has only services that say `preview`: any other would use what the live color uses.
    #[must_use]
    pub fn starts_in(&self, role: Role) -> bool {
        match role {
            Role::Live => true,
            Role::Preview => self.policy.preview.is_some(),
        }
    }
}

/// Where a service's image comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// `registry.example/shop/api:1.4`, or what Compose would name a built image.
    pub reference: String,
    /// The service has `build:`.
    pub build: bool,
    /// `always`, `missing`, `never`, `build`, … as the file says.
    pub pull_policy: Option<String>,
}

/// A service without `x-baton`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlainService {
    pub name: String,
    /// Compose's own hash of its configuration (`config --hash`), to see whether its part changed.
    pub config_hash: Option<String>,
    /// Plain services this one needs started first.
    pub depends_on: Vec<String>,
    /// How far it must have come before the services that depend on it may start.
    #[serde(default)]
    pub awaited: Awaited,
}

/// What `depends_on` of the other services asks of a plain one (the strongest of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Awaited {
    #[default]
    Started,
    /// `condition: service_healthy`
    Healthy,
    /// `condition: service_completed_successfully`
    Completed,
}

/// One line of the plan about the user's file: `services.api.container_name: dropped, …`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Notice {
    /// Key path, e.g. `services.api.ports`.
    pub key: String,
    /// What Baton did and why, one sentence.
    pub text: String,
}

/// Image IDs (`sha256:…`) by service, as the command line pulled or built them.
pub type FetchedImages = BTreeMap<String, FetchedImage>;

/// An image that is on the machine now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FetchedImage {
    /// `sha256:<64 hex>`: what the color runs.
    pub id: String,
    /// What the file named.
    pub reference: String,
    /// `name@sha256:…` when it was pulled.
    pub repo_digest: Option<String>,
}
