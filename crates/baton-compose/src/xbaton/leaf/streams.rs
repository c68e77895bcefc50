//! Values of `sse`, `redis` and `sessions`.

use serde_json::{Value, json};

use super::choices::word;
use super::{Leaf, expected, or_variable, scalar};
use crate::policy::{Leftover, StreamMode};

#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamModeName(pub(crate) StreamMode);

impl Leaf for StreamModeName {
    const NAME: &'static str = "stream_mode";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["union", "cut", "reconnect", "drain"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [
            StreamMode::Union,
            StreamMode::Cut,
            StreamMode::Reconnect,
            StreamMode::Drain,
        ]
        .map(|mode| (mode.as_str(), mode));
        word(value, &words, "union, cut, reconnect or drain").map(StreamModeName)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LeftoverName(pub(crate) Leftover);

impl Leaf for LeftoverName {
    const NAME: &'static str = "leftover";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["move", "wait", "fail"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [
            ("move", Leftover::Move),
            ("wait", Leftover::Wait),
            ("fail", Leftover::Fail),
        ];
        word(value, &words, "move, wait or fail").map(LeftoverName)
    }
}

/// `/sse/**`: matched against the path of the request, without its query.
#[derive(Debug)]
pub(crate) struct PathGlob(pub(crate) String);

impl Leaf for PathGlob {
    const NAME: &'static str = "path_glob";

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": or_variable(r"/[^?#\s]*"),
            "examples": ["/sse/**", "/orders/*/events"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let ok = |text: &str| {
            text.starts_with('/')
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && !b"?#".contains(&b))
                // `**` stands for whole segments.
                && text
                    .split('/')
                    .all(|segment| segment == "**" || !segment.contains("**"))
        };
        match value.as_str() {
            Some(text) if ok(text) => Ok(PathGlob(text.to_owned())),
            _ => expected("a path such as \"/sse/**\" or \"/orders/*/events\"", value),
        }
    }
}

/// Name of an environment variable.
#[derive(Debug)]
pub(crate) struct VariableName(pub(crate) String);

impl Leaf for VariableName {
    const NAME: &'static str = "variable";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["REDIS_URL"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) if !text.is_empty() && !text.contains(['=', '$', ' ', '\0']) => {
                Ok(VariableName(text.to_owned()))
            }
            _ => expected(
                "the name of an environment variable, such as REDIS_URL",
                value,
            ),
        }
    }
}

/// A token of RFC 9110 §5.6.2, as RFC 6265 §4.1.1 asks of a cookie's name.
#[derive(Debug)]
pub(crate) struct CookieName(pub(crate) String);

impl Leaf for CookieName {
    const NAME: &'static str = "cookie";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["JSESSIONID"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match value.as_str() {
            Some(text) if !text.is_empty() && text.bytes().all(token) => {
                Ok(CookieName(text.to_owned()))
            }
            _ => expected("the name of a cookie, such as JSESSIONID", value),
        }
    }
}

/// `redis://`, `valkey://`, `unix://`, or only host and port; it may hold a password, so no error shows
/// it.
#[derive(Debug)]
pub(crate) struct RedisUrlText(pub(crate) String);

impl Leaf for RedisUrlText {
    const NAME: &'static str = "redis_url";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["redis://redis:6379"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let schemes = ["redis", "valkey", "unix", "redis+unix", "valkey+unix"];
        let ok = |text: &str| match text.split_once("://") {
            Some((scheme, rest)) => schemes.contains(&scheme) && !rest.is_empty(),
            None => !text.is_empty() && !text.contains([' ', '/']),
        };
        match value.as_str() {
            Some(text) if text.starts_with("rediss://") => {
                Err("rediss:// (TLS): not supported yet".to_owned())
            }
            Some(text) if ok(text) => Ok(RedisUrlText(text.to_owned())),
            _ => Err("expected a URL such as redis://redis:6379".to_owned()),
        }
    }
}

/// A code that a server may send in a Close frame (RFC 6455 §7.4): never 1000, which tells clients
/// that there is nothing to come back for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CloseCode(pub(crate) u16);

impl Leaf for CloseCode {
    const NAME: &'static str = "close_code";

    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 1001,
            "maximum": 4999,
            "pattern": or_variable("[0-9]+"),
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(code @ (1001 | 1011..=1014 | 3000..=4999)) => Ok(CloseCode(code)),
            _ => expected(
                "a close code such as 1012 (1001, 1011 to 1014, 3000 to 4999)",
                value,
            ),
        }
    }
}
