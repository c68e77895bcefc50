//! The process engine's reader: plain YAML, and only the keys that a process has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ReadOptions;
use super::service::{check_routes, chosen, merge_policies, replicas, stop_grace_period};
use crate::color::{AppName, Color, Role};
use crate::coloring::Told;
use crate::dotenv;
use crate::error::{Collector, ComposeError, Problem, nearest};
use crate::files::{Located, normal};
use crate::interpolate::Interpolation;
use crate::policy::Policy;
use crate::project::{EngineKind, Project, Service};
use crate::rendering::{ProcessModel, ProcessService, RELEASE_PLACEHOLDER, Rendering};
use crate::xbaton::{self, Context, scalar, shown};

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
/// What a process has of the caller's environment when the file does not say otherwise: enough to
/// find programs and to print in the right language.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

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
    let read = |color, told: &mut Told| OneColor::read(&app, color, &model, located, told);
    let (blue, green) = (read(Color::Blue, &mut told), read(Color::Green, &mut told));
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
    told.problems.finish(place)?;
    policies.retain(|name, _| chosen.contains(name));
    for (name, policy) in &policies {
        if policy.port.is_some() {
            told.notice(
                format!("services.{name}.x-baton.port"),
                "both colors run at once for a moment: an app with a fixed port must be able to share it; without `port` it gets a free one as $PORT",
            );
        }
    }
    let rendering = |services: Vec<ProcessService>| {
        let services = services
            .into_iter()
            .filter(|service| chosen.contains(&service.name));
        Rendering::Process(ProcessModel {
            services: services.collect(),
        })
    };
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
    Ok(Project {
        engine: EngineKind::Process,
        directory: located.directory.clone(),
        files: located
            .files
            .iter()
            .map(|file| file.shown.clone())
            .collect(),
        services: services.collect(),
        plain: Vec::new(),
        renderings: vec![
            (Color::Blue, Role::Live, rendering(blue.services)),
            (Color::Green, Role::Live, rendering(green.services)),
        ],
        notices: told.notices,
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

/// The file as it reads in one color.
struct OneColor {
    policies: BTreeMap<String, Policy>,
    services: Vec<ProcessService>,
}

impl OneColor {
    fn read(
        app: &AppName,
        color: Color,
        model: &Value,
        located: &Located,
        told: &mut Told,
    ) -> OneColor {
        let own = [
            ("BATON_APP", app.as_str()),
            ("BATON_COLOR", color.as_str()),
            ("BATON_RELEASE", RELEASE_PLACEHOLDER),
            ("BATON_ROLE", Role::Live.as_str()),
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
                if let Some((policy, process)) = reader.read(typed, color, &own, told) {
                    one.policies.insert(name.clone(), policy);
                    one.services.push(process);
                }
            }
        }
        one
    }
}

struct ServiceReader<'a> {
    name: &'a str,
    path: String,
    service: &'a Map<String, Value>,
    located: &'a Located,
    /// What value-less entries of `environment` and files take their values from.
    environment: &'a BTreeMap<String, String>,
}

