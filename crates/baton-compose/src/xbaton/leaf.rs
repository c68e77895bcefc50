//! The values of `x-baton`: each knows how it is written, what to say when it is not, and its JSON
//! Schema. Interpolation (`port: ${PORT}`) gives strings, so numbers and booleans may be strings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::policy::{Protocol, WarmupRequest, Worker};
use crate::project::EngineKind;
use crate::units;

/// Schema keyword that names the leaf a value is read with.
pub(crate) const LEAF: &str = "x-leaf";
/// Schema keyword of a key that is known and refused.
pub(crate) const LATER: &str = "x-later";

/// One kind of value.
pub(crate) trait Leaf: Sized {
    const NAME: &'static str;

    /// JSON Schema of the written form, without [`LEAF`].
    fn schema() -> Value;

    /// # Errors
    /// One sentence: what was expected and what was found.
    fn read(value: &Value) -> Result<Self, String>;
}

/// `expected X, found Y`.
pub(crate) fn expected<T>(what: &str, found: &Value) -> Result<T, String> {
    Err(format!("expected {what}, found {}", shown(found)))
}

/// A value as an error shows it: scalars as typed, the rest by its kind.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        // A list of hosts on one line, or a secret that slipped in, would bury the message.
        Value::String(text) if text.chars().count() > 80 => {
            let head: String = text.chars().take(60).collect();
            format!("{:?} and so on", head)
        }
        scalar => scalar.to_string(),
    }
}

type Check = fn(&Value) -> Result<(), String>;

/// Checks a value with the leaf of this name.
pub(crate) fn check(name: &str, value: &Value) -> Result<(), String> {
    fn with<L: Leaf>(value: &Value) -> Result<(), String> {
        L::read(value).map(drop)
    }
    let table: &[(&str, Check)] = &[
        (Text::NAME, with::<Text>),
        (Flag::NAME, with::<Flag>),
        (Port::NAME, with::<Port>),
        (Count::NAME, with::<Count>),
        (Span::NAME, with::<Span>),
        (PositiveSpan::NAME, with::<PositiveSpan>),
        (Size::NAME, with::<Size>),
        (Host::NAME, with::<Host>),
        (PathPrefix::NAME, with::<PathPrefix>),
        (RequestPath::NAME, with::<RequestPath>),
        (Statuses::NAME, with::<Statuses>),
        (Warmup::NAME, with::<Warmup>),
        (Pairs::NAME, with::<Pairs>),
        (HeaderFields::NAME, with::<HeaderFields>),
        (EngineName::NAME, with::<EngineName>),
        (ProtocolName::NAME, with::<ProtocolName>),
        (WorkerMode::NAME, with::<WorkerMode>),
        (StrategyName::NAME, with::<StrategyName>),
        (OverlapName::NAME, with::<OverlapName>),
        (TlsChoice::NAME, with::<TlsChoice>),
    ];
    match table.iter().find(|(leaf, _)| *leaf == name) {
        Some((_, check)) => check(value),
        None => Err(format!("expected nothing that is called {name}")),
    }
}

/// `Deserialize` and `JsonSchema` from [`Leaf`].
macro_rules! leaf {
    ($($name:ty),+ $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                <$name as Leaf>::read(&value).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                <$name as Leaf>::NAME.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let mut schema = <$name as Leaf>::schema();
                schema[LEAF] = <$name as Leaf>::NAME.into();
                // Every leaf writes an object here; `true` accepts anything and is never reached.
                Schema::try_from(schema).unwrap_or_else(|_| Schema::from(true))
            }
        }
    )+};
}

leaf!(
    Text,
    Flag,
    Port,
    Count,
    Span,
    PositiveSpan,
    Size,
    Host,
    PathPrefix,
    RequestPath,
    Statuses,
    Warmup,
    Pairs,
    HeaderFields,
    EngineName,
    ProtocolName,
    WorkerMode,
    StrategyName,
    OverlapName,
    TlsChoice,
);

/// A key that DESIGN knows and this version does not build.
#[derive(Debug)]
pub(crate) struct Later;

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Later)
    }
}

