//! The process engine's reader: plain YAML, and only the keys that a process has.

mod service;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::ReadOptions;
use super::app::{check_preview_hosts, one_per_app};
use super::preview;
use super::service::{check_routes, chosen, merge_policies};
use crate::color::{AppName, Color, Role};
use crate::coloring::Told;
use crate::error::{Collector, ComposeError, Problem, nearest};
use crate::files::Located;
use crate::interpolate::Interpolation;
use crate::policy::Policy;
use crate::project::{EngineKind, Project, Service};
use crate::rendering::{ProcessModel, ProcessService, RELEASE_PLACEHOLDER, Rendering};
use crate::xbaton::shown;
use service::ServiceReader;

const TOP_LEVEL: [&str; 3] = ["name", "services", "version"];
const SERVICE: [&str; 9] = [
    "command",
    "environment",
    "env_file",
    "working_dir",
    "user",
    "stop_signal",
    "stop_grace_period",
    "deploy",
    "x-baton",
];

pub(super) fn read(options: &ReadOptions, located: &Located) -> Result<Project, ComposeError> {
    let app = located.app(options)?;
    let mut told = Told::default();
    if let Some(problem) = &located.dotenv_problem {
        told.problems.push(problem.clone());
    }
    let place = |key: &str| located.place(key);
    if let Some(image) = &options.image_override {
        told.problems.add(
            "",
            format!("--image {image}: engine process runs `command`, not an image"),
        );
    }
    let model = merged(located)?;
    check_keys(&model, &mut told);
    let mut read = |role| {
        Color::BOTH.map(|color| OneColor::read(&app, (color, role), &model, located, &mut told))
    };
    let [blue, green] = read(Role::Live);
    let wanted = blue
        .policies
        .values()
        .any(|policy| policy.preview.is_some());
    let previews = wanted.then(|| read(Role::Preview));
    let all: Vec<String> = object(&model, "services")
        .map(|(name, _)| name.clone())
        .collect();
    let chosen = chosen(
        &options.services,
        blue.policies.keys().cloned().collect(),
        &all,
        &mut told.problems,
    );
    let mut policies = merge_policies(blue.policies, &green.policies, &mut told.problems);
    check_routes(&policies, &mut told.problems);
    one_per_app(
        &policies,
        |name| model["services"][name].get("x-baton"),
        &mut told.problems,
    );
    if let Some([blue, green]) = &previews {
        preview::join(
            &mut policies,
            &blue.policies,
            &green.policies,
            &mut told.problems,
        );
    }
    let live_hosts = policies.iter().flat_map(|(name, policy)| {
        let hosts = policy.hosts.iter().chain(&policy.redirect_hosts);
        hosts.map(|host| (name.clone(), host.clone()))
    });
    check_preview_hosts(
        &policies,
        &live_hosts.collect::<Vec<_>>(),
        &mut told.problems,
    );
    told.problems.finish(place)?;
    policies.retain(|name, _| chosen.contains(name));
    preview::notice_absent(&policies, &mut told);
    for (name, policy) in &policies {
        if policy.port.is_some() {
            told.notice(
                format!("services.{name}.x-baton.port"),
                "both colors run at once for a moment: an app with a fixed port must be able to share it; without `port` it gets a free one as $PORT",
            );
        }
    }
    let services = policies.into_iter().map(|(name, policy)| Service {
        replicas: blue
            .services
            .iter()
            .find(|service| service.name == name)
            .map_or(1, |service| service.replicas),
        policy,
        name,
        image: None,
        has_compose_healthcheck: false,
    });
    let services: Vec<Service> = services.collect();
    let rendering = |role: Role, of: Vec<ProcessService>| {
        let starts = |one: &ProcessService| {
            let service = services.iter().find(|service| service.name == one.name);
            service.is_some_and(|service| service.starts_in(role))
        };
        Rendering::Process(ProcessModel {
            services: of.into_iter().filter(starts).collect(),
        })
    };
    let mut renderings = Vec::new();
    let live = [blue.services, green.services];
    let previews = previews.map(|colors| colors.map(|one| one.services));
    for (role, colors) in [(Role::Live, Some(live)), (Role::Preview, previews)] {
        for (color, of) in Color::BOTH.into_iter().zip(colors.into_iter().flatten()) {
            renderings.push((color, role, rendering(role, of)));
        }
    }
    // Those that have a preview may not have been chosen.
    renderings.retain(|(_, role, _)| {
        *role == Role::Live || services.iter().any(|service| service.starts_in(*role))
    });
    Ok(Project {
        engine: EngineKind::Process,
        directory: located.directory.clone(),
        files: located
            .files
            .iter()
            .map(|file| file.shown.clone())
            .collect(),
        services,
        plain: Vec::new(),
        renderings,
        notices: told.notices,
        origin: None,
        app,
    })
}

