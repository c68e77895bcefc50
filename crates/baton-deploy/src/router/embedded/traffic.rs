//! What the proxy has counted since the daemon started, summed so that nothing is lost when an instance
//! ends: such sums never fall.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use baton_compose::{AppName, Role};

use super::Embedded;
use crate::router::{ServiceTraffic, SideTraffic, Traffic};

/// Whose figures an instance's are: app, role, color.
type Owner = (AppName, Role, Arc<str>);

/// Every instance whose figures are not in the sums yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// With no owner: known from an earlier daemon, and never published by this one.
    open: Vec<(Option<Owner>, Arc<baton_proxy::Instance>)>,
    closed: BTreeMap<Owner, SideTraffic>,
}

impl Ledger {
    pub(super) fn open(&mut self, life: &Arc<baton_proxy::Instance>) {
        self.close();
        self.open.push((None, Arc::clone(life)));
    }

    /// The first who publishes it has it.
    pub(super) fn belongs(&mut self, life: &Arc<baton_proxy::Instance>, app: &AppName, role: Role) {
        let entry = self
            .open
            .iter_mut()
            .find(|(_, known)| Arc::ptr_eq(known, life));
        if let Some((owner @ None, life)) = entry {
            *owner = Some((app.clone(), role, Arc::clone(&life.marks.color)));
        }
    }

    /// Adds those to the sums that nobody can use any more.
    fn close(&mut self) {
        for (owner, life) in std::mem::take(&mut self.open) {
            match (owner, Arc::strong_count(&life)) {
                (Some(owner), 1) => self.closed.entry(owner).or_default().add(&life),
                (None, 1) => {}
                (owner, _) => self.open.push((owner, life)),
            }
        }
    }

    fn sums(&mut self) -> BTreeMap<Owner, SideTraffic> {
        self.close();
        let mut sums = self.closed.clone();
        for (owner, life) in &self.open {
            if let Some(owner) = owner {
                sums.entry(owner.clone()).or_default().add(life);
            }
        }
        sums
    }
}

impl SideTraffic {
    fn add(&mut self, life: &baton_proxy::Instance) {
        let counters = &life.counters;
        for (sum, answers) in self.answers.iter_mut().zip(counters.answers.read()) {
            *sum += answers;
        }
        self.latency = self.latency.and(counters.latency.read());
        self.body_bytes += counters.body_bytes.load(Relaxed);
        self.broken += counters.broken.load(Relaxed);
        self.refused += counters.refused.load(Relaxed);
        self.events += counters.events.load(Relaxed);
        self.streams_cut += counters.streams_cut.load(Relaxed);
        self.sessions_ended += counters.sessions_ended.load(Relaxed);
        self.in_flight += life.in_flight();
        self.event_streams += counters.sse.load(Relaxed);
        self.websockets += counters.websockets.load(Relaxed);
    }
}

impl Embedded {
    /// What was counted since the daemon started.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut state = self.state();
        let sums = state.ledger.sums();
        let sides = sums.into_iter().map(|((app, role, color), mut sum)| {
            sum.app = app.to_string();
            sum.role = role;
            sum.color = color.to_string();
            sum
        });
        let mut services: BTreeMap<(String, Role), ServiceTraffic> = BTreeMap::new();
        for ((app, _, role), counters) in &state.counters {
            let key = (app.to_string(), *role);
            let sum = services.entry(key).or_insert_with(|| ServiceTraffic {
                app: app.to_string(),
                role: *role,
                ..ServiceTraffic::default()
            });
            for (sum, own) in sum.own_answers.iter_mut().zip(counters.own_answers.read()) {
                *sum += own;
            }
            sum.failed += counters.failed.load(Relaxed);
            sum.held += counters.held.load(Relaxed);
            sum.holding += counters.holding.load(Relaxed);
            sum.streams += counters.streams.open.load(Relaxed);
            sum.handed_over += counters.streams.handed_over.load(Relaxed);
            sum.reconnected += counters.streams.reconnected.load(Relaxed);
        }
        Traffic {
            sides: sides.collect(),
            services: services.into_values().collect(),
            unrouted: self.proxy.unrouted(),
        }
    }
}
