//! How often Baton started an instance again. The engine's own count knows its restart policies only,
//! and ends with the container.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::docker::lock;
use crate::{Instance, Slot};

/// Slot, service, replica and release; a plain container by its id.
type Life = (Option<Slot>, String, u32, Option<u64>);

/// Since this daemon was started.
#[derive(Debug, Default)]
pub(super) struct Restarts(Mutex<HashMap<Life, u32>>);

fn life(instance: &Instance) -> Life {
    match &instance.slot {
        Some(slot) => (
            Some(slot.clone()),
            instance.service.clone(),
            instance.replica,
            instance.release,
        ),
        None => (None, instance.id.0.clone(), 1, None),
    }
}

impl Restarts {
    /// It was started again, or made anew in its place.
    pub(super) fn count(&self, instance: &Instance) {
        *lock(&self.0).entry(life(instance)).or_default() += 1;
    }

    /// The instance with both counts in one.
    pub(super) fn add(&self, mut instance: Instance) -> Instance {
        if let Some(counted) = lock(&self.0).get(&life(&instance)) {
            instance.restarts += counted;
        }
        instance
    }

    /// It was taken away: one that gets its number has not been restarted.
    pub(super) fn forget_one(&self, instance: &Instance) {
        lock(&self.0).remove(&life(instance));
    }

    /// What comes into the slot next has not been restarted; `services` empty: all of it.
    pub(super) fn forget(&self, slot: &Slot, services: &[String]) {
        lock(&self.0).retain(|(of, service, ..), _| {
            of.as_ref() != Some(slot) || !(services.is_empty() || services.contains(service))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstanceId, InstanceState};

    fn instance(release: u64) -> Instance {
        Instance {
            id: InstanceId("a".repeat(64)),
            slot: Some(Slot {
                app: "shop".parse().expect("a name"),
                color: baton_compose::Color::Blue,
            }),
            service: "api".to_owned(),
            replica: 1,
            release: Some(release),
            state: InstanceState::Running,
            address: None,
            started_at: None,
            restarts: 0,
            image: String::new(),
        }
    }

    #[test]
    fn restarts_are_counted_by_slot_service_replica_and_release() {
        let restarts = Restarts::default();
        restarts.count(&instance(1));
        let mut made_anew = instance(1);
        made_anew.id = InstanceId("b".repeat(64));
        restarts.count(&made_anew);
        assert_eq!(restarts.add(instance(1)).restarts, 2);
        assert_eq!(restarts.add(instance(2)).restarts, 0);
        let slot = instance(1).slot.expect("a slot");
        restarts.forget(&slot, &["job".to_owned()]);
        assert_eq!(restarts.add(instance(1)).restarts, 2);
        restarts.forget(&slot, &[]);
        assert_eq!(restarts.add(instance(1)).restarts, 0);
    }
}
