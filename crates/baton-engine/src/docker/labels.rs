//! The labels by which containers are known: Baton's own and those of Compose.

use std::collections::HashMap;
use std::hash::BuildHasher;

use baton_compose::{AppName, Color};

use crate::Slot;

/// On every container of Baton's: what makes it Baton's.
pub(super) const APP: &str = "baton.app";
pub(super) const COLOR: &str = "baton.color";
pub(super) const RELEASE: &str = "baton.release";
pub(super) const ROLE: &str = "baton.role";
/// The user's service name.
pub(super) const SERVICE: &str = "baton.service";
/// Port that the app listens on; missing for a worker.
pub(super) const PORT: &str = "baton.port";
/// On a command that runs to its end beside the instances, and is none.
pub(super) const ONCE: &str = "baton.once";
/// On the network that Baton makes for an app.
pub(super) const NETWORK: &str = "baton.network";

pub(super) const COMPOSE_PROJECT: &str = "com.docker.compose.project";
pub(super) const COMPOSE_SERVICE: &str = "com.docker.compose.service";
pub(super) const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";
pub(super) const COMPOSE_ONEOFF: &str = "com.docker.compose.oneoff";
pub(super) const COMPOSE_NETWORK: &str = "com.docker.compose.network";
pub(super) const COMPOSE_VOLUME: &str = "com.docker.compose.volume";

/// The slot that these labels name; None for a container that is not Baton's, or is no instance.
pub(super) fn slot<S: BuildHasher>(labels: &HashMap<String, String, S>) -> Option<Slot> {
    if labels.contains_key(ONCE) {
        return None;
    }
    let app: AppName = labels.get(APP)?.parse().ok()?;
    let color: Color = labels.get(COLOR)?.parse().ok()?;
    Some(Slot { app, color })
}

/// `7` from `r7` or `7`.
pub(super) fn release<S: BuildHasher>(labels: &HashMap<String, String, S>) -> Option<u64> {
    let text = labels.get(RELEASE)?;
    text.strip_prefix('r').unwrap_or(text).parse().ok()
}

/// The app of a container that plain Compose made for one of its services (not `compose run`).
pub(super) fn plain_app<S: BuildHasher>(labels: &HashMap<String, String, S>) -> Option<AppName> {
    let one_off = labels
        .get(COMPOSE_ONEOFF)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if labels.contains_key(APP) || one_off {
        return None;
    }
    labels.get(COMPOSE_PROJECT)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_container_of_ours_names_its_slot_and_release() {
        let ours = labels(&[(APP, "shop"), (COLOR, "green"), (RELEASE, "r12")]);
        assert_eq!(slot(&ours).expect("a slot").to_string(), "shop-green");
        assert_eq!(release(&ours), Some(12));
        assert_eq!(plain_app(&ours), None);
        let mut once = ours;
        once.insert(ONCE.to_owned(), "true".to_owned());
        assert_eq!(slot(&once), None);
        assert_eq!(plain_app(&once), None);
    }

    #[test]
    fn plain_containers_are_known_by_compose_labels_but_one_off_ones_are_not() {
        let plain = labels(&[(COMPOSE_PROJECT, "shop"), (COMPOSE_ONEOFF, "False")]);
        assert_eq!(plain_app(&plain).expect("an app").as_str(), "shop");
        assert!(slot(&plain).is_none());
        let one_off = labels(&[(COMPOSE_PROJECT, "shop"), (COMPOSE_ONEOFF, "True")]);
        assert_eq!(plain_app(&one_off), None);
    }
}
