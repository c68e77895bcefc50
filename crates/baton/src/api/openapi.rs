//! The OpenAPI 3.1 document, made of the table of routes.

use axum::Json;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::table::{Access, Entry, Gives, Takes, entries};
use crate::wire::ErrorBody;

/// `GET /openapi.json`.
pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = SchemaGenerator::new(settings);
    let error = generator.subschema_for::<ErrorBody>();
    let mut paths = Map::new();
    for entry in entries() {
        let described = operation(&entry, &mut generator);
        let path = paths.entry(entry.path).or_insert_with(|| json!({}));
        path[entry.verb().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Baton",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The control API: on the daemon's socket, and with `--dashboard` over TCP with a token. \
                            Fields may be added in a later version, none is renamed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {
                "type": "http", "scheme": "bearer",
                "description": "`baton token create` makes one. Its scope is read, deploy or admin; each allows what the one before it does.",
            }},
            "responses": {"Error": {
                "description": "What went wrong, and the exit code of a command",
                "content": {"application/json": {"schema": error}},
            }},
        },
    })
}

fn operation(entry: &Entry, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({
        "summary": entry.summary,
        "responses": {
            "200": {"description": "Done", "content": content(entry, generator)},
            "default": {"$ref": "#/components/responses/Error"},
        },
    });
    let parameters = parameters(entry, generator);
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    match entry.takes {
        Takes::Nothing => {}
        Takes::Json(shape) => {
            described["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": shape(generator)}}});
        }
        Takes::Bytes(media_type) => {
            described["requestBody"] = json!({"required": true, "content": {media_type: {}}});
        }
    }
    match entry.access {
        Access::Open => described["security"] = json!([]),
        Access::Scope(scope) => {
            described["security"] = json!([{"token": [scope]}]);
            described["x-scope"] = json!(scope);
        }
    }
    described
}

fn content(entry: &Entry, generator: &mut SchemaGenerator) -> Value {
    match entry.gives {
        Gives::Json(shape) => json!({"application/json": {"schema": shape(generator)}}),
        // Each line is one of these.
        Gives::Lines(shape) => json!({super::stream::NDJSON: {"schema": shape(generator)}}),
        Gives::Bytes(media_type) => json!({media_type: {}}),
    }
}

/// Those of the path by their braces, those of the query by the fields of its type.
fn parameters(entry: &Entry, generator: &mut SchemaGenerator) -> Vec<Value> {
    let names = entry.path.split('/').filter_map(|part| {
        let part = part.strip_prefix('{')?;
        part.strip_suffix('}')
    });
    let mut parameters: Vec<Value> = names
        .map(|name| {
            let kind = if name == "id" { "integer" } else { "string" };
            json!({"name": name, "in": "path", "required": true, "schema": {"type": kind}})
        })
        .collect();
    let Some(shape) = entry.query else {
        return parameters;
    };
    let reference = shape(generator).to_value();
    let name = reference["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next());
    let query = name
        .and_then(|name| generator.definitions().get(name))
        .cloned();
    let query = query.unwrap_or(reference);
    let required = query["required"].as_array().cloned().unwrap_or_default();
    for (name, schema) in query["properties"].as_object().into_iter().flatten() {
        let wanted = required.iter().any(|required| required == name);
        parameters.push(json!({"name": name, "in": "query", "required": wanted, "schema": schema}));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_with_its_scope_and_every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for entry in entries() {
            let operation = &document["paths"][entry.path][entry.verb().to_ascii_lowercase()];
            assert_eq!(operation["summary"], entry.summary, "{}", entry.path);
            if let Access::Scope(scope) = entry.access {
                assert_eq!(operation["x-scope"], scope.as_str(), "{}", entry.path);
            }
        }
        for part in text.split("\"$ref\":\"#/components/").skip(1) {
            let (path, _) = part.split_once('"').unwrap();
            let pointer = format!("/components/{path}");
            assert!(document.pointer(&pointer).is_some(), "{pointer}");
        }
        let deploy = &document["paths"]["/v1/deploys"]["post"];
        assert!(deploy["requestBody"]["content"]["application/json"]["schema"]["$ref"].is_string());
        let tail = &document["paths"]["/v1/events"]["get"]["parameters"];
        assert!(tail.to_string().contains("\"tail\""), "{tail}");
    }
}
