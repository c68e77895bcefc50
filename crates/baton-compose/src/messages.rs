//! Does a preview touch the messages of the live color? Pure: from what the files or the containers
//! say of both (Streams.md §3).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::color::Color;
use crate::policy::{PerColor, Redis, RedisStream, RedisUrl};

/// One color of one service as it reads its messages.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// [`crate::Policy::redis_in`] the role that it has.
    pub redis: &'a Redis,
    pub color: Color,
    /// Of its containers; what the files say of it where there are none yet.
    pub environment: &'a BTreeMap<String, String>,
}

/// What a preview has in common with a live color.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Common {
    /// Index in the `streams` of the preview.
    pub(crate) stream: usize,
    /// Key and group, not the key alone.
    pub(crate) group: bool,
}

/// Why this preview must not run beside this live color: a stream of it has the key **and** the group
/// of a live one, so that it would take messages that are meant for the app. None: it may, or the two
/// environments do not tell (a variable that neither has).
#[must_use]
pub fn preview_takes(live: Reader<'_>, preview: Reader<'_>) -> Option<String> {
    let common = common(live, preview).into_iter().find(|one| one.group)?;
    Some(format!(
        "a preview would read {} with the live color's group, and take messages from it: {}",
        named(preview, common.stream),
        remedy(preview, common.stream)
    ))
}

/// What a preview reads of the live color's messages as well, with a group of its own: nothing is
/// taken from the app, but the work is done twice. One sentence a stream.
#[must_use]
pub fn preview_reads(live: Reader<'_>, preview: Reader<'_>) -> Vec<String> {
    let common = common(live, preview).into_iter();
    common
        .filter(|one| !one.group)
        .map(|one| {
            format!(
                "a preview reads live messages too: {} is the live color's, with another group",
                named(preview, one.stream)
            )
        })
        .collect()
}

/// `KEY` for what a variable holds, which is not shown.
fn named(reader: Reader<'_>, stream: usize) -> String {
    match reader.redis.streams.get(stream).map(|stream| &stream.key) {
        Some(PerColor::Env(variable)) => format!("the stream that {variable} holds"),
        Some(written @ PerColor::Written { .. }) => {
            format!("the stream {}", value(written, reader).unwrap_or_default())
        }
        None => "a stream".to_owned(),
    }
}

/// How the preview gets a stream of its own.
fn remedy(reader: Reader<'_>, stream: usize) -> String {
    match reader.redis.streams.get(stream).map(|stream| &stream.key) {
        Some(PerColor::Env(variable)) => {
            format!("set {variable} in `preview.environment` to a stream of its own")
        }
        _ => "put ${BATON_ROLE} into its `key`, here and where the app takes it from".to_owned(),
    }
}

/// The streams that both read.
fn common(live: Reader<'_>, preview: Reader<'_>) -> Vec<Common> {
    if !same_server(live, preview) {
        return Vec::new();
    }
    let same = |one: &PerColor, other: &PerColor| {
        let (one, other) = (value(one, live), value(other, preview));
        one.is_some() && one == other
    };
    let of = |own: &RedisStream| {
        let mut keys = live
            .redis
            .streams
            .iter()
            .filter(|one| same(&one.key, &own.key))
            .peekable();
        keys.peek()?;
        Some(keys.any(|one| same(&one.group, &own.group)))
    };
    let streams = preview.redis.streams.iter().enumerate();
    streams
        .filter_map(|(stream, own)| {
            Some(Common {
                stream,
                group: of(own)?,
            })
        })
        .collect()
}

fn value<'a>(name: &'a PerColor, reader: Reader<'a>) -> Option<&'a str> {
    match name {
        PerColor::Env(variable) => reader.environment.get(variable).map(String::as_str),
        PerColor::Written { blue, green } => Some(match reader.color {
            Color::Blue => blue,
            Color::Green => green,
        }),
    }
}

/// Only what is surely another server, or another database of one, keeps two readers apart. What
/// neither environment says comes from the one image that both run; what one of them says alone is
/// not known to be the same.
fn same_server(live: Reader<'_>, preview: Reader<'_>) -> bool {
    let url = |reader: Reader<'_>| match &reader.redis.url {
        RedisUrl::Url(url) => Some(server(url)),
        RedisUrl::Env(variable) => reader.environment.get(variable).map(|url| server(url)),
    };
    url(live) == url(preview)
}

