//! A release: an image, its rendering for both colors, its policy.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use baton_compose::policy::Worker;
use baton_compose::project::FetchedImages;
use baton_compose::{AppName, Color, EngineKind, Project, Role};
use baton_engine::Instance;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// `r7`: the number of a release of one app. `r0` is what plain Compose ran before Baton.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReleaseId(pub u64);

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<ReleaseId, String> {
        text.strip_prefix('r')
            .and_then(|digits| digits.parse().ok())
            .map(ReleaseId)
            .ok_or_else(|| format!("expected a release such as r7, found {text:?}"))
    }
}

impl schemars::JsonSchema for ReleaseId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ReleaseId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^r[0-9]+$"})
    }
}

impl Serialize for ReleaseId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReleaseId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ReleaseId, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Everything that is needed to start it again without the user's files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    pub id: ReleaseId,
    pub app: AppName,
    /// As the files said it, with a rendering per color and role.
    pub project: Project,
    /// Image IDs by service; empty for the process engine.
    pub images: FetchedImages,
    /// Instances of `r0`, which were adopted rather than made; empty for every other release.
    #[serde(default)]
    pub adopted: BTreeMap<String, Vec<baton_engine::InstanceId>>,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

impl Release {
    #[must_use]
    pub fn engine(&self) -> EngineKind {
        self.project.engine
    }

    /// The rendering of one color in one role, images and release number not yet filled in.
    #[must_use]
    pub fn rendering(&self, color: Color, role: Role) -> Option<&baton_compose::Rendering> {
        self.project
            .renderings
            .iter()
            .find(|(c, r, _)| (*c, *r) == (color, role))
            .map(|(_, _, rendering)| rendering)
    }

    /// Services that take traffic.
    pub(crate) fn routed(&self) -> impl Iterator<Item = &baton_compose::Service> {
        self.project
            .services
            .iter()
            .filter(|service| service.policy.worker.is_none())
    }

    /// While it is live, do clients stay on the release before it as long as their session lives there?
    pub(crate) fn pins(&self) -> bool {
        self.routed()
            .any(|service| service.policy.sessions.is_some())
    }

    /// Are there hosts of its test server?
    pub(crate) fn has_preview(&self) -> bool {
        self.routed()
            .any(|service| service.policy.preview.is_some())
    }

    pub(crate) fn service(&self, name: &str) -> Option<&baton_compose::Service> {
        self.project
            .services
            .iter()
            .find(|service| service.name == name)
    }

    /// Names of the workers that `is` is true for.
    pub(crate) fn workers(&self, is: impl Fn(Worker) -> bool) -> Vec<String> {
        self.project
            .services
            .iter()
            .filter(|service| service.policy.worker.is_some_and(&is))
            .map(|service| service.name.clone())
            .collect()
    }

    /// What starts before the switch: all but workers whose old one is stopped first. A preview has
    /// only what its file says of one.
    pub(crate) fn before_switch(&self, role: Role) -> Vec<String> {
        self.project
            .services
            .iter()
            .filter(|service| match role {
                Role::Live => service.policy.worker != Some(Worker::StopFirst),
                Role::Preview => service.starts_in(role),
            })
            .map(|service| service.name.clone())
            .collect()
    }

    /// All that runs in a role, workers included.
    pub(crate) fn services_as(&self, role: Role) -> Vec<String> {
        self.project
            .services
            .iter()
            .filter(|service| service.starts_in(role))
            .map(|service| service.name.clone())
            .collect()
    }

    /// An instance with the port that `x-baton` names. Of a container that plain Compose made the
    /// engine knows at most what its image exposes.
    pub(crate) fn at_its_port(&self, mut instance: Instance) -> Instance {
        let adopted = self.adopted.values().flatten().any(|id| *id == instance.id);
        let port = self
            .service(&instance.service)
            .and_then(|service| service.policy.port);
        if let (true, Some(address), Some(port)) = (adopted, &mut instance.address, port)
            && !address.published
        {
            address.port = port;
        }
        instance
    }

    /// What the user calls its image: the reference of its first service with one.
    #[must_use]
    pub fn image(&self) -> String {
        self.images
            .values()
            .next()
            .map(|image| image.reference.clone())
            .unwrap_or_default()
    }
}
