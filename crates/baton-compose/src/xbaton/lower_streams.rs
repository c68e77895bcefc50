//! From what was typed to what is meant, for everything that outlives a request: `sse`, `redis`,
//! `sessions`, `drain`.

use super::leaf::{Flag, Text, VariableName};
use super::lower::Context;
use super::raw;
use crate::error::{Collector, Problem};
use crate::policy::{Drain, PerColor, Redis, RedisStream, RedisUrl, Sessions, StreamRule, Until};

pub(super) fn sse(
    raw: Option<Vec<raw::Sse>>,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Vec<StreamRule> {
    let mut rules: Vec<StreamRule> = Vec::new();
    for (index, one) in raw.unwrap_or_default().into_iter().enumerate() {
        let key = format!("{}.sse[{index}]", context.path);
        let (Some(path), Some(mode)) = (one.path, one.mode) else {
            problems.push(
                Problem::new(key, "needs both `path` and `mode`")
                    .help("example: { path: \"/sse/**\", mode: union }"),
            );
            continue;
        };
        if rules.iter().any(|rule| rule.path == path.0) {
            problems.add(
                format!("{key}.path"),
                format!("{} is there twice, and the first one counts", path.0),
            );
        }
        rules.push(StreamRule {
            path: path.0,
            mode: mode.0,
            drop_on_attach: texts(one.drop_on_attach),
            attach_grace: one
                .attach_grace
                .map_or(StreamRule::ATTACH_GRACE, |span| span.0),
        });
    }
    rules
}

fn texts(raw: Option<Vec<Text>>) -> Vec<String> {
    let texts = raw.unwrap_or_default().into_iter();
    texts.map(|Text(text)| text).collect()
}

pub(super) fn redis(
    raw: raw::Redis,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Redis> {
    let path = format!("{}.redis", context.path);
    let before = problems.raised();
    let url = match (raw.url_env, raw.url) {
        (Some(VariableName(name)), None) => Some(RedisUrl::Env(name)),
        (None, Some(url)) => Some(RedisUrl::Url(url.0)),
        (found, _) => {
            let text = match found {
                Some(_) => "has both `url` and `url_env`: remove one of them",
                None => "needs `url_env` (the variable that holds the URL) or `url`",
            };
            problems.push(Problem::new(&path, text).help("example: url_env: REDIS_URL"));
            None
        }
    };
    let raw_streams = raw.streams.unwrap_or_default();
    if raw_streams.is_empty() {
        problems.push(
            Problem::new(format!("{path}.streams"), "expected at least one stream")
                .help("example: streams: [{ key_env: REDIS_STREAM_KEY, group_env: REDIS_CONSUMER_GROUP }]"),
        );
    }
    let mut streams = Vec::new();
    for (index, one) in raw_streams.into_iter().enumerate() {
        let path = format!("{path}.streams[{index}]");
        let key = named("key", one.key, one.key_env, &path, problems);
        let group = named("group", one.group, one.group_env, &path, problems);
        if let (Some(key), Some(group)) = (key, group) {
            streams.push(RedisStream {
                key,
                group,
                noack: one.noack.is_some_and(|Flag(noack)| noack),
            });
        }
    }
    (problems.raised() == before).then_some(Redis {
        url: url?,
        streams,
        leftover: raw.leftover.map(|name| name.0).unwrap_or_default(),
        create: raw.create.is_some_and(|Flag(create)| create),
    })
}

/// One of `key` and `key_env`. What is written is this color's; the other color's is joined later.
fn named(
    what: &str,
    written: Option<Text>,
    variable: Option<VariableName>,
    path: &str,
    problems: &mut Collector,
) -> Option<PerColor> {
    match (written, variable) {
        (Some(Text(text)), None) => Some(PerColor::Written {
            blue: text.clone(),
            green: text,
        }),
        (None, Some(VariableName(name))) => Some(PerColor::Env(name)),
        (found, _) => {
            let text = match found {
                Some(_) => format!("has both `{what}` and `{what}_env`: remove one of them"),
                None => format!("needs `{what}_env` (the variable that holds it) or `{what}`"),
            };
            problems.add(path, text);
            None
        }
    }
}

pub(super) fn sessions(
    raw: raw::Sessions,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Option<Sessions> {
    let Some(cookie) = raw.cookie else {
        problems.push(
            Problem::new(format!("{}.sessions", context.path), "needs `cookie`")
                .help("example: sessions: { cookie: JSESSIONID, keep: 30m }"),
        );
        return None;
    };
    Some(Sessions {
        cookie: cookie.0,
        keep: raw.keep.map_or(Sessions::KEEP, |span| span.0),
    })
}

pub(super) fn drain(
    raw: Option<raw::Drain>,
    default: Drain,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Drain {
    let raw = raw.unwrap_or_default();
    let requests = raw.requests.map_or(default.requests, |span| span.0);
    Drain {
        requests,
        // Never shorter than the first wait.
        connections: raw
            .connections
            .map_or(default.connections, |span| span.0)
            .max(requests),
        websockets: raw.websockets.map_or(default.websockets, |span| span.0),
        websocket_code: raw
            .websocket_code
            .map_or(default.websocket_code, |code| code.0),
        until: raw
            .until
            .and_then(|until| self::until(until, context, problems)),
    }
}

fn until(raw: raw::Until, context: &Context<'_>, problems: &mut Collector) -> Option<Until> {
    let path = format!("{}.drain.until", context.path);
    match (raw.http, raw.exec) {
        (Some(target), None) => Some(Until::Http(target.0)),
        (None, Some(command)) if !command.is_empty() => Some(Until::Exec(texts(Some(command)))),
        (found, _) => {
            let text = match found {
                Some(_) => "has both `http` and `exec`: remove one of them",
                None => {
                    "needs `http` (a path that answers 2xx) or `exec` (a command that exits with 0)"
                }
            };
            problems.push(Problem::new(path, text).help("example: until: { http: /drained }"));
            None
        }
    }
}
