//! What `x-baton.redis` means for one color: keys and groups of its final environment, and whether
//! the colors are kept apart (Streams.md §3).

use std::collections::BTreeMap;
use std::fmt;

use baton_compose::Color;
use baton_compose::policy::{self, Leftover, PerColor, RedisUrl, Until};
use serde::{Deserialize, Serialize};

use super::error::RedisError;
use super::url::Url;

/// One stream as one color reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub key: String,
    pub group: String,
    /// Its consumers read with NOACK: nothing that they work on is ever pending.
    pub noack: bool,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (group {})", self.key, self.group)
    }
}

/// `x-baton.redis` of one service, for one color.
#[derive(Debug, Clone)]
pub struct Messages {
    pub url: Url,
    /// In the order of the file: the same index is the same stream in the other color.
    pub streams: Vec<Stream>,
    pub leftover: Leftover,
    /// Baton makes the groups before the color starts.
    pub create: bool,
}

impl Messages {
    /// Reads URL, keys and groups from `environment`: the final one of the color's containers, as
    /// the engine starts them. `${NAME}` and `${NAME:-default}` in what the file writes are filled
    /// in from it, too, and `BATON_COLOR` is always known.
    ///
    /// # Errors
    /// [`RedisError::Rule`]: a variable is missing or empty, or the URL is not one.
    pub fn of(
        rule: &policy::Redis,
        color: Color,
        environment: &BTreeMap<String, String>,
    ) -> Result<Messages, RedisError> {
        let from = Source { color, environment };
        let url = match &rule.url {
            RedisUrl::Env(name) => Url::parse(&from.variable("url_env", name)?)?,
            RedisUrl::Url(text) => Url::parse(&from.filled("url", text)?)?,
        };
        let mut streams = Vec::new();
        for one in &rule.streams {
            streams.push(Stream {
                key: from.name("key", &one.key)?,
                group: from.name("group", &one.group)?,
                noack: one.noack,
            });
        }
        Ok(Messages {
            url,
            streams,
            leftover: rule.leftover,
            create: rule.create,
        })
    }
}

struct Source<'a> {
    color: Color,
    environment: &'a BTreeMap<String, String>,
}

impl Source<'_> {
    fn name(&self, what: &str, name: &PerColor) -> Result<String, RedisError> {
        match name {
            PerColor::Env(variable) => self.variable(&format!("{what}_env"), variable),
            PerColor::Written { blue, green } => match self.color {
                Color::Blue => self.filled(what, blue),
                Color::Green => self.filled(what, green),
            },
        }
    }

    fn variable(&self, what: &str, name: &str) -> Result<String, RedisError> {
        match self.environment.get(name) {
            Some(value) if !value.is_empty() => Ok(value.clone()),
            found => Err(RedisError::Rule(format!(
                "{what} is {name}, which is {} in the environment of {}",
                if found.is_some() { "empty" } else { "not set" },
                self.color
            ))),
        }
    }

    /// Fills in `${NAME}` and `${NAME:-default}`.
    fn filled(&self, what: &str, text: &str) -> Result<String, RedisError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((inside, behind)) = after.split_once('}') else {
                return Err(RedisError::Rule(format!("{what}: {text:?} lacks a `}}`")));
            };
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            out.push_str(&match (name, default) {
                ("BATON_COLOR", _) => self.color.to_string(),
                (name, None) => self.variable(what, name)?,
                (name, Some(default)) => self
                    .variable(what, name)
                    .unwrap_or_else(|_| default.to_owned()),
            });
            rest = behind;
        }
        out.push_str(rest);
        if out.is_empty() {
            return Err(RedisError::Rule(format!(
                "{what} is empty for {}",
                self.color
            )));
        }
        Ok(out)
    }
}

/// Warnings where a stream is not kept apart between the colors, one text a stream.
///
/// Same key, same group: each color takes the other's messages. Same key only: both handle every
/// message. Same group only: works, since a group belongs to its key, and reads like a mistake.
#[must_use]
pub fn isolation(old: &[Stream], new: &[Stream]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (old, new) in old.iter().zip(new) {
        let (key, group) = (&new.key, &new.group);
        warnings.push(match (old.key == new.key, old.group == new.group) {
            (true, true) => format!(
                "both colors read {key} with the group {group}: each takes messages of the other, and Baton cannot tell when the old one has none left; put ${{BATON_COLOR}} into the key"
            ),
            (true, false) => format!(
                "both colors read {key}, with groups of their own: both handle every message while both run, and Baton cannot tell when the old one has none left; put ${{BATON_COLOR}} into the key"
            ),
            (false, true) => format!(
                "both colors use the group name {group} (on {} and {key}): it works, since a group belongs to its stream; put ${{BATON_COLOR}} into it to tell them apart",
                old.key
            ),
            (false, false) => continue,
        });
    }
    warnings
}

/// Why this preview may not start: it would take the live color's messages. None: it may.
#[must_use]
pub fn preview_takes(live: &[Stream], preview: &[Stream]) -> Option<String> {
    let same = |one: &&Stream| {
        live.iter()
            .any(|l| l.key == one.key && l.group == one.group)
    };
    preview.iter().find(same).map(|one| {
        format!(
            "the preview would read {one}, the live color's own messages; give it others in x-baton.preview.environment"
        )
    })
}

