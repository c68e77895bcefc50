//! What the control plane wants of whoever gets certificates. How they are got is not known here.

use async_trait::async_trait;
use baton_compose::policy::Tls;
use baton_compose::{AppName, Policy, Project, Role};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Gets certificates for hosts, keeps them and renews them. What it has is handed to the router by
/// itself; so are the hosts that want one, by what is published.
#[async_trait]
pub trait Certificates: Send + Sync + std::fmt::Debug {
    /// Of these hosts, the ones without a certificate that is valid now.
    fn missing(&self, hosts: &[String]) -> Vec<String>;

    /// Gets what is missing, now, whatever has failed before. Returns what could not be had.
    async fn obtain(&self, app: &AppName, hosts: &[String]) -> Vec<Uncertified>;

    /// All that is known of the app's hosts, in their order.
    fn status(&self, app: &AppName) -> Vec<CertificateStatus>;
}

/// A host without a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uncertified {
    pub host: String,
    /// In words, without the host.
    pub reason: String,
}

/// One host, in `baton status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CertificateStatus {
    pub host: String,
    /// None: there is none.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub not_after: Option<OffsetDateTime>,
    /// When it is renewed, or tried again.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schemars(with = "Option<String>")]
    pub next_renewal: Option<OffsetDateTime>,
    /// Why the last attempt failed; None when it did not.
    pub error: Option<String>,
}

/// The hosts of a policy that want a certificate of the daemon's, lower case, each once. `role` is what
/// the policy serves: a preview has no hosts that stand for its first one.
#[must_use]
pub fn automatic_hosts(policy: &Policy, role: Role) -> Vec<String> {
    let aliases = policy.redirect_hosts.iter().filter(|_| role == Role::Live);
    let mut hosts: Vec<String> = Vec::new();
    for host in policy.hosts.iter().chain(aliases) {
        let host = host.to_ascii_lowercase();
        if policy.tls.is_automatic_for(&host) && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// The hosts of a project in a role that want a certificate of the daemon's, each once.
pub(crate) fn hosts_of(project: &Project, role: Role) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for service in &project.services {
        let policy = &service.policy;
        let own = match (role, &policy.preview) {
            (Role::Live, _) => automatic_hosts(policy, role),
            (Role::Preview, Some(preview)) => {
                let mut previewed = policy.clone();
                previewed.hosts.clone_from(&preview.hosts);
                automatic_hosts(&previewed, role)
            }
            (Role::Preview, None) => Vec::new(),
        };
        for host in own {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
    }
    hosts
}

/// The service whose file asks for certificates in so many words.
pub(crate) fn asked_for(project: &Project) -> Option<&str> {
    let mut services = project.services.iter();
    let found = services.find(|service| service.policy.tls == Tls::Auto);
    found.map(|service| service.name.as_str())
}
