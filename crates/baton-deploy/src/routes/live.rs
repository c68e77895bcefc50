//! What is live of an app, and what is beside it.

use std::sync::Arc;

use baton_compose::{AppName, Color, Policy, Role};
use baton_engine::Instance;

use super::addressed;
use crate::admission::Admission;
use crate::release::{Release, ReleaseId};
use crate::router::{ServiceRoute, Split};
use crate::slots::Weight;

/// What is live of one app, and where it serves.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) color: Color,
    pub(crate) release: ReleaseId,
    pub(super) services: Vec<(String, Arc<Policy>)>,
    /// Those that may take requests.
    pub(super) instances: Vec<Instance>,
    pub(super) beside: Beside,
    pub(super) admission: Admission,
    /// A share of the clients goes to the other color.
    pub(super) canary: Option<Split>,
    /// It was stopped first: requests and event streams wait for what comes.
    pub(super) stopped: bool,
}

impl Live {
    /// `instances` that have no address (workers, exited ones) take no traffic.
    pub(crate) fn new(release: &Release, color: Color, instances: &[Instance]) -> Live {
        Live {
            color,
            release: release.id,
            services: release
                .routed()
                .map(|service| (service.name.clone(), Arc::new(service.policy.clone())))
                .collect(),
            instances: addressed(instances),
            beside: Beside::default(),
            admission: Admission::default(),
            canary: None,
            stopped: false,
        }
    }

    /// Instances of another color that serve as well, as a rolling deploy has them.
    pub(crate) fn with(mut self, instances: &[Instance]) -> Live {
        self.instances.extend(addressed(instances));
        self
    }

    pub(crate) fn admitting(mut self, admission: Admission) -> Live {
        self.admission = admission;
        self
    }

    pub(crate) fn beside(mut self, beside: Beside) -> Live {
        self.beside = beside;
        self
    }

    pub(crate) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Its instances are yet to come: requests and event streams wait for them.
    pub(crate) fn stopped(mut self, stopped: bool) -> Live {
        self.stopped = stopped;
        self
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Percent of the clients that the other color has.
    pub(crate) fn canary_weight(&self) -> Weight {
        self.canary
            .as_ref()
            .map_or(Weight::NONE, |split| split.weight)
    }

    /// Those in which sessions may live that the file wants kept; none where it says nothing of them.
    pub(super) fn with_sessions(&self) -> impl Iterator<Item = &Instance> {
        let kept = |service: &str| {
            let mut services = self.services.iter();
            services.any(|(name, policy)| name == service && policy.sessions.is_some())
        };
        let canary = self.canary.iter().flat_map(|split| &split.instances);
        let all = self.instances.iter().chain(canary);
        all.chain(self.beside.instances.iter().filter(|_| self.beside.pinned))
            .filter(move |instance| kept(&instance.service))
    }

    pub(super) fn routes<'a>(
        &'a self,
        app: &'a AppName,
    ) -> impl Iterator<Item = ServiceRoute> + 'a {
        self.services.iter().map(|(service, policy)| {
            let of = |instances: &[Instance]| -> Vec<Instance> {
                let own = instances.iter().filter(|i| i.service == *service);
                own.cloned().collect()
            };
            let (instances, beside) = (of(&self.instances), of(&self.beside.instances));
            ServiceRoute {
                app: app.clone(),
                service: service.clone(),
                policy: Arc::clone(policy),
                color: Some(self.color),
                halves: if self.beside.streams {
                    [instances.clone(), beside.clone()].concat()
                } else {
                    instances.clone()
                },
                instances,
                pinned: if self.beside.pinned {
                    beside
                } else {
                    Vec::new()
                },
                held: self.admission.held || self.stopped,
                role: Role::Live,
                split: self.canary.as_ref().map(|split| Split {
                    instances: of(&split.instances),
                    ..split.clone()
                }),
                streams_wait: self.stopped,
                page: self.admission.page.clone(),
            }
        })
    }
}

/// The other color while it has event streams, too: a candidate before its switch, or an old color
/// that has not drained.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Beside {
    pub(super) instances: Vec<Instance>,
    /// Event streams have their halves there.
    pub(super) streams: bool,
    /// Clients whose session lives there stay there.
    pub(super) pinned: bool,
}

impl Beside {
    /// `instances` that have no address (workers, exited ones) have no streams.
    pub(crate) fn new(instances: &[Instance]) -> Beside {
        Beside {
            instances: addressed(instances),
            streams: true,
            pinned: false,
        }
    }

    pub(crate) fn streams(mut self, streams: bool) -> Beside {
        self.streams = streams;
        self
    }

    pub(crate) fn pinned(mut self, pinned: bool) -> Beside {
        self.pinned = pinned;
        self
    }
}
