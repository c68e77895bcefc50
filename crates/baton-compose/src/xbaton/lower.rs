//! From what was typed to what is meant: defaults, and the rules that join several keys.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::leaf::{Flag, Host, Leaf, TlsChoice};
use super::lower_going_live as going_live;
use super::lower_notify;
use super::lower_streams as streams;
use super::raw::{self, XBaton};
use super::schema;
use crate::color::Color;
use crate::error::{Collector, Problem};
use crate::policy::{Health, Limits, Policy, Tls, Worker};
use crate::project::EngineKind;

/// Largest error page in bytes; it is held in memory and in the database.
const LARGEST_PAGE: usize = 256 * 1024;

/// What the rest of the service says that `x-baton` leans on.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// `services.api.x-baton`
    pub(crate) path: &'a str,
    pub(crate) engine: EngineKind,
    /// TCP target ports that the service exposes or publishes, each once.
    pub(crate) ports: &'a [u16],
    /// Folder that relative files are relative to.
    pub(crate) directory: &'a Path,
}

/// Reads one `x-baton`. None when there was a mistake; all of them are in `problems` then.
pub(crate) fn lower(
    value: &Value,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Policy> {
    let before = problems.raised();
    schema::check(value, context.path, problems);
    if problems.raised() > before {
        return None;
    }
    // The check has accepted every key and value; an error here is ours, and still said.
    let raw: XBaton = match serde_json::from_value(value.clone()) {
        Ok(raw) => raw,
        Err(error) => {
            problems.add(context.path, error.to_string());
            return None;
        }
    };
    let policy = policy(raw, value, context, problems);
    (problems.raised() == before).then_some(policy)
}

fn policy(raw: XBaton, value: &Value, context: &Context<'_>, problems: &mut Collector) -> Policy {
    let default = Policy::default();
    engine(&raw, context, problems);
    let worker = raw.worker.and_then(|mode| mode.0);
    let hosts = hosts(&raw, value, worker, context, problems);
    let redirect_hosts = redirect_hosts(&raw, &hosts, context, problems);
    let path = raw.path.map_or(default.path, |path| path.0);
    let strip_path = raw.strip_path.is_some_and(|Flag(strip)| strip);
    let port = port(raw.port.map(|port| port.0), worker, context, problems);
    let startup_timeout = raw
        .health
        .as_ref()
        .and_then(|health| health.startup_timeout)
        .map_or(default.startup_timeout, |span| span.0);
    let tls = raw
        .tls
        .map_or(Tls::Unsaid, |tls| self::tls(tls, &hosts, context, problems));
    if strip_path && path == "/" {
        let key = format!("{}.strip_path", context.path);
        problems.add(key, "there is no path to remove; set `path`");
    }
    Policy {
        hosts,
        redirect_hosts,
        error_page: raw
            .error_page
            .and_then(|file| error_page(&file.0, context, problems)),
        path,
        strip_path,
        worker,
        port,
        protocol: raw.protocol.map_or(default.protocol, |protocol| protocol.0),
        tls,
        limits: limits(raw.limits, default.limits),
        health: raw
            .health
            .and_then(|health| self::health(health, context, problems)),
        startup_timeout,
        warmup: raw
            .warmup
            .unwrap_or_default()
            .into_iter()
            .map(|warmup| warmup.0)
            .collect(),
        keep_warm: raw.keep_warm.map_or(default.keep_warm, |span| span.0),
        max_wait: raw.max_wait.map_or(default.max_wait, |span| span.0),
        drain: streams::drain(raw.drain, default.drain, context, problems),
        sse: streams::sse(raw.sse, context, problems),
        // Known once the environment of both colors is.
        default_stream_mode: default.default_stream_mode,
        redis: raw
            .redis
            .and_then(|redis| streams::redis(redis, context, problems)),
        sessions: raw
            .sessions
            .and_then(|sessions| streams::sessions(sessions, context, problems)),
        color_environment: color_environment(raw.colors),
        strategy: raw.strategy.map_or(default.strategy, |name| name.0),
        canary: going_live::canary(raw.canary, default.canary, context, problems),
        watch: raw.watch.map_or(default.watch, |span| span.0),
        overlap: raw.overlap.map_or(default.overlap, |name| name.0),
        migrate: raw
            .migrate
            .and_then(|migrate| going_live::migrate(migrate, context, problems)),
        activate: raw
            .activate
            .and_then(|activate| going_live::activate(activate, context, problems)),
        preview: raw
            .preview
            .and_then(|preview| going_live::preview(preview, worker, port, context, problems)),
        hooks: going_live::hooks(raw.hooks),
        basic_auth: raw.basic_auth.map(|users| users.0).unwrap_or_default(),
        allow: going_live::allow(raw.allow, context.path, problems),
        notify: lower_notify::notify(raw.notify, context, problems),
    }
}

/// The hosts of an `x-baton` that is not otherwise looked at; what is no host is left out.
pub(crate) fn hosts_of(typed: &Value) -> Vec<String> {
    let lists = ["hosts", "redirect_hosts"].map(|key| typed.get(key).and_then(Value::as_array));
    lists
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|host| Host::read(host).ok())
        .map(|host| host.0)
        .collect()
}