/// Host, port and database of a URL, as far as they are what tells servers apart: no scheme, no
/// password, no parameters.
fn server(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let (host, database) = rest.split_once('/').unwrap_or((rest, ""));
    let port_given = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host: Cow<'_, str> = if port_given {
        host.into()
    } else {
        format!("{host}:6379").into()
    };
    let database = if database.is_empty() { "0" } else { database };
    format!("{}/{database}", host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(url: RedisUrl, key: PerColor, group: PerColor) -> Redis {
        Redis {
            url,
            streams: vec![RedisStream {
                key,
                group,
                noack: false,
            }],
            leftover: crate::policy::Leftover::Move,
            create: false,
        }
    }

    fn by_variable() -> Redis {
        let variable = |name: &str| PerColor::Env(name.to_owned());
        let url = RedisUrl::Env("REDIS_URL".to_owned());
        redis(url, variable("KEY"), variable("GROUP"))
    }

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    /// What is said of a green preview beside a blue live color.
    fn said(live: &[(&str, &str)], preview: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let rule = by_variable();
        let (live, preview) = (environment(live), environment(preview));
        let live = Reader {
            redis: &rule,
            color: Color::Blue,
            environment: &live,
        };
        let preview = Reader {
            redis: &rule,
            color: Color::Green,
            environment: &preview,
        };
        (preview_takes(live, preview), preview_reads(live, preview))
    }

    #[test]
    fn the_same_key_and_group_is_refused_without_showing_them() {
        let both = [("KEY", "hidden-orders"), ("GROUP", "api")];
        let (takes, reads) = said(&both, &both);
        let takes = takes.expect("refused");
        assert!(takes.contains("the stream that KEY holds"), "{takes}");
        assert!(
            takes.contains("set KEY in `preview.environment`"),
            "{takes}"
        );
        assert!(!takes.contains("hidden-orders"), "{takes}");
        assert!(reads.is_empty());
    }

    #[test]
    fn another_group_is_a_notice_and_another_key_is_nothing() {
        let live = [("KEY", "orders"), ("GROUP", "api")];
        let (takes, reads) = said(&live, &[("KEY", "orders"), ("GROUP", "preview")]);
        assert_eq!((takes, reads.len()), (None, 1));
        assert_eq!(
            said(&live, &[("KEY", "test"), ("GROUP", "api")]),
            (None, Vec::new())
        );
        // The image may say it: nobody knows yet.
        assert_eq!(said(&live, &[("GROUP", "api")]), (None, Vec::new()));
        assert_eq!(said(&[], &[]), (None, Vec::new()));
    }

    #[test]
    fn another_server_or_database_keeps_them_apart() {
        let with = |url: &'static str| [("KEY", "orders"), ("GROUP", "api"), ("REDIS_URL", url)];
        for (live, preview, apart) in [
            ("redis://redis", "redis://:pw@REDIS:6379/0?x=1", false),
            ("redis://redis:6379/0", "redis://redis:6379/1", true),
            ("redis://redis", "redis://redis-test", true),
            ("redis:6380", "redis", true),
            ("unix:///run/redis.sock", "unix:///run/test.sock", true),
        ] {
            let (takes, _) = said(&with(live), &with(preview));
            assert_eq!(takes.is_none(), apart, "{live} and {preview}");
        }
    }

    #[test]
    fn a_written_key_is_the_one_of_its_color() {
        let written = |blue: &str, green: &str| PerColor::Written {
            blue: blue.to_owned(),
            green: green.to_owned(),
        };
        let url = RedisUrl::Url("redis://redis".to_owned());
        let rule = redis(url, written("o-blue", "o-green"), written("api", "api"));
        let none = BTreeMap::new();
        let reader = |color| Reader {
            redis: &rule,
            color,
            environment: &none,
        };
        assert_eq!(
            preview_takes(reader(Color::Blue), reader(Color::Green)),
            None
        );
        let takes = preview_takes(reader(Color::Green), reader(Color::Green)).expect("refused");
        assert!(
            takes.contains("o-green") && takes.contains("${BATON_ROLE}"),
            "{takes}"
        );
    }
}