impl ServiceReader<'_> {
    fn read(
        &self,
        typed: &Value,
        color: Color,
        own: &[(String, String)],
        told: &mut Told,
    ) -> Option<(Policy, ProcessService)> {
        let path = format!("{}.x-baton", self.path);
        let context = Context {
            path: &path,
            engine: EngineKind::Process,
            ports: &[],
            directory: &self.located.directory,
        };
        let policy = xbaton::lower(typed, &context, &mut told.problems);
        let working_dir = self.working_dir(&mut told.problems);
        let command = self.command(&working_dir, &mut told.problems);
        let mut environment = self.file_environment(&mut told.problems);
        let policy = policy?;
        environment.extend(
            policy
                .color_environment
                .get(&color)
                .cloned()
                .unwrap_or_default(),
        );
        environment.extend(own.iter().cloned());
        for name in INHERITED {
            if let Some(value) = self.environment.get(name) {
                environment
                    .entry(name.to_owned())
                    .or_insert_with(|| value.clone());
            }
        }
        let process = ProcessService {
            name: self.name.to_owned(),
            command: command?,
            environment,
            working_dir,
            user: self.text("user", &mut told.problems),
            replicas: replicas(self.service, &self.path, &mut told.problems),
            listens: policy.worker.is_none(),
            port: policy.port,
            stop_signal: self.text("stop_signal", &mut told.problems),
            stop_grace_period: stop_grace_period(self.service, &self.path, &mut told.problems),
        };
        Some((policy, process))
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn text(&self, key: &str, problems: &mut Collector) -> Option<String> {
        let value = self.service.get(key)?;
        let text = scalar(value).filter(|text| !text.is_empty());
        if text.is_none() {
            problems.add(
                self.key(key),
                format!("expected a text, found {}", shown(value)),
            );
        }
        text
    }

    fn working_dir(&self, problems: &mut Collector) -> PathBuf {
        let typed = self.text("working_dir", problems).unwrap_or_default();
        normal(&self.located.directory.join(typed))
    }

    /// A string is split as a shell would, but no shell is run; a list is taken as it is.
    fn command(&self, working_dir: &Path, problems: &mut Collector) -> Option<Vec<String>> {
        let key = self.key("command");
        let mut words = match self.service.get("command") {
            Some(Value::String(text)) => match shlex::split(text) {
                Some(words) => words,
                None => {
                    problems.add(key, format!("a quote is not closed in {text:?}"));
                    return None;
                }
            },
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(other) => {
                problems.add(
                    key,
                    format!(
                        "expected a command such as [\"./server\", \"--port\"], found {}",
                        shown(other)
                    ),
                );
                return None;
            }
            None => Vec::new(),
        };
        let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
            problems.push(Problem::new(key, "is missing").help("example: command: [\"./server\"]"));
            return None;
        };
        // `./server` is meant from the working folder, whatever folder starts it.
        if program.contains('/') {
            *program = normal(&working_dir.join(&*program))
                .to_string_lossy()
                .into_owned();
        }
        Some(words)
    }

    /// `env_file`, then `environment` over it.
    fn file_environment(&self, problems: &mut Collector) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        self.env_files(&mut environment, problems);
        let key = self.key("environment");
        let mut add = |name: &str, value: Option<String>| {
            // Without a value it comes from where the command runs, and is left out if not there.
            let value = value.or_else(|| self.environment.get(name).cloned());
            if let Some(value) = value {
                environment.insert(name.to_owned(), value);
            }
        };
        match self.service.get("environment") {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) => {
                for (name, value) in map {
                    match (value, scalar(value)) {
                        (Value::Null, _) => add(name, None),
                        (_, Some(text)) => add(name, Some(text)),
                        (other, None) => problems.add(
                            format!("{key}.{name}"),
                            format!("expected a text, found {}", shown(other)),
                        ),
                    }
                }
            }
            Some(Value::Array(items)) => {
                for item in items.iter().map(|item| scalar(item).unwrap_or_default()) {
                    match item.split_once('=') {
                        Some((name, value)) => add(name, Some(value.to_owned())),
                        None => add(&item, None),
                    }
                }
            }
            Some(other) => problems.add(
                key,
                format!(
                    "expected a mapping or a list of NAME=value, found {}",
                    shown(other)
                ),
            ),
        }
        environment
    }

    fn env_files(&self, environment: &mut BTreeMap<String, String>, problems: &mut Collector) {
        let Some(typed) = self.service.get("env_file") else {
            return;
        };
        let key = self.key("env_file");
        let entries = match typed {
            Value::Array(items) => items.as_slice(),
            one => std::slice::from_ref(one),
        };
        for entry in entries {
            let (path, required) = match entry {
                Value::Object(map) => (
                    map.get("path").and_then(Value::as_str),
                    map.get("required") != Some(&Value::Bool(false)),
                ),
                other => (other.as_str(), true),
            };
            let Some(path) = path else {
                problems.add(
                    &key,
                    format!("expected a file name, found {}", shown(entry)),
                );
                continue;
            };
            match std::fs::read_to_string(self.located.directory.join(path)) {
                Ok(text) => match dotenv::parse(&text, self.environment) {
                    Ok(pairs) => environment.extend(pairs),
                    Err(error) => problems.add(&key, format!("{path}: {error}")),
                },
                Err(_) if !required => {}
                Err(error) => problems.add(&key, format!("cannot read {path}: {error}")),
            }
        }
    }
}
