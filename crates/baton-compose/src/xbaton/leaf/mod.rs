//! The values of `x-baton`: each knows how it is written, what to say when it is not, and its JSON
//! Schema. Interpolation (`port: ${PORT}`) gives strings, so numbers and booleans may be strings.

mod access;
mod choices;
mod commands;
mod notify;
mod streams;
mod traffic;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

pub(crate) use access::{NetworkText, Users};
pub(crate) use choices::{
    EngineName, GateName, OverlapName, ProtocolName, StrategyName, TlsChoice, WorkerMode,
};
pub(crate) use commands::{CommandLine, Hook, Percent, Requests};
pub(crate) use notify::{LanguageName, NewsName, SecretText, WebhookUrl};
pub(crate) use streams::{
    CloseCode, CookieName, LeftoverName, PathGlob, RedisUrlText, StreamModeName, VariableName,
};
pub(crate) use traffic::{HeaderFields, Host, PathPrefix, RequestPath, Statuses, Warmup};

use crate::units;

/// Schema keyword that names the leaf a value is read with.
pub(crate) const LEAF: &str = "x-leaf";

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
        // Whoever knows the address of a webhook can write there.
        Value::String(text) if is_address(text) => "an address".to_owned(),
        // A list of hosts on one line, or a secret that slipped in, would bury the message.
        Value::String(text) if text.chars().count() > 80 => {
            let head: String = text.chars().take(60).collect();
            format!("{:?} and so on", head)
        }
        scalar => scalar.to_string(),
    }
}

/// With a path, which is what is secret of it.
fn is_address(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    matches!(scheme, "http" | "https") && rest.contains('/')
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
        (StreamModeName::NAME, with::<StreamModeName>),
        (LeftoverName::NAME, with::<LeftoverName>),
        (PathGlob::NAME, with::<PathGlob>),
        (VariableName::NAME, with::<VariableName>),
        (CookieName::NAME, with::<CookieName>),
        (RedisUrlText::NAME, with::<RedisUrlText>),
        (CloseCode::NAME, with::<CloseCode>),
        (GateName::NAME, with::<GateName>),
        (Percent::NAME, with::<Percent>),
        (Requests::NAME, with::<Requests>),
        (CommandLine::NAME, with::<CommandLine>),
        (Hook::NAME, with::<Hook>),
        (Users::NAME, with::<Users>),
        (NetworkText::NAME, with::<NetworkText>),
        (WebhookUrl::NAME, with::<WebhookUrl>),
        (SecretText::NAME, with::<SecretText>),
        (LanguageName::NAME, with::<LanguageName>),
        (NewsName::NAME, with::<NewsName>),
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
    StreamModeName,
    LeftoverName,
    PathGlob,
    VariableName,
    CookieName,
    RedisUrlText,
    CloseCode,
    GateName,
    Percent,
    Requests,
    CommandLine,
    Hook,
    Users,
    NetworkText,
    WebhookUrl,
    SecretText,
    LanguageName,
    NewsName,
);

/// A pattern for editors: what is meant, or a text with a `${VARIABLE}` in it.
fn or_variable(pattern: &str) -> String {
    format!(r"^({pattern}|.*\$\{{.*)$")
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
        json!({ "type": ["boolean", "string"], "pattern": or_variable("true|false") })
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
        json!({
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 65535,
            "pattern": or_variable("[0-9]+"),
        })
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
        json!({
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 1000,
            "pattern": or_variable("[0-9]+"),
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match scalar(value).and_then(|text| text.parse().ok()) {
            Some(count @ 1..=1000) => Ok(Count(count)),
            _ => expected("a whole number from 1 to 1000", value),
        }
    }
}

/// A duration, `0s` included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) Duration);

impl Leaf for Span {
    const NAME: &'static str = "duration";

    fn schema() -> Value {
        json!({
            "type": "string",
            "pattern": or_variable(r"0|([0-9]*\.?[0-9]+(h|m|s|ms|us|µs|ns))+"),
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
            "pattern": or_variable(r"[0-9.]+ ?([kKmMgGtT]([iI]?[bB])?|[bB])?"),
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