/// All services of an app have one engine, and which one was seen before the files were read.
fn engine(raw: &XBaton, context: &Context<'_>, problems: &mut Collector) {
    let typed = raw.engine.map_or(EngineKind::Docker, |engine| engine.0);
    let (text, help) = match (typed, context.engine) {
        (EngineKind::Docker, EngineKind::Process) => (
            "another service of this app says process, and an app has one engine",
            "write `engine: process` here too",
        ),
        (EngineKind::Process, EngineKind::Docker) => (
            "process cannot come from an included, extended or remote file",
            "write `engine: process` into the compose file itself",
        ),
        _ => return,
    };
    problems.push(Problem::new(format!("{}.engine", context.path), text).help(help));
}

/// `hosts` or `worker`, one of them; a worker has no key that only traffic needs.
fn hosts(
    raw: &XBaton,
    value: &Value,
    worker: Option<Worker>,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Vec<String> {
    const TRAFFIC: [&str; 15] = [
        "redirect_hosts",
        "path",
        "strip_path",
        "protocol",
        "tls",
        "limits",
        "warmup",
        "max_wait",
        "drain",
        "sse",
        "sessions",
        "canary",
        "watch",
        "basic_auth",
        "allow",
    ];
    let hosts = each_once(
        raw.hosts.iter().flatten(),
        &format!("{}.hosts", context.path),
        problems,
    );
    match (worker, &raw.hosts) {
        (None, Some(list)) if list.is_empty() => problems.add(
            format!("{}.hosts", context.path),
            "expected at least one host; \"*\" takes every host",
        ),
        (None, None) => problems.push(
            Problem::new(
                context.path,
                "needs `hosts` (where its traffic comes from) or `worker: true` (it takes none)",
            )
            .help("example: hosts: [api.example.com]"),
        ),
        (Some(_), Some(_)) => problems.add(
            format!("{}.hosts", context.path),
            "a worker takes no traffic: remove either `hosts` or `worker`",
        ),
        (Some(_), None) => {
            for key in TRAFFIC.iter().filter(|key| value.get(key).is_some()) {
                let key = format!("{}.{key}", context.path);
                problems.add(
                    key,
                    "a worker takes no traffic, so this key means nothing here",
                );
            }
            if value.get("activate").is_some() {
                problems.push(
                    Problem::new(
                        format!("{}.activate", context.path),
                        "a worker takes no requests, so nothing can be told to it",
                    )
                    .help("`worker: true` needs none: the old one is stopped before the new one starts"),
                );
            }
        }
        (None, Some(_)) => {}
    }
    hosts
}

/// Exact names, none of which serves, and a first host that can be named in a redirect.
fn redirect_hosts(
    raw: &XBaton,
    hosts: &[String],
    context: &Context<'_>,
    problems: &mut Collector,
) -> Vec<String> {
    let key = format!("{}.redirect_hosts", context.path);
    let typed = raw.redirect_hosts.iter().flatten();
    let redirects = each_once(typed, &key, problems);
    for host in &redirects {
        if host.contains('*') {
            problems.add(key.clone(), format!("expected an exact host, found {host}"));
        } else if hosts.contains(host) {
            problems.add(
                key.clone(),
                format!("{host} is one of `hosts`, which serve"),
            );
        }
    }
    let first = hosts.first().filter(|first| first.contains('*'));
    if let Some(first) = first.filter(|_| !redirects.is_empty()) {
        problems.push(
            Problem::new(
                key,
                format!("the first of `hosts` is {first}, which no redirect can name"),
            )
            .help("write the host that they stand for first"),
        );
    }
    redirects
}

/// The hosts of one list, of the key `key`.
pub(super) fn each_once<'a>(
    typed: impl Iterator<Item = &'a Host>,
    key: &str,
    problems: &mut Collector,
) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for host in typed {
        if hosts.contains(&host.0) {
            problems.add(key, format!("{} is there twice", host.0));
        } else {
            hosts.push(host.0.clone());
        }
    }
    hosts
}