impl JsonSchema for Later {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-later": true })
    }
}

/// A scalar as text; None for lists, mappings and null.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// One of a few words.
fn word<T: Copy>(value: &Value, words: &[(&str, T)], expect: &str) -> Result<T, String> {
    value
        .as_str()
        .and_then(|text| words.iter().find(|(word, _)| *word == text))
        .map_or_else(|| expected(expect, value), |(_, meaning)| Ok(*meaning))
}

#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl Leaf for Text {
    const NAME: &'static str = "text";

    fn schema() -> Value {
        json!({ "type": "string" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value) {
            Some(text) if !text.is_empty() => Ok(Text(text)),
            _ => expected("a text", value),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag(pub(crate) bool);

impl Leaf for Flag {
    const NAME: &'static str = "flag";

    fn schema() -> Value {
        json!({ "type": "boolean" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).as_deref() {
            Some("true") => Ok(Flag(true)),
            Some("false") => Ok(Flag(false)),
            _ => expected("true or false", value),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Port(pub(crate) u16);

impl Leaf for Port {
    const NAME: &'static str = "port";

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 65535 })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(port) if port > 0 => Ok(Port(port)),
            _ => expected("a port from 1 to 65535", value),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Count(pub(crate) u32);

impl Leaf for Count {
    const NAME: &'static str = "count";

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 1, "maximum": 1000 })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(count @ 1..=1000) => Ok(Count(count)),
            _ => expected("a whole number from 1 to 1000", value),
        }
    }
}

const DURATION_PATTERN: &str = r"^(0|([0-9]*\.?[0-9]+(h|m|s|ms|us|µs|ns))+)$";

/// A duration, `0s` included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl Leaf for Span {
    const NAME: &'static str = "duration";

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": DURATION_PATTERN,
            "examples": ["500ms", "30s", "1m30s", "2h"],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str().and_then(units::parse_duration) {
            Some(duration) => Ok(Span(duration)),
            None => expected("a duration such as \"30s\"", value),
        }
    }
}

/// A duration above zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PositiveSpan(pub(crate) Duration);

impl Leaf for PositiveSpan {
    const NAME: &'static str = "positive_duration";

    fn schema() -> Value {
        Span::schema()
    }

