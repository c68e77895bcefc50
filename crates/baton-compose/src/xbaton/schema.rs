//! The JSON Schema of `x-baton`, made from the raw types, and the check that walks it.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::leaf::{self, LEAF};
use super::raw::XBaton;
use crate::error::{Collector, Problem, nearest};

/// With the keywords that only Baton reads.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings
        .into_generator()
        .into_root_schema_for::<XBaton>()
        .to_value();
    without_null(&mut schema);
    schema
});

/// The JSON Schema (draft 2020-12) of the value of `x-baton`, for editors: descriptions, units and
/// defaults.
#[must_use]
pub fn schema() -> Value {
    let mut schema = SCHEMA.clone();
    without_own_keywords(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "x-baton".into());
    }
    schema
}

/// An absent key is absent, never null: takes back what `Option` wrote into the schema.
fn without_null(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|kind| kind != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                object.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(values)) = object.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
        if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
            choices.retain(|choice| choice["type"] != "null");
            if let [one] = choices.as_mut_slice()
                && let Value::Object(inner) = one.take()
            {
                object.remove("anyOf");
                for (key, value) in inner {
                    object.entry(key).or_insert(value);
                }
            }
        }
    }
    children(schema, without_null);
}

fn without_own_keywords(schema: &mut Value) {
    if let Value::Object(object) = schema {
        object.remove(LEAF);
    }
    children(schema, without_own_keywords);
}

fn children(schema: &mut Value, each: fn(&mut Value)) {
    match schema {
        Value::Object(object) => object.values_mut().for_each(each),
        Value::Array(items) => items.iter_mut().for_each(each),
        _ => {}
    }
}

/// Checks every key and value below `path`; all mistakes go into `problems`.
pub(crate) fn check(value: &Value, path: &str, problems: &mut Collector) {
    check_value(value, &SCHEMA, path, problems);
}

fn check_value(value: &Value, schema: &Value, path: &str, problems: &mut Collector) {
    let leaf = schema.get(LEAF).and_then(Value::as_str);
    let keys = schema.get("properties").and_then(Value::as_object);
    match (leaf, keys, value) {
        (leaf, Some(keys), Value::Object(typed)) => {
            let before = problems.raised();
            check_keys(typed, keys, path, problems);
            // What the keys mean together, once each of them is right.
            if let (Some(leaf), true) = (leaf, problems.raised() == before)
                && let Err(text) = leaf::check(leaf, value)
            {
                problems.add(path, text);
            }
        }
        (Some(leaf), ..) => {
            if let Err(text) = leaf::check(leaf, value) {
                problems.add(path, text);
            }
        }
        (None, Some(keys), _) => {
            let some: Vec<&str> = keys.keys().map(String::as_str).take(3).collect();
            let text = leaf::expected::<()>(
                &format!("a mapping with keys such as {}", some.join(", ")),
                value,
            );
            problems.add(path, text.err().unwrap_or_default());
        }
        (None, None, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                check_value(
                    item,
                    &schema["items"],
                    &format!("{path}[{index}]"),
                    problems,
                );
            }
        }
        (None, None, _) => {
            let items = &schema["items"];
            let what = match items["properties"].as_object() {
                Some(keys) => {
                    let some: Vec<&str> = keys.keys().map(String::as_str).take(3).collect();
                    format!("a list of mappings with keys such as {}", some.join(", "))
                }
                None => match &items["examples"][0] {
                    Value::Null => "a list such as [\"…\"]".to_owned(),
                    example => format!("a list such as [{example}]"),
                },
            };
            let text = leaf::expected::<()>(&what, value);
            problems.add(path, text.err().unwrap_or_default());
        }
    }
}

fn check_keys(
    typed: &Map<String, Value>,
    known: &Map<String, Value>,
    path: &str,
    problems: &mut Collector,
) {
    for (key, value) in typed {
        let path = format!("{path}.{key}");
        if let Some(schema) = known.get(key) {
            check_value(value, schema, &path, problems);
            continue;
        }
        let text = match nearest(key, known.keys().map(String::as_str)) {
            Some(near) => format!("unknown key; did you mean {near}?"),
            None => format!(
                "unknown key; known are {}",
                known
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        problems.push(Problem::new(path, text));
    }
}
