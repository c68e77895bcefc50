//! What the preview hosts of an app reach.

use std::sync::Arc;

use baton_compose::{AppName, Policy, Role};
use baton_engine::Instance;

use super::addressed;
use crate::release::Release;
use crate::router::{Page, ServiceRoute};

/// What the preview hosts of an app reach.
#[derive(Debug, Clone)]
pub(crate) struct Previewed {
    /// By service, with the preview's hosts and access.
    pub(super) services: Vec<(String, Arc<Policy>)>,
    pub(super) instances: Vec<Instance>,
    /// Said in place of a release.
    pub(super) page: Option<Page>,
}

impl Previewed {
    /// A staged release.
    pub(crate) fn new(release: &Release, instances: &[Instance]) -> Previewed {
        Previewed {
            services: previews(release),
            instances: addressed(instances),
            page: None,
        }
    }

    /// Nothing to reach: `release` says which hosts there would be, `page` why.
    pub(crate) fn nothing(release: &Release, page: Page) -> Previewed {
        Previewed {
            services: previews(release),
            instances: Vec::new(),
            page: Some(page),
        }
    }

    pub(crate) fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Would another route table come of it?
    pub(crate) fn differs(&self, other: &Previewed) -> bool {
        (&self.services, &self.instances, &self.page)
            != (&other.services, &other.instances, &other.page)
    }

    pub(super) fn routes<'a>(
        &'a self,
        app: &'a AppName,
    ) -> impl Iterator<Item = ServiceRoute> + 'a {
        self.services.iter().map(|(service, policy)| {
            let own = self.instances.iter().filter(|i| i.service == *service);
            let instances: Vec<_> = own.cloned().collect();
            ServiceRoute {
                app: app.clone(),
                service: service.clone(),
                policy: Arc::clone(policy),
                color: None,
                halves: instances.clone(),
                instances,
                pinned: Vec::new(),
                held: false,
                role: Role::Preview,
                split: None,
                streams_wait: false,
                page: self.page.clone(),
            }
        })
    }
}

/// The services that have preview hosts, as those hosts serve them.
fn previews(release: &Release) -> Vec<(String, Arc<Policy>)> {
    let routed = release.routed().filter_map(|service| {
        let preview = service.policy.preview.as_ref()?;
        let policy = Policy {
            hosts: preview.hosts.clone(),
            basic_auth: preview.basic_auth.clone(),
            allow: preview.allow.clone(),
            ..service.policy.clone()
        };
        Some((service.name.clone(), Arc::new(policy)))
    });
    routed
        .filter(|(_, policy)| !policy.hosts.is_empty())
        .collect()
}