    fn read(value: &Value) -> Result<Self, String> {
        match Span::read(value)? {
            Span(Duration::ZERO) => expected("a duration above 0, such as \"30s\"", value),
            Span(duration) => Ok(PositiveSpan(duration)),
        }
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size(pub(crate) u64);

impl Leaf for Size {
    const NAME: &'static str = "size";

    fn schema() -> Value {
        json!({
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": r"^[0-9.]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?$",
            "examples": ["64KiB", "10MB", 0],
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).as_deref().and_then(units::parse_size) {
            Some(bytes) => Ok(Size(bytes)),
            None => expected("a size such as \"64KiB\" or \"10MB\"", value),
        }
    }
}

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
        json!({ "type": "string", "pattern": "^/[^?#\\s]*$" })
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
        json!({ "type": "string", "pattern": "^/[^#\\s]*$" })
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
            "pattern": "^[A-Z]+ /\\S*( x[0-9]+)?$",
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

/// Names and values, as a mapping or as `NAME=value` lines.
#[derive(Debug)]
pub(crate) struct Pairs(pub(crate) BTreeMap<String, String>);

impl Leaf for Pairs {
    const NAME: &'static str = "pairs";

    fn schema() -> Value {
        json!({
            "type": ["object", "array"],
            "additionalProperties": { "type": ["string", "number", "boolean"] },
            "items": { "type": "string" },
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        // Values may be secrets: an error names the variable, never what is in it.
        let pair = |name: &str, value: Option<String>| match value {
            Some(text) if !name.is_empty() && !name.contains(['=', '\0']) => {
                Ok((name.to_owned(), text))
            }
            _ => Err(format!("expected a value for {name:?}")),
        };
        match value {
            Value::Object(map) => map
                .iter()
                .map(|(name, value)| pair(name, scalar(value)))
                .collect::<Result<_, _>>()
                .map(Pairs),
            Value::Array(items) => items
                .iter()
                .map(|item| {
                    let line = scalar(item).unwrap_or_default();
                    match line.split_once('=') {
                        Some((name, value)) => pair(name, Some(value.to_owned())),
                        None => pair(&line, None),
                    }
                })
                .collect::<Result<_, _>>()
                .map(Pairs),
            other => expected("a mapping such as {NAME: value}", other),
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

#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineName(pub(crate) EngineKind);

impl Leaf for EngineName {
    const NAME: &'static str = "engine";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["docker", "process"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [
            ("docker", EngineKind::Docker),
            ("process", EngineKind::Process),
        ];
        match value.as_str() {
            Some("swarm") => Err("swarm: not supported yet".to_owned()),
            _ => word(value, &words, "docker or process").map(EngineName),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ProtocolName(pub(crate) Protocol);

impl Leaf for ProtocolName {
    const NAME: &'static str = "protocol";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["http1", "h2c"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [("http1", Protocol::Http1), ("h2c", Protocol::H2c)];
        word(value, &words, "http1 or h2c").map(ProtocolName)
    }
}

/// `worker: true | false | overlap`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorkerMode(pub(crate) Option<Worker>);

impl Leaf for WorkerMode {
    const NAME: &'static str = "worker";

    fn schema() -> Value {
        json!({ "type": ["boolean", "string"], "enum": [true, false, "overlap"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).as_deref() {
            Some("true") => Ok(WorkerMode(Some(Worker::StopFirst))),
            Some("overlap") => Ok(WorkerMode(Some(Worker::Overlap))),
            Some("false") => Ok(WorkerMode(None)),
            _ => expected("true or overlap", value),
        }
    }
}

/// Only `blue-green` is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StrategyName;

impl Leaf for StrategyName {
    const NAME: &'static str = "strategy";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["blue-green"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("blue-green") => Ok(StrategyName),
            Some(later @ ("rolling" | "canary")) => Err(format!("{later}: not supported yet")),
            _ => expected("blue-green", value),
        }
    }
}

/// Only `required` is built.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OverlapName;

impl Leaf for OverlapName {
    const NAME: &'static str = "overlap";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["required"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some("required") => Ok(OverlapName),
            Some(later @ ("preferred" | "never")) => Err(format!("{later}: not supported yet")),
            _ => expected("required", value),
        }
    }
}

/// `off` or `{cert: FILE, key: FILE}`, as typed: paths not yet resolved.
#[derive(Debug)]
pub(crate) enum TlsChoice {
    Off,
    Files { cert: String, key: String },
}

impl Leaf for TlsChoice {
    const NAME: &'static str = "tls";

    fn schema() -> Value {
        let file = |what: &str| {
            let mut schema = Text::schema();
            schema["description"] = what.into();
            schema[LEAF] = Text::NAME.into();
            schema
        };
        json!({
            "anyOf": [
                { "type": ["string", "boolean"], "enum": ["off", false] },
                { "type": "object", "required": ["cert", "key"], "additionalProperties": false },
            ],
            "properties": {
                "cert": file("PEM file with the certificate and its chain; relative to the folder of the compose file."),
                "key": file("PEM file with the private key."),
            },
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            // YAML 1.1 readers take a bare `off` for false.
            Value::Bool(false) => Ok(TlsChoice::Off),
            Value::String(text) if text == "off" => Ok(TlsChoice::Off),
            Value::String(text) if text == "auto" => Err("auto: not supported yet".to_owned()),
            Value::Object(map) => {
                let file = |key: &str| match map.get(key) {
                    Some(value) => Text::read(value).map(|Text(file)| file),
                    None => Err(format!("needs both cert and key, {key} is missing")),
                };
                Ok(TlsChoice::Files {
                    cert: file("cert")?,
                    key: file("key")?,
                })
            }
            other => expected("off or {cert: FILE, key: FILE}", other),
        }
    }
}
