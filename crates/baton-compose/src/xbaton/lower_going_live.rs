//! From what was typed to what is meant, for how a release goes live: `canary`, `migrate`, `activate`,
//! `preview`, `hooks`, `allow`.

use super::leaf::{Flag, Hook, NetworkText};
use super::lower::{Context, each_once};
use super::raw;
use crate::error::{Collector, Problem};
use crate::policy::{Activate, Canary, HookCommand, Hooks, Migrate, Network, Preview, Worker};
use crate::project::EngineKind;

pub(super) fn canary(
    raw: Option<raw::Canary>,
    default: Canary,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Canary {
    let Some(raw) = raw else {
        return default;
    };
    let steps = raw.steps.map(|steps| {
        let steps: Vec<u8> = steps.iter().map(|percent| percent.0).collect();
        rising(steps, context, problems)
    });
    Canary {
        steps: steps.unwrap_or(default.steps),
        hold: raw.hold.map_or(default.hold, |span| span.0),
        min_requests: raw
            .min_requests
            .map_or(default.min_requests, |requests| requests.0),
        gate: raw.gate.map_or(default.gate, |name| name.0),
        header: raw.header.map_or(default.header, |Flag(header)| header),
    }
}

/// The last step is the switch, whether it was typed or not.
fn rising(mut steps: Vec<u8>, context: &Context<'_>, problems: &mut Collector) -> Vec<u8> {
    const ALL: u8 = 100;
    let wrong = match steps.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Some(format!("{} after {}", pair[1], pair[0])),
        None => steps.is_empty().then(|| "none".to_owned()),
    };
    if let Some(found) = wrong {
        problems.add(
            format!("{}.canary.steps", context.path),
            format!("expected rising percentages such as [5, 25, 50, 100], found {found}"),
        );
    }
    if steps.last() != Some(&ALL) {
        steps.push(ALL);
    }
    steps
}

pub(super) fn migrate(
    raw: raw::Migrate,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Migrate> {
    let Some(command) = raw.command else {
        problems.push(
            Problem::new(format!("{}.migrate", context.path), "needs `command`")
                .help("example: migrate: { command: [\"./migrate\", \"up\"], timeout: 5m }"),
        );
        return None;
    };
    Some(Migrate {
        command: command.0,
        timeout: raw.timeout.map_or(Migrate::TIMEOUT, |span| span.0),
    })
}

pub(super) fn activate(
    raw: raw::Activate,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Activate> {
    let Some(path) = raw.path else {
        problems.push(
            Problem::new(format!("{}.activate", context.path), "needs `path`")
                .help("example: activate: { path: /internal/active, wait: 60s }"),
        );
        return None;
    };
    Some(Activate {
        path: path.0,
        wait: raw.wait.map_or(Activate::WAIT, |span| span.0),
    })
}

pub(super) fn preview(
    raw: raw::Preview,
    worker: Option<Worker>,
    port: Option<u16>,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Preview> {
    let path = format!("{}.preview", context.path);
    let before = problems.raised();
    if worker.is_some() {
        no_address(&raw, &path, problems);
    } else {
        needs_hosts(&raw, &path, problems);
        if context.engine == EngineKind::Process && port.is_some() {
            problems.push(
                Problem::new(&path, "runs beside the live color, and both would listen on the `port` of this service: live requests would reach the preview")
                    .help("remove `port`: each color gets a free one as $PORT"),
            );
        }
    }
    let share = raw.share.is_some_and(|Flag(share)| share);
    let environment = raw.environment.map(|pairs| pairs.0).unwrap_or_default();
    if environment.is_empty() && !share {
        problems.push(
            Problem::new(
                &path,
                "needs `environment`: without one it would use what the live color uses, its database too",
            )
            .help("example: environment: { DB_URL: \"postgres://db/test\" }; or say `share: true` if that is meant"),
        );
    }
    let preview = Preview {
        hosts: each_once(
            raw.hosts.iter().flatten(),
            &format!("{path}.hosts"),
            problems,
        ),
        basic_auth: raw.basic_auth.map(|users| users.0).unwrap_or_default(),
        allow: allow(raw.allow, &path, problems),
        share,
        environment,
        // Known once the files were read for a preview.
        redis: None,
    };
    (problems.raised() == before).then_some(preview)
}

fn no_address(raw: &raw::Preview, path: &str, problems: &mut Collector) {
    for (key, typed) in [
        ("hosts", raw.hosts.is_some()),
        ("basic_auth", raw.basic_auth.is_some()),
        ("allow", raw.allow.is_some()),
    ] {
        if typed {
            problems.add(
                format!("{path}.{key}"),
                "a worker takes no traffic, so this key means nothing here",
            );
        }
    }
}

fn needs_hosts(raw: &raw::Preview, path: &str, problems: &mut Collector) {
    if raw.hosts.as_ref().is_none_or(Vec::is_empty) {
        problems.push(
            Problem::new(path, "needs `hosts`: where the test server is reached").help(
                "example: preview: { hosts: [test.example.com], environment: { DB_URL: … } }",
            ),
        );
    }
}

pub(super) fn hooks(raw: Option<raw::Hooks>) -> Hooks {
    fn commands(raw: Option<Vec<Hook>>) -> Vec<HookCommand> {
        let hooks = raw.unwrap_or_default().into_iter();
        hooks.map(|Hook(command)| command).collect()
    }
    let raw = raw.unwrap_or_default();
    Hooks {
        before_start: commands(raw.before_start),
        before_switch: commands(raw.before_switch),
        after_switch: commands(raw.after_switch),
        after_deploy: commands(raw.after_deploy),
    }
}

/// `allow` below `path`. An empty list would let everyone in, which nobody means who writes one.
pub(super) fn allow(
    raw: Option<Vec<NetworkText>>,
    path: &str,
    problems: &mut Collector,
) -> Vec<Network> {
    if raw.as_ref().is_some_and(Vec::is_empty) {
        problems.push(
            Problem::new(format!("{path}.allow"), "expected at least one network")
                .help("leave the key away to let everyone in"),
        );
    }
    let mut networks: Vec<Network> = Vec::new();
    for NetworkText(network) in raw.into_iter().flatten() {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
}
