//! Does what is due: a certificate that a published host lacks, and renewals.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use baton_deploy::router::WantedCertificates;
use tokio::task::JoinSet;

use super::Acme;

/// It looks that often at least: the clock may be set.
const LOOK: Duration = Duration::from_secs(3600);
/// After what was due, so long until it is looked at again.
const SHORTEST: Duration = Duration::from_millis(250);

pub(super) async fn run(acme: Arc<Acme>) {
    let mut wanted = acme.router.wanted_certificates();
    let mut attempts = JoinSet::new();
    let mut running = BTreeSet::new();
    loop {
        acme.want(&wanted.borrow_and_update());
        for name in acme.take_due(SystemTime::now()) {
            let acme = Arc::clone(&acme);
            if running.insert(name.clone()) {
                attempts.spawn(async move {
                    // What came of it is in the status and in the log.
                    let _ = acme.get(&name, true).await;
                    name
                });
            }
        }
        let next = acme.next(SystemTime::now()).clamp(SHORTEST, LOOK);
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = acme.changed.notified() => {}
            () = tokio::time::sleep(next) => {}
            Some(ended) = attempts.join_next() => match ended {
                Ok(name) => drop(running.remove(&name)),
                // One panicked: the others are looked at by their locks.
                Err(_) => running.clear(),
            },
        }
        // One of them may have expired.
        if acme.expired(SystemTime::now()) {
            acme.serve();
        }
    }
}

impl Acme {
    /// These hosts are published, and no others.
    fn want(&self, wanted: &WantedCertificates) {
        let mut hosts = self.hosts();
        for (name, host) in hosts.iter_mut() {
            if host.wanted && !wanted.contains_key(name) {
                host.leave();
            }
        }
        for (name, apps) in wanted {
            let host = hosts.entry(name.clone()).or_default();
            host.wanted = true;
            host.apps.clone_from(apps);
        }
    }

    /// Published hosts that are due, and that nobody is getting one for.
    fn take_due(&self, now: SystemTime) -> Vec<String> {
        let hosts = self.hosts();
        let due = hosts.iter().filter(|(_, host)| {
            let free = host.busy.try_lock().is_ok();
            free && host.wanted && host.due().is_none_or(|at| at <= now)
        });
        due.map(|(name, _)| name.clone()).collect()
    }

    /// How long until something is due, or expires.
    fn next(&self, now: SystemTime) -> Duration {
        let hosts = self.hosts();
        let wanted = hosts.values().filter(|host| host.wanted);
        let moments = wanted.flat_map(|host| {
            let busy = host.busy.try_lock().is_err();
            let due = host.due().filter(|_| !busy);
            [due, host.expires().filter(|at| *at > now)]
        });
        let next = moments.flatten().min();
        next.map_or(LOOK, |at| at.duration_since(now).unwrap_or_default())
    }

    /// Is one of them served although it is not valid any more?
    fn expired(&self, now: SystemTime) -> bool {
        let hosts = self.hosts();
        let mut wanted = hosts.iter().filter(|(_, host)| host.wanted);
        wanted.any(|(name, host)| host.valid(now).is_none() && self.router.has_issued(name))
    }
}
