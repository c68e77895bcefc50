//! What the control plane wants, in the words of the proxy.

use std::net::SocketAddr;
use std::sync::Arc;

use baton_compose::policy::{self, Limits, Network, Protocol, Tls};
use baton_compose::{Policy, Role};
use baton_proxy::route::{self, RouteLimits};
use baton_proxy::{Access, Mode, Route, SessionRule, StreamMode, StreamRule};
use ipnet::IpNet;

use super::{Embedded, State, WantedCertificates};
use crate::certificates::automatic_hosts;
use crate::router::ServiceRoute;

impl Embedded {
    /// All routes of one service: its own, and the one of the hosts that only stand for the first. Of
    /// either a second one where some of its hosts have no certificate yet: those stay plain.
    pub(super) fn routes(&self, state: &mut State, wanted: &ServiceRoute) -> Vec<Arc<Route>> {
        let policy = &wanted.policy;
        let hosts = lower(&policy.hosts);
        let aliases = match (wanted.role, hosts.first()) {
            (Role::Live, Some(_)) => lower(&policy.redirect_hosts),
            _ => Vec::new(),
        };
        let first = hosts.first().map(|first| Arc::from(first.as_str()));
        let mut routes = Vec::new();
        for (hosts, elsewhere) in [(hosts, None), (aliases, first)] {
            let (secure, plain) = hosts
                .into_iter()
                .partition(|host| state.is_secure(policy, host));
            for (hosts, secure) in [(secure, true), (plain, false)] {
                let hosts: Vec<String> = hosts;
                if !hosts.is_empty() {
                    routes.push(Arc::new(Route {
                        hosts,
                        redirect_https: self.https_port().filter(|_| secure),
                        redirect_host: elsewhere.clone(),
                        ..self.route(state, wanted)
                    }));
                }
            }
        }
        routes
    }

    fn https_port(&self) -> Option<u16> {
        self.proxy.https_addrs().first().map(SocketAddr::port)
    }

    /// Without its hosts.
    fn route(&self, state: &mut State, wanted: &ServiceRoute) -> Route {
        let policy = &wanted.policy;
        let counters = state
            .counters
            .entry((wanted.app.clone(), wanted.service.clone(), wanted.role))
            .or_default();
        let counters = Arc::clone(counters);
        Route {
            app: Arc::from(wanted.app.as_str()),
            hosts: Vec::new(),
            path: policy.path.clone(),
            strip_path: policy.strip_path,
            protocol: match policy.protocol {
                Protocol::Http1 => route::Protocol::Http1,
                Protocol::H2c => route::Protocol::H2c,
            },
            redirect_https: None,
            redirect_host: None,
            limits: limits(&policy.limits),
            max_wait: policy.max_wait,
            mode: if wanted.held { Mode::Hold } else { Mode::Serve },
            instances: state.all(wanted, &wanted.instances),
            streams: policy.sse.iter().map(stream_rule).collect(),
            default_stream_mode: stream_mode(policy.default_stream_mode),
            halves: state.all(wanted, &wanted.halves),
            sessions: policy.sessions.as_ref().map(|sessions| {
                Arc::new(SessionRule {
                    cookie: sessions.cookie.as_str().into(),
                    keep: sessions.keep,
                })
            }),
            pinned: state.all(wanted, &wanted.pinned),
            split: wanted.split.as_ref().map(|split| {
                Arc::new(baton_proxy::Split {
                    instances: state.all(wanted, &split.instances),
                    weight: split.weight.percent(),
                    release: split.release.to_string().into(),
                    header: split.header,
                })
            }),
            streams_wait: wanted.streams_wait,
            access: access(policy),
            error_page: policy.error_page.as_deref().map(Arc::from),
            page: wanted.page.as_ref().map(page),
            counters,
        }
    }
}

impl State {
    /// Does a handshake for this host meet a certificate that is meant for it?
    fn is_secure(&self, policy: &Policy, host: &str) -> bool {
        match policy.tls {
            Tls::Off => false,
            Tls::Files { .. } => true,
            Tls::Auto | Tls::Unsaid => {
                policy.tls.is_automatic_for(host) && self.issued.contains_key(host)
            }
        }
    }
}

/// The hosts of these routes that want a certificate of the daemon's.
pub(super) fn certificates(routes: &[ServiceRoute]) -> WantedCertificates {
    let mut hosts = WantedCertificates::new();
    for wanted in routes {
        for host in automatic_hosts(&wanted.policy, wanted.role) {
            hosts.entry(host).or_default().insert(wanted.app.clone());
        }
    }
    hosts
}

fn lower(hosts: &[String]) -> Vec<String> {
    hosts.iter().map(|host| host.to_ascii_lowercase()).collect()
}

fn stream_rule(rule: &policy::StreamRule) -> StreamRule {
    StreamRule {
        path: rule.path.as_str().into(),
        mode: stream_mode(rule.mode),
        drop_on_attach: rule.drop_on_attach.iter().cloned().collect(),
        attach_grace: rule.attach_grace,
    }
}

fn stream_mode(mode: policy::StreamMode) -> StreamMode {
    match mode {
        policy::StreamMode::Union => StreamMode::Union,
        policy::StreamMode::Cut => StreamMode::Cut,
        policy::StreamMode::Reconnect => StreamMode::Reconnect,
        policy::StreamMode::Drain => StreamMode::Drain,
    }
}

/// None: everyone may come in.
fn access(policy: &Policy) -> Option<Arc<Access>> {
    if policy.allow.is_empty() && policy.basic_auth.is_empty() {
        return None;
    }
    // A prefix that is none must not open the door: the address alone.
    let network = |network: &Network| {
        IpNet::new(network.address, network.prefix).unwrap_or_else(|_| network.address.into())
    };
    let allow: Vec<IpNet> = policy.allow.iter().map(network).collect();
    Some(Arc::new(Access {
        allow,
        users: policy.basic_auth.clone().into_iter().collect(),
    }))
}

fn page(page: &crate::router::Page) -> Arc<baton_proxy::Page> {
    Arc::new(baton_proxy::Page {
        status: page.status,
        body: Arc::clone(&page.body),
        retry_after: page.retry_after,
    })
}

fn limits(limits: &Limits) -> RouteLimits {
    RouteLimits {
        body: limits.body,
        header_bytes: usize::try_from(limits.header_bytes).unwrap_or(usize::MAX),
        idle: limits.idle,
    }
}
