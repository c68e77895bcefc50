//! What the router knows of its instances, routes and certificates, from one publish to the next.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use baton_compose::policy::Tls;
use baton_compose::{AppName, Color, Role};
use baton_engine::engine::Address;
use baton_engine::{Instance, InstanceId};
use baton_proxy::route::RouteCounters;
use baton_proxy::{Certificate, Marks};

use super::traffic::Ledger;
use crate::release::ReleaseId;
use crate::router::ServiceRoute;

/// Instances that are routed no more and drained, and whose figures are still kept.
const KEEP: usize = 64;

/// All that is known from one publish to the next.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Per instance and address: a restart at another address is another life.
    pub(super) instances: HashMap<(InstanceId, SocketAddr), Arc<baton_proxy::Instance>>,
    /// What all instances have counted, also those that are known no more.
    pub(super) ledger: Ledger,
    /// In the order in which they were published first; for forgetting the oldest.
    pub(super) order: Vec<(InstanceId, SocketAddr)>,
    /// What a preview serves is none of the app's figures.
    pub(super) counters: HashMap<(AppName, String, Role), Arc<RouteCounters>>,
    /// WebSockets that were told to come back, by the instance they were on.
    pub(super) told: HashMap<InstanceId, u64>,
    pub(super) certificates: HashMap<(PathBuf, PathBuf), Arc<Certificate>>,
    /// By host: those that were got for it and are valid.
    pub(super) issued: BTreeMap<String, Arc<Certificate>>,
    /// What was published last; None before the first time, of which sessions are recalled.
    pub(super) published: Option<Vec<ServiceRoute>>,
    /// What is published, in the order of the table.
    pub(super) files: Vec<(PathBuf, PathBuf)>,
}

impl State {
    /// The same one for the same life of an instance.
    pub(super) fn instance(&mut self, instance: &Instance) -> Option<Arc<baton_proxy::Instance>> {
        let address = instance.address?;
        let key = (instance.id.clone(), socket(address));
        // One that was cut is cut for good.
        if self.instances.get(&key).is_some_and(|known| known.is_cut()) {
            self.instances.remove(&key);
        }
        let State {
            instances,
            order,
            ledger,
            ..
        } = self;
        let known = instances.entry(key.clone()).or_insert_with(|| {
            order.retain(|other| *other != key);
            order.push(key);
            let life = baton_proxy::Instance::marked(
                instance.id.0.as_str(),
                marks(instance),
                socket(address),
                address.published,
            );
            ledger.open(&life);
            life
        });
        Some(Arc::clone(known))
    }

    /// What is counted of the app's live routes.
    pub(super) fn live(&self, app: &AppName) -> impl Iterator<Item = &Arc<RouteCounters>> {
        let live =
            move |(owner, _, role): &(AppName, String, Role)| owner == app && *role == Role::Live;
        self.counters
            .iter()
            .filter(move |(key, _)| live(key))
            .map(|(_, counters)| counters)
    }

    /// Those that have an address, which serve `wanted` from now on.
    pub(super) fn all(
        &mut self,
        wanted: &ServiceRoute,
        instances: &[Instance],
    ) -> Vec<Arc<baton_proxy::Instance>> {
        let known = instances
            .iter()
            .filter_map(|instance| self.instance(instance));
        let known: Vec<_> = known.collect();
        for life in &known {
            self.ledger.belongs(life, &wanted.app, wanted.role);
        }
        known
    }

    /// Keeps figures of the latest ones that are gone, and all that still have requests.
    pub(super) fn forget(&mut self, published: &[Arc<baton_proxy::Instance>]) {
        let State {
            instances,
            order,
            told,
            ..
        } = self;
        let gone = |key: &(InstanceId, SocketAddr)| {
            instances.get(key).is_none_or(|known| {
                known.in_flight() + known.streams() == 0
                    && !published.iter().any(|p| Arc::ptr_eq(p, known))
            })
        };
        let gone: Vec<_> = order.iter().filter(|key| gone(key)).cloned().collect();
        for key in gone.iter().rev().skip(KEEP) {
            instances.remove(key);
            told.remove(&key.0);
            order.retain(|other| other != key);
        }
    }

    /// Certificates of the published routes; one that cannot be read now keeps its former self.
    pub(super) fn certificates(&mut self, routes: &[ServiceRoute]) {
        self.files.clear();
        for wanted in routes {
            let Tls::Files { cert, key } = &wanted.policy.tls else {
                continue;
            };
            let pair = (cert.clone(), key.clone());
            if !self.certificates.contains_key(&pair) {
                match Certificate::load(cert, key) {
                    Ok(certificate) => drop(self.certificates.insert(pair.clone(), certificate)),
                    Err(error) => tracing::error!(app = %wanted.app, "{error}"),
                }
            }
            if !self.files.contains(&pair) {
                self.files.push(pair);
            }
        }
    }

    pub(super) fn served(&self) -> Vec<Arc<Certificate>> {
        let files = self.files.iter();
        let files = files.filter_map(|pair| self.certificates.get(pair));
        // Those of files first: one that the user gives is meant.
        files.chain(self.issued.values()).cloned().collect()
    }
}

/// What plain Compose made is adopted as blue `r0`.
fn marks(instance: &Instance) -> Marks {
    let color = instance
        .slot
        .as_ref()
        .map_or(Color::Blue, |slot| slot.color);
    Marks {
        color: color.to_string().into(),
        release: ReleaseId(instance.release.unwrap_or(0)).to_string().into(),
    }
}

pub(super) fn socket(address: Address) -> SocketAddr {
    SocketAddr::new(address.ip, address.port)
}
