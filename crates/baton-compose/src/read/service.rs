//! What both readers ask of a service.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::error::{Collector, Problem, nearest};
use crate::policy::{PerColor, Policy};
use crate::units;
use crate::xbaton::{scalar, shown};

/// Compose's own default.
pub(crate) const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// `stop_grace_period`, 10 s where there is none.
pub(crate) fn stop_grace_period(
    service: &Map<String, Value>,
    path: &str,
    problems: &mut Collector,
) -> Duration {
    let Some(value) = service.get("stop_grace_period") else {
        return STOP_GRACE_PERIOD;
    };
    value
        .as_str()
        .and_then(units::parse_duration)
        .unwrap_or_else(|| {
            problems.add(
                format!("{path}.stop_grace_period"),
                format!(
                    "expected a duration such as \"30s\", found {}",
                    shown(value)
                ),
            );
            STOP_GRACE_PERIOD
        })
}

/// `scale` or `deploy.replicas`, 1 where there is neither.
pub(crate) fn replicas(service: &Map<String, Value>, path: &str, problems: &mut Collector) -> u32 {
    let deploy = service
        .get("deploy")
        .and_then(|deploy| deploy.get("replicas"));
    let (key, value) = match (deploy, service.get("scale")) {
        (Some(value), _) => ("deploy.replicas", value),
        (None, Some(value)) => ("scale", value),
        (None, None) => return 1,
    };
    match scalar(value).and_then(|text| text.parse().ok()) {
        Some(replicas @ 1..=1000) => replicas,
        _ => {
            let text = format!(
                "expected a whole number from 1 to 1000, found {}",
                shown(value)
            );
            problems.add(format!("{path}.{key}"), text);
            1
        }
    }
}

/// The services that the user chose, of those that have `x-baton`.
pub(crate) fn chosen(
    wanted: &[String],
    with_policy: Vec<String>,
    all: &[String],
    problems: &mut Collector,
) -> Vec<String> {
    for name in wanted.iter().filter(|name| !with_policy.contains(name)) {
        let problem = if all.contains(name) {
            Problem::new(format!("services.{name}"), "has no x-baton, so there is nothing to deploy")
                .help("services without x-baton are started with plain Compose; --with-deps applies their changes")
        } else {
            let help = match nearest(name, with_policy.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("services with x-baton: {}", with_policy.join(", ")),
            };
            Problem::new(format!("services.{name}"), "there is no such service").help(help)
        };
        problems.push(problem);
    }
    with_policy
        .into_iter()
        .filter(|name| wanted.is_empty() || wanted.contains(name))
        .collect()
}

/// Two services of one app cannot claim the same host and path.
pub(crate) fn check_routes<'a>(
    policies: impl IntoIterator<Item = (&'a String, &'a Policy)>,
    problems: &mut Collector,
) {
    let mut taken: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (name, policy) in policies {
        for host in policy.hosts.iter().chain(&policy.redirect_hosts) {
            let first = *taken.entry((host, &policy.path)).or_insert(name);
            if first != name {
                problems.add(
                    format!("services.{name}.x-baton.hosts"),
                    format!(
                        "{host} with path {} is claimed by services.{first} already",
                        policy.path
                    ),
                );
            }
        }
    }
}

/// The policies of both colors, which may differ in `colors` only. `blue` and `green` hold a policy
/// for each service that was read without a mistake.
pub(crate) fn merge_policies(
    mut blue: BTreeMap<String, Policy>,
    green: &BTreeMap<String, Policy>,
    problems: &mut Collector,
) -> BTreeMap<String, Policy> {
    for (name, policy) in &mut blue {
        let Some(other) = green.get(name) else {
            continue;
        };
        let mut same = other.clone();
        same.color_environment.clone_from(&policy.color_environment);
        join_streams(policy, &mut same);
        if let (Some(same), Some(policy)) = (&mut same.preview, &policy.preview) {
            same.environment.clone_from(&policy.environment);
        }
        if same != *policy {
            problems.push(
                Problem::new(
                    format!("services.{name}.x-baton"),
                    "says one thing for blue and another for green",
                )
                .help("only `colors`, `preview.environment` and the streams of `redis` may differ: take ${BATON_COLOR} out of the other keys"),
            );
        }
        // `${BATON_COLOR}` inside `colors.green` means green.
        let green_only = other.color_environment.get(&crate::Color::Green).cloned();
        if let Some(environment) = green_only {
            policy
                .color_environment
                .insert(crate::Color::Green, environment);
        }
    }
    blue
}

/// Keys and groups of Redis may name the color: each policy gets what the other one read for its own.
fn join_streams(blue: &mut Policy, green: &mut Policy) {
    let (Some(blue), Some(green)) = (&mut blue.redis, &mut green.redis) else {
        return;
    };
    for (blue, green) in blue.streams.iter_mut().zip(&mut green.streams) {
        join(&mut blue.key, &mut green.key);
        join(&mut blue.group, &mut green.group);
    }
}

fn join(blue: &mut PerColor, green: &mut PerColor) {
    if let (
        PerColor::Written {
            blue: of_blue,
            green: missing,
        },
        PerColor::Written {
            blue: unread,
            green: of_green,
        },
    ) = (blue, green)
    {
        missing.clone_from(of_green);
        unread.clone_from(of_blue);
    }
}