/// All files as one: mappings are merged, everything else of a later file wins.
fn merged(located: &Located) -> Result<Value, ComposeError> {
    let mut model = Value::Object(Map::new());
    for file in &located.files {
        match &file.parsed {
            Ok(value @ Value::Object(_)) => merge(&mut model, value),
            Ok(other) => {
                let text = format!("expected a mapping with `services`, found {}", shown(other));
                return Err(Problem::new("", text).in_file(&file.shown).into());
            }
            Err(error) => return Err(Problem::new("", error.clone()).in_file(&file.shown).into()),
        }
    }
    Ok(model)
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn object<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
}

/// Only known keys, so that nothing is silently ignored.
fn check_keys(model: &Value, told: &mut Told) {
    for (key, _) in model.as_object().into_iter().flatten() {
        if key == "version" {
            told.notice(key, "ignored: Compose has given it up");
        } else if !TOP_LEVEL.contains(&key.as_str()) && !key.starts_with("x-") {
            unknown(key, key, &TOP_LEVEL, &mut told.problems);
        }
    }
    if !model["services"].is_object() {
        let text = format!(
            "expected a mapping of services, found {}",
            shown(&model["services"])
        );
        told.problems.add("services", text);
    }
    for (name, service) in object(model, "services") {
        let path = format!("services.{name}");
        let Value::Object(keys) = service else {
            told.problems.add(
                path,
                format!("expected a mapping, found {}", shown(service)),
            );
            continue;
        };
        for key in keys.keys().filter(|key| !SERVICE.contains(&key.as_str())) {
            unknown(&format!("{path}.{key}"), key, &SERVICE, &mut told.problems);
        }
        for (key, _) in object(service, "deploy").filter(|(key, _)| *key != "replicas") {
            unknown(
                &format!("{path}.deploy.{key}"),
                key,
                &["replicas"],
                &mut told.problems,
            );
        }
        if !keys.contains_key("x-baton") {
            told.problems.push(
                Problem::new(path, "has no x-baton, so nothing would run it: engine process starts no other services")
                    .help("add x-baton: { engine: process, worker: true } if it takes no traffic, or remove it"),
            );
        }
    }
}

fn unknown(path: &str, key: &str, known: &[&str], problems: &mut Collector) {
    let text = match nearest(key, known.iter().copied()) {
        Some(near) => format!("unknown key with engine process; did you mean {near}?"),
        None => format!(
            "unknown key with engine process; known are {}",
            known.join(", ")
        ),
    };
    problems.add(path, text);
}

/// The file as it reads in one color and role.
struct OneColor {
    policies: BTreeMap<String, Policy>,
    services: Vec<ProcessService>,
}

impl OneColor {
    fn read(
        app: &AppName,
        (color, role): (Color, Role),
        model: &Value,
        located: &Located,
        told: &mut Told,
    ) -> OneColor {
        let own = [
            ("BATON_APP", app.as_str()),
            ("BATON_COLOR", color.as_str()),
            ("BATON_RELEASE", RELEASE_PLACEHOLDER),
            ("BATON_ROLE", role.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut environment = located.environment.clone();
        environment.extend(own.clone());
        let mut model = model.clone();
        let mut interpolation = Interpolation::new(&environment);
        interpolation.value(&mut model, "", &mut |path: &str, error| {
            told.problems.add(path, error)
        });
        for name in interpolation.unset {
            told.notice(
                "",
                format!("the variable {name} is not set; a blank string is used"),
            );
        }
        let mut one = OneColor {
            policies: BTreeMap::new(),
            services: Vec::new(),
        };
        for (name, service) in object(&model, "services") {
            if let (Some(service), Some(typed)) = (service.as_object(), service.get("x-baton")) {
                let reader = ServiceReader {
                    name,
                    path: format!("services.{name}"),
                    service,
                    located,
                    environment: &environment,
                };
                if let Some((policy, process)) = reader.read(typed, (color, role), &own, told) {
                    one.policies.insert(name.clone(), policy);
                    one.services.push(process);
                }
            }
        }
        one
    }
}
