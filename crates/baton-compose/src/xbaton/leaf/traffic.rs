//! Values that end up in requests: hosts, paths, statuses, fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Leaf, Pairs, expected, or_variable, scalar, shown};
use crate::policy::WarmupRequest;

/// `api.example.com`, `*.example.com` or `*`, lower-cased.
#[derive(Debug)]
pub(crate) struct Host(pub(crate) String);

impl Leaf for Host {
    const NAME: &'static str = "host";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["api.example.com", "*.example.com", "*"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let Some(text) = value.as_str() else {
            return expected("a host such as api.example.com", value);
        };
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let because = |reason: &str| {
            Err(format!(
                "expected a host such as api.example.com, found {}: {reason}",
                shown(value)
            ))
        };
        if host.contains("://") {
            return because("leave the scheme away");
        }
        if !host.is_ascii() {
            return because("write it in punycode (xn--…), which is what browsers send");
        }
        if host.contains('/') {
            return because("a path goes into `path:`");
        }
        if host.contains(':') {
            return because("leave the port away, every port of Baton serves it");
        }
        if host == "*" {
            return Ok(Host(host));
        }
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if name.contains('*') {
            return because("`*` stands for the whole first label only, as in *.example.com");
        }
        let label_ok = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        if host.len() > 253 || !name.split('.').all(label_ok) {
            return because("labels are 1 to 63 letters, digits and dashes");
        }
        Ok(Host(host))
    }
}

/// `/`, `/api`: no trailing slash but in `/` itself.
#[derive(Debug)]
pub(crate) struct PathPrefix(pub(crate) String);

impl Leaf for PathPrefix {
    const NAME: &'static str = "path_prefix";

    fn schema() -> Value {
        json!({ "type": "string", "pattern": or_variable(r"/[^?#\s]*") })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let ok = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_graphic() && !b"?#*".contains(&b))
        };
        match value.as_str() {
            Some(text) if text.starts_with('/') && ok(text) => {
                let trimmed = text.trim_end_matches('/');
                Ok(PathPrefix(
                    if trimmed.is_empty() { "/" } else { trimmed }.to_owned(),
                ))
            }
            _ => expected("a path that starts with \"/\", such as /api", value),
        }
    }
}

/// A request target in origin form, query allowed.
#[derive(Debug)]
pub(crate) struct RequestPath(pub(crate) String);

impl Leaf for RequestPath {
    const NAME: &'static str = "request_path";

    fn schema() -> Value {
        json!({ "type": "string", "pattern": or_variable(r"/[^#\s]*") })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) if target_ok(text) => Ok(RequestPath(text.to_owned())),
            _ => expected("a path that starts with \"/\", such as /healthz", value),
        }
    }
}

/// Origin form of RFC 9112 §3.2.1, without a fragment.
fn target_ok(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

/// `200-399`, `204`, `[200, "301-302"]`: inclusive ranges.
#[derive(Debug)]
pub(crate) struct Statuses(pub(crate) Vec<(u16, u16)>);

impl Leaf for Statuses {
    const NAME: &'static str = "statuses";

    fn schema() -> Value {
        json!({
            "type": ["string", "integer", "array"],
            "items": { "type": ["string", "integer"] },
            "examples": ["200-399", 204],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let parts: Vec<String> = match value {
            Value::Array(items) => items.iter().filter_map(scalar).collect(),
            one => scalar(one)
                .map(|text| text.split(',').map(|part| part.trim().to_owned()).collect())
                .unwrap_or_default(),
        };
        let range = |part: &String| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            let (low, high): (u16, u16) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
            (100 <= low && low <= high && high <= 599).then_some((low, high))
        };
        match parts.iter().map(range).collect::<Option<Vec<_>>>() {
            Some(ranges) if !ranges.is_empty() => Ok(Statuses(ranges)),
            _ => expected("statuses such as 200-399 or 204", value),
        }
    }
}

/// `GET / x20`.
#[derive(Debug)]
pub(crate) struct Warmup(pub(crate) WarmupRequest);

impl Leaf for Warmup {
    const NAME: &'static str = "warmup";

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": or_variable(r"[A-Z]+ /\S*( x[0-9]+)?"),
            "examples": ["GET / x20"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        const EXPECTED: &str = "a request such as \"GET / x20\"";
        let Some(text) = value.as_str() else {
            return expected(EXPECTED, value);
        };
        let mut words = text.split_whitespace();
        let (method, path, times) = (words.next(), words.next(), words.next());
        let times = match times {
            None => Some(1),
            Some(times) => times.strip_prefix('x').and_then(|n| n.parse().ok()),
        };
        match (method, path, times, words.next()) {
            (Some(method), Some(path), Some(times @ 1..=10_000), None)
                if method.bytes().all(|b| b.is_ascii_uppercase()) && target_ok(path) =>
            {
                Ok(Warmup(WarmupRequest {
                    method: method.to_owned(),
                    path: path.to_owned(),
                    times,
                }))
            }
            _ => expected(EXPECTED, value),
        }
    }
}

/// Fields of a request.
#[derive(Debug)]
pub(crate) struct HeaderFields(pub(crate) BTreeMap<String, String>);

impl Leaf for HeaderFields {
    const NAME: &'static str = "header_fields";

    fn schema() -> Value {
        json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let Pairs(pairs) = match value {
            Value::Object(_) => Pairs::read(value)?,
            other => return expected("a mapping such as {Authorization: token}", other),
        };
        // RFC 9110 §5.1 (token) and §5.5 (field values).
        let name_ok = |name: &str| {
            name.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
        };
        let value_ok = |text: &str| {
            text.bytes()
                .all(|b| b == b'\t' || b == b' ' || b.is_ascii_graphic())
        };
        match pairs
            .iter()
            .find(|(name, text)| !name_ok(name) || !value_ok(text))
        {
            Some((name, _)) => Err(format!(
                "{name:?} cannot be sent: names are letters, digits and dashes, values printable ASCII"
            )),
            None => Ok(HeaderFields(pairs)),
        }
    }
}