fn port(
    typed: Option<u16>,
    worker: Option<Worker>,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<u16> {
    if typed.is_some() || worker.is_some() || context.engine == EngineKind::Process {
        return typed;
    }
    let text = match context.ports {
        [only] => return Some(*only),
        [] => "is missing, and the service exposes and publishes no port".to_owned(),
        several => {
            let mut shown: Vec<String> = several.iter().take(4).map(u16::to_string).collect();
            if several.len() > shown.len() {
                shown.push("…".to_owned());
            }
            format!(
                "is missing, and the service has several ports: {}",
                shown.join(", ")
            )
        }
    };
    problems.push(
        Problem::new(format!("{}.port", context.path), text)
            .help("set it to the port that the app listens on inside its container"),
    );
    None
}

fn tls(
    choice: TlsChoice,
    hosts: &[String],
    context: &Context<'_>,
    problems: &mut Collector,
) -> Tls {
    let (cert, key) = match choice {
        TlsChoice::Off => return Tls::Off,
        TlsChoice::Auto => {
            if let Some(host) = hosts.iter().find(|host| host.contains('*')) {
                let key = format!("{}.tls", context.path);
                let text = format!(
                    "auto: no certificate can be had for {host:?}; name each host, or give {{cert: FILE, key: FILE}}"
                );
                problems.add(key, text);
            }
            return Tls::Auto;
        }
        TlsChoice::Files { cert, key } => (cert, key),
    };
    let mut file = |name: &str, typed: String| {
        let path = context.directory.join(typed);
        // Only what is surely missing: a key may be readable by the daemon alone.
        if let Err(error) = std::fs::metadata(&path)
            && error.kind() == std::io::ErrorKind::NotFound
        {
            let key = format!("{}.tls.{name}", context.path);
            problems.add(key, format!("there is no file {}", path.display()));
        }
        path
    };
    Tls::Files {
        cert: file("cert", cert),
        key: file("key", key),
    }
}

/// The page itself: a release has it, the daemon never reads the file.
fn error_page(file: &str, context: &Context<'_>, problems: &mut Collector) -> Option<String> {
    let path = context.directory.join(file);
    let wrong = match std::fs::read(&path) {
        Ok(bytes) if bytes.len() > LARGEST_PAGE => format!(
            "{} has {} bytes, at most {LARGEST_PAGE} are kept; put images and styles elsewhere",
            path.display(),
            bytes.len()
        ),
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(page) => return Some(page),
            Err(_) => format!("{} is not UTF-8", path.display()),
        },
        Err(error) => format!("{}: cannot read it: {error}", path.display()),
    };
    problems.add(format!("{}.error_page", context.path), wrong);
    None
}

fn limits(raw: Option<raw::Limits>, default: Limits) -> Limits {
    let raw = raw.unwrap_or_default();
    Limits {
        body: raw.body.map_or(default.body, |size| size.0),
        header_bytes: raw.header_bytes.map_or(default.header_bytes, |size| size.0),
        idle: raw.idle.map_or(default.idle, |span| span.0),
    }
}

fn health(raw: raw::Health, context: &Context<'_>, problems: &mut Collector) -> Option<Health> {
    let path = match raw.path {
        Some(path) => path.0,
        None => {
            let keys = [
                ("port", raw.port.is_some()),
                ("headers", raw.headers.is_some()),
                ("expect", raw.expect.is_some()),
                ("interval", raw.interval.is_some()),
                ("timeout", raw.timeout.is_some()),
                ("passes", raw.passes.is_some()),
            ];
            // `startup_timeout` alone keeps the default kind of check.
            for (key, _) in keys.iter().filter(|(_, typed)| *typed) {
                let key = format!("{}.health.{key}", context.path);
                problems.push(
                    Problem::new(key, "needs `path` beside it")
                        .help("example: health: { path: /healthz }"),
                );
            }
            return None;
        }
    };
    Some(Health {
        path,
        port: raw.port.map(|port| port.0),
        headers: raw.headers.map(|fields| fields.0).unwrap_or_default(),
        expect: raw
            .expect
            .map_or_else(|| Health::EXPECT.to_vec(), |statuses| statuses.0),
        interval: raw.interval.map_or(Health::INTERVAL, |span| span.0),
        timeout: raw.timeout.map_or(Health::TIMEOUT, |span| span.0),
        passes: raw.passes.map_or(Health::PASSES, |count| count.0),
    })
}

fn color_environment(raw: Option<raw::Colors>) -> BTreeMap<Color, BTreeMap<String, String>> {
    let raw = raw.unwrap_or_default();
    [(Color::Blue, raw.blue), (Color::Green, raw.green)]
        .into_iter()
        .filter_map(|(color, one)| Some((color, one?.environment?.0)))
        .collect()
}
