//! What the services of one app must agree on.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Collector, Problem};
use crate::policy::Policy;

/// A key of `x-baton`, and what a policy holds of it.
type Shared = (&'static str, fn(&Policy) -> &'static str);

/// `strategy` and `overlap` are the whole app's: services say the same or nothing. `typed` gives the
/// `x-baton` of a service.
pub(super) fn one_per_app<'a>(
    policies: &BTreeMap<String, Policy>,
    typed: impl Fn(&str) -> Option<&'a Value>,
    problems: &mut Collector,
) {
    const SHARED: [Shared; 2] = [
        ("strategy", |policy| policy.strategy.as_str()),
        ("overlap", |policy| policy.overlap.as_str()),
    ];
    for (key, said) in SHARED {
        let mut saying = policies
            .iter()
            .filter(|(name, _)| typed(name).is_some_and(|x_baton| x_baton.get(key).is_some()));
        let Some((first, policy)) = saying.next() else {
            continue;
        };
        for (name, other) in saying.filter(|(_, other)| said(other) != said(policy)) {
            let text = format!(
                "says {}, and services.{first} says {}: an app has one {key}",
                said(other),
                said(policy)
            );
            problems.push(
                Problem::new(format!("services.{name}.x-baton.{key}"), text)
                    .help("say it in one of them only"),
            );
        }
    }
}

/// A preview takes no host of the live app, and no other preview's. `live` holds each service's
/// hosts, those of services that were not chosen as well.
pub(super) fn check_preview_hosts(
    policies: &BTreeMap<String, Policy>,
    live: &[(String, String)],
    problems: &mut Collector,
) {
    let mut taken: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (name, policy) in policies {
        for host in policy.preview.iter().flat_map(|preview| &preview.hosts) {
            let key = format!("services.{name}.x-baton.preview.hosts");
            if let Some((owner, _)) = live.iter().find(|(_, live)| live == host) {
                let name = host.strip_prefix("*.").unwrap_or(host);
                let name = if name == "*" { "example.com" } else { name };
                problems.push(
                    Problem::new(key, format!("{host} is a live host of services.{owner}"))
                        .help(format!("give the preview another, such as test.{name}")),
                );
                continue;
            }
            let first = *taken.entry((host, &policy.path)).or_insert(name);
            if first != name {
                problems.add(
                    key,
                    format!(
                        "{host} with path {} is claimed by the preview of services.{first} already",
                        policy.path
                    ),
                );
            }
        }
    }
}
