//! What is known of one host.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use baton_compose::AppName;
use baton_deploy::certificates::CertificateStatus;
use baton_proxy::Certificate;

use super::order::{Failure, Kind};
use super::timing;

#[derive(Debug, Default)]
pub(super) struct Host {
    /// That are published with it, or were about to be.
    pub(super) apps: BTreeSet<AppName>,
    /// It is published.
    pub(super) wanted: bool,
    held: Option<Arc<Certificate>>,
    /// In a row.
    failures: u32,
    error: Option<String>,
    again: Option<SystemTime>,
    /// The kind of challenge that has worked.
    pub(super) works: Option<Kind>,
    /// Held while one is got.
    pub(super) busy: Arc<tokio::sync::Mutex<()>>,
}

impl Host {
    pub(super) fn with(certificate: Arc<Certificate>) -> Host {
        Host {
            held: Some(certificate),
            ..Host::default()
        }
    }

    pub(super) fn valid(&self, now: SystemTime) -> Option<Arc<Certificate>> {
        let valid = |held: &&Arc<Certificate>| held.expires() > now;
        self.held.as_ref().filter(valid).cloned()
    }

    /// Has it none, or one that is to be renewed?
    pub(super) fn lacks(&self, now: SystemTime) -> bool {
        self.renewal().is_none_or(|renewal| renewal <= now)
    }

    fn renewal(&self) -> Option<SystemTime> {
        let held = self.held.as_ref()?;
        let name = held.names().next().unwrap_or_default();
        Some(timing::renewal(held.begins(), held.expires(), name))
    }

    /// When the next attempt is to be made; None: at once.
    pub(super) fn due(&self) -> Option<SystemTime> {
        match (self.renewal(), self.again) {
            (Some(renewal), Some(again)) => Some(renewal.max(again)),
            (one, other) => one.or(other),
        }
    }

    /// When what it has ends to be valid.
    pub(super) fn expires(&self) -> Option<SystemTime> {
        self.held.as_ref().map(|held| held.expires())
    }

    pub(super) fn issued(&mut self, certificate: Arc<Certificate>, kind: Option<Kind>) {
        self.held = Some(certificate);
        self.failures = 0;
        self.error = None;
        self.again = None;
        self.works = kind.or(self.works);
    }

    /// It is published no more; what it has is kept, should it come back.
    pub(super) fn leave(&mut self) {
        self.wanted = false;
        self.apps.clear();
        self.error = None;
    }

    pub(super) fn failed(&mut self, failure: &Failure, now: SystemTime) {
        self.failures += 1;
        self.error = Some(failure.reason.clone());
        let served = self.valid(now).map(|held| {
            let left = held.expires().duration_since(now).unwrap_or_default();
            let life = held.expires().duration_since(held.begins());
            (left, life.unwrap_or_default())
        });
        let name = self.apps.first().map(AppName::as_str).unwrap_or_default();
        self.again = Some(now + timing::pause(failure.blame, self.failures, served, name));
    }

    pub(super) fn status(&self, name: &str) -> CertificateStatus {
        // Nobody tries for a host that nothing has been published for.
        let next = self.due().filter(|_| self.wanted);
        CertificateStatus {
            host: name.to_owned(),
            not_after: self.expires().map(timing::seconds),
            next_renewal: next.map(timing::seconds),
            error: self.error.clone(),
        }
    }
}
