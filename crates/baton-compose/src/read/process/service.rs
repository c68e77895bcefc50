//! One service that runs as a process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::color::{Color, Role};
use crate::coloring::Told;
use crate::dotenv;
use crate::error::{Collector, Problem};
use crate::files::{Located, normal};
use crate::policy::Policy;
use crate::project::EngineKind;
use crate::read::service::{replicas, stop_grace_period};
use crate::rendering::ProcessService;
use crate::xbaton::{self, Context, scalar, shown};

/// What a process has of the caller's environment when the file does not say otherwise: enough to
/// find programs and to print in the right language.
const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ"];

/// One service of the merged files, interpolated for one color in one role.
pub(super) struct ServiceReader<'a> {
    pub(super) name: &'a str,
    pub(super) path: String,
    pub(super) service: &'a Map<String, Value>,
    pub(super) located: &'a Located,
    /// What value-less entries of `environment` and files take their values from.
    pub(super) environment: &'a BTreeMap<String, String>,
}

impl ServiceReader<'_> {
    pub(super) fn read(
        &self,
        typed: &Value,
        (color, role): (Color, Role),
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
        if let (Role::Preview, Some(preview)) = (role, &policy.preview) {
            environment.extend(preview.environment.clone());
        }
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