/// Why `noack: true` needs more (Streams.md §3): XPENDING is 0 while such a consumer works, so only
/// the app can tell when it is done. None: `drain.until` is there, or no stream is `noack`.
#[must_use]
pub fn needs_until(streams: &[Stream], until: Option<&Until>) -> Option<String> {
    let noack = streams.iter().find(|stream| stream.noack)?;
    until.is_none().then(|| {
        format!(
            "{noack} is read with NOACK, so Redis does not know what its consumers still work on; say with x-baton.drain.until when the app is done"
        )
    })
}

/// True where Baton can prove that the old color has nothing left: nobody else writes to its key.
/// False where both colors share the key: no drain, and nothing is ever moved (it would come back).
#[must_use]
pub fn apart(old: &Stream, new: Option<&Stream>) -> bool {
    new.is_none_or(|new| new.key != old.key)
}

#[cfg(test)]
mod tests {
    use baton_compose::policy::{Redis, RedisStream};

    use super::*;

    fn rule(url: RedisUrl, key: PerColor, group: PerColor) -> Redis {
        Redis {
            url,
            streams: vec![RedisStream {
                key,
                group,
                noack: false,
            }],
            leftover: Leftover::Move,
            create: false,
        }
    }

    fn environment(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = list.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn env(name: &str) -> PerColor {
        PerColor::Env(name.to_owned())
    }

    fn written(text: &str) -> PerColor {
        PerColor::Written {
            blue: text.to_owned(),
            green: text.to_owned(),
        }
    }

    fn named(key: &str, group: &str) -> Stream {
        Stream {
            key: key.to_owned(),
            group: group.to_owned(),
            noack: false,
        }
    }

    #[test]
    fn names_come_from_the_final_environment() {
        let rule = rule(
            RedisUrl::Env("REDIS_URL".to_owned()),
            env("KEY"),
            env("GROUP"),
        );
        let found = environment(&[
            ("REDIS_URL", "redis://:pw@redis/1"),
            ("KEY", "orders-green"),
            ("GROUP", "api-green"),
        ]);
        let messages = Messages::of(&rule, Color::Green, &found).expect("all there");
        assert_eq!(messages.streams, [named("orders-green", "api-green")]);
        assert_eq!(messages.url.to_string(), "redis:6379/1");
    }

    #[test]
    fn templates_are_filled_in_for_the_color() {
        let url = RedisUrl::Url("redis://redis:6379".to_owned());
        let key = written("${PREFIX:-shop}-orders-${BATON_COLOR}");
        let rule = rule(url, key, written("${APP}-${BATON_COLOR:-blue}"));
        let found = environment(&[("APP", "api"), ("BATON_COLOR", "nonsense")]);
        for (color, key, group) in [
            (Color::Blue, "shop-orders-blue", "api-blue"),
            (Color::Green, "shop-orders-green", "api-green"),
        ] {
            let messages = Messages::of(&rule, color, &found).expect("all there");
            assert_eq!(messages.streams, [named(key, group)]);
        }
    }

    #[test]
    fn what_is_missing_is_named_without_any_value() {
        let url = RedisUrl::Env("REDIS_URL".to_owned());
        let rule = rule(url, env("KEY"), written("${GROUP}"));
        for (list, told) in [
            (
                vec![],
                "url_env is REDIS_URL, which is not set in the environment of blue",
            ),
            (
                vec![("REDIS_URL", "redis://:s3cret@redis"), ("KEY", "")],
                "key_env is KEY, which is empty in the environment of blue",
            ),
            (
                vec![("REDIS_URL", "redis://:s3cret@redis"), ("KEY", "orders")],
                "group is GROUP, which is not set in the environment of blue",
            ),
            (
                vec![("REDIS_URL", "redis://:s3cret@redis/x")],
                "expected a URL",
            ),
        ] {
            let error = Messages::of(&rule, Color::Blue, &environment(&list));
            let text = error.expect_err(told).to_string();
            assert!(text.contains(told) && !text.contains("s3cret"), "{text}");
        }
    }

    #[test]
    fn shared_names_are_warned_of() {
        let old = [named("orders-blue", "api-blue")];
        let told = |key: &str, group: &str| isolation(&old, &[named(key, group)]).join("");
        assert_eq!(told("orders-green", "api-green"), "");
        assert!(told("orders-blue", "api-blue").contains("each takes messages of the other"));
        assert!(told("orders-blue", "api-green").contains("both handle every message"));
        assert!(told("orders-green", "api-blue").contains("it works"));
        assert!(apart(&old[0], Some(&named("orders-green", "api-blue"))));
        assert!(!apart(&old[0], Some(&named("orders-blue", "api-green"))));
        assert!(apart(&old[0], None));
    }

    #[test]
    fn a_preview_may_not_take_live_messages() {
        let live = [
            named("orders-blue", "api-blue"),
            named("mail-blue", "api-blue"),
        ];
        assert_eq!(
            preview_takes(&live, &[named("orders-preview", "preview")]),
            None
        );
        // A group of its own gets copies, and takes nothing away.
        assert_eq!(
            preview_takes(&live, &[named("orders-blue", "preview")]),
            None
        );
        let text = preview_takes(&live, &[named("mail-blue", "api-blue")]).expect("refused");
        assert!(text.contains("mail-blue (group api-blue)"), "{text}");
    }

    #[test]
    fn noack_asks_for_drain_until() {
        let mut streams = [named("orders-blue", "api-blue")];
        assert_eq!(needs_until(&streams, None), None);
        streams[0].noack = true;
        assert!(needs_until(&streams, None).is_some());
        let until = Until::Http("/drained".to_owned());
        assert_eq!(needs_until(&streams, Some(&until)), None);
    }
}
