//! The JSON Schema has every key that works, with its description, and none that does not.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

fn each_key(schema: &Value, path: &str, seen: &mut Vec<String>) {
    for (key, child) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        assert!(
            child["description"]
                .as_str()
                .is_some_and(|text| text.len() > 10),
            "{path} has no description"
        );
        seen.push(path.trim_start_matches('.').to_owned());
        each_key(child, &path, seen);
        each_key(&child["items"], &path, seen);
    }
}

#[test]
fn every_key_is_described() {
    let schema = baton_compose::schema();
    let mut keys = Vec::new();
    each_key(&schema, "", &mut keys);
    for key in [
        "hosts",
        "drain.requests",
        "tls.cert",
        "health.startup_timeout",
        "colors.green.environment",
        "redis.leftover",
        "drain.until.http",
        "sessions.cookie",
        "canary.steps",
        "watch",
        "migrate.command",
        "activate.path",
        "preview.environment",
        "hooks.before_switch",
        "basic_auth",
        "allow",
        "notify.slack",
        "notify.secret",
        "notify.events",
    ] {
        assert!(
            keys.iter().any(|known| known == key),
            "{key} is not in {keys:?}"
        );
    }
    insta::assert_snapshot!("schema", serde_json::to_string_pretty(&schema).unwrap());
}

#[test]
fn nothing_of_our_own_is_in_it() {
    let text = baton_compose::schema().to_string();
    assert!(!text.contains("x-leaf") && !text.contains("null"), "{text}");
}

#[test]
fn the_defaults_are_those_of_the_policy() {
    let schema = baton_compose::schema();
    let policy = baton_compose::Policy::default();
    let default = |path: &[&str]| {
        let mut at = &schema;
        for key in path {
            at = &at["properties"][*key];
        }
        at["default"]
            .as_str()
            .and_then(baton_compose::units::parse_duration)
    };
    assert_eq!(default(&["keep_warm"]), Some(policy.keep_warm));
    assert_eq!(default(&["max_wait"]), Some(policy.max_wait));
    assert_eq!(default(&["drain", "requests"]), Some(policy.drain.requests));
    assert_eq!(
        default(&["drain", "connections"]),
        Some(policy.drain.connections)
    );
    assert_eq!(
        default(&["drain", "websockets"]),
        Some(policy.drain.websockets)
    );
    assert_eq!(
        schema["properties"]["drain"]["properties"]["websocket_code"]["default"],
        policy.drain.websocket_code
    );
    assert_eq!(
        default(&["sessions", "keep"]),
        Some(baton_compose::policy::Sessions::KEEP)
    );
    assert_eq!(default(&["limits", "idle"]), Some(policy.limits.idle));
    assert_eq!(default(&["watch"]), Some(policy.watch));
    assert_eq!(default(&["canary", "hold"]), Some(policy.canary.hold));
    assert_eq!(
        default(&["migrate", "timeout"]),
        Some(baton_compose::policy::Migrate::TIMEOUT)
    );
    assert_eq!(
        default(&["activate", "wait"]),
        Some(baton_compose::policy::Activate::WAIT)
    );
    let canary = &schema["properties"]["canary"]["properties"];
    assert_eq!(canary["steps"]["default"], json!(policy.canary.steps));
    assert_eq!(
        canary["min_requests"]["default"],
        policy.canary.min_requests
    );
    assert_eq!(canary["header"]["default"], policy.canary.header);
    for (key, default) in [
        ("strategy", policy.strategy.as_str()),
        ("overlap", policy.overlap.as_str()),
    ] {
        assert_eq!(schema["properties"][key]["default"], default);
    }
    assert_eq!(
        default(&["health", "startup_timeout"]),
        Some(policy.startup_timeout)
    );
    let size = schema["properties"]["limits"]["properties"]["header_bytes"]["default"].as_str();
    assert_eq!(
        size.and_then(baton_compose::units::parse_size),
        Some(policy.limits.header_bytes)
    );
}
