//! `x-baton` of the services in a model that Compose printed.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::coloring::{Told, refuse, unescaped};
use crate::files::Located;
use crate::policy::Policy;
use crate::project::EngineKind;
use crate::read::ReadOptions;
use crate::read::app::one_per_app;
use crate::read::service::{check_routes, chosen, merge_policies};
use crate::xbaton::{self, Context, scalar};

/// The services of a model, each with its definition.
pub(super) fn user_services(model: &Value) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
    model["services"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, service)| Some((name, service.as_object()?)))
}

/// The policies of the chosen services, `models` being those of blue and green; None when no service
/// has `x-baton`.
pub(super) fn live(
    options: &ReadOptions,
    located: &Located,
    models: [&Value; 2],
    told: &mut Told,
) -> Option<BTreeMap<String, Policy>> {
    let [blue, green] = models;
    let all: Vec<String> = user_services(blue).map(|(name, _)| name.clone()).collect();
    let with_policy: Vec<String> = user_services(blue)
        .filter(|(_, service)| service.contains_key("x-baton"))
        .map(|(name, _)| name.clone())
        .collect();
    if with_policy.is_empty() {
        return None;
    }
    let chosen = chosen(&options.services, with_policy, &all, &mut told.problems);
    let mut read = |model| each(model, |name| chosen.contains(name), located, told);
    let (blue_policies, green_policies) = (read(blue), read(green));
    let policies = merge_policies(blue_policies, &green_policies, &mut told.problems);
    check_routes(&policies, &mut told.problems);
    let typed = |name: &str| blue["services"][name].get("x-baton");
    one_per_app(&policies, typed, &mut told.problems);
    Some(policies)
}

/// What `model`, read for a preview, says of the services that `live` gives one.
pub(super) fn preview(
    live: &BTreeMap<String, Policy>,
    located: &Located,
    model: &Value,
    told: &mut Told,
) -> BTreeMap<String, Policy> {
    let has = |name: &String| {
        live.get(name)
            .is_some_and(|policy| policy.preview.is_some())
    };
    each(model, has, located, told)
}

/// Every live host with its service, those of services that were not chosen as well.
pub(super) fn hosts(model: &Value) -> Vec<(String, String)> {
    user_services(model)
        .filter_map(|(name, service)| Some((name, service.get("x-baton")?)))
        .flat_map(|(name, typed)| {
            let hosts = xbaton::hosts_of(typed).into_iter();
            hosts.map(|host| (name.clone(), host))
        })
        .collect()
}

fn each(
    model: &Value,
    wanted: impl Fn(&String) -> bool,
    located: &Located,
    told: &mut Told,
) -> BTreeMap<String, Policy> {
    user_services(model)
        .filter(|(name, _)| wanted(name))
        .filter_map(|(name, service)| {
            let policy = policy(name, service, &model["networks"], located, told)?;
            Some((name.clone(), policy))
        })
        .collect()
}

fn policy(
    name: &str,
    service: &Map<String, Value>,
    networks: &Value,
    located: &Located,
    told: &mut Told,
) -> Option<Policy> {
    let path = format!("services.{name}.x-baton");
    let typed = unescaped(service.get("x-baton")?);
    let context = Context {
        path: &path,
        engine: EngineKind::Docker,
        ports: &target_ports(service),
        directory: &located.directory,
    };
    let takes_traffic = typed.get("worker").is_none();
    refuse(
        &format!("services.{name}"),
        service,
        networks,
        takes_traffic,
        &mut told.problems,
    );
    xbaton::lower(&typed, &context, &mut told.problems)
}

/// TCP ports that the service says it listens on, each once.
fn target_ports(service: &Map<String, Value>) -> Vec<u16> {
    let list = |key: &str| {
        service
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let published = list("ports")
        .filter(|port| port["protocol"].as_str().unwrap_or("tcp") == "tcp")
        .filter_map(|port| scalar(&port["target"]));
    let exposed = list("expose")
        .filter_map(scalar)
        .filter_map(|text| match text.split_once('/') {
            Some((port, "tcp")) => Some(port.to_owned()),
            Some(_) => None,
            None => Some(text),
        });
    let mut ports: Vec<u16> = Vec::new();
    for text in published.chain(exposed) {
        let (low, high) = text.split_once('-').unwrap_or((&text, &text));
        if let (Ok(low), Ok(high)) = (low.parse::<u16>(), high.parse::<u16>()) {
            // A handful is enough for a message: which one is meant cannot be known.
            for port in (low..=high).take(5) {
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
        }
    }
    ports
}
