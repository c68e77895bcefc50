//! Values that are one of a few words.

use serde_json::{Value, json};

use super::{LEAF, Leaf, Text, expected, scalar};
use crate::policy::{Gate, Overlap, Protocol, Strategy, Worker};
use crate::project::EngineKind;

/// One of a few words.
pub(super) fn word<T: Copy>(value: &Value, words: &[(&str, T)], expect: &str) -> Result<T, String> {
    value
        .as_str()
        .and_then(|text| words.iter().find(|(word, _)| *word == text))
        .map_or_else(|| expected(expect, value), |(_, meaning)| Ok(*meaning))
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

#[derive(Debug, Clone, Copy)]
pub(crate) struct StrategyName(pub(crate) Strategy);

impl Leaf for StrategyName {
    const NAME: &'static str = "strategy";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["blue-green", "rolling", "canary"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [Strategy::BlueGreen, Strategy::Rolling, Strategy::Canary]
            .map(|strategy| (strategy.as_str(), strategy));
        word(value, &words, "blue-green, rolling or canary").map(StrategyName)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct GateName(pub(crate) Gate);

impl Leaf for GateName {
    const NAME: &'static str = "gate";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["auto", "manual"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [("auto", Gate::Auto), ("manual", Gate::Manual)];
        word(value, &words, "auto or manual").map(GateName)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct OverlapName(pub(crate) Overlap);

impl Leaf for OverlapName {
    const NAME: &'static str = "overlap";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["required", "preferred", "never"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [Overlap::Required, Overlap::Preferred, Overlap::Never]
            .map(|overlap| (overlap.as_str(), overlap));
        word(value, &words, "required, preferred or never").map(OverlapName)
    }
}

/// `auto`, `off` or `{cert: FILE, key: FILE}`, as typed: paths not yet resolved.
#[derive(Debug)]
pub(crate) enum TlsChoice {
    Auto,
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
                { "type": ["string", "boolean"], "enum": ["auto", "off", false] },
                { "type": "object", "required": ["cert", "key"] },
            ],
            "additionalProperties": false,
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
            Value::String(text) if text == "auto" => Ok(TlsChoice::Auto),
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
            other => expected("auto, off or {cert: FILE, key: FILE}", other),
        }
    }
}
