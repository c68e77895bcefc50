//! `sse`, `redis`, `sessions` and `drain` become a policy, with each color's own names.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use baton_compose::policy::{
    Drain, Leftover, PerColor, RedisUrl, Sessions, StreamMode, StreamRule, Until,
};
use baton_compose::{Policy, Project};
use support::Folder;

fn read(environment: &str, x_baton: &str) -> Project {
    let text = format!(
        "name: shop\nservices:\n  api:\n    command: ./server\n    environment: {{ {environment} }}\n    x-baton: {{ engine: process, hosts: [a.example.com], {x_baton} }}\n"
    );
    Folder::new(&[("compose.yaml", &text)]).read().unwrap()
}

fn policy(environment: &str, x_baton: &str) -> Policy {
    read(environment, x_baton).services.remove(0).policy
}

fn notices(environment: &str, x_baton: &str) -> String {
    let notices = read(environment, x_baton).notices;
    let lines: Vec<_> = notices
        .iter()
        .filter(|notice| notice.key.contains("redis"))
        .map(|notice| format!("{}: {}", notice.key, notice.text))
        .collect();
    lines.join("\n")
}

#[test]
fn nothing_said_is_reconnect_and_ten_seconds_for_websockets() {
    let policy = policy("", "port: 80");
    assert_eq!(policy.default_stream_mode, StreamMode::Reconnect);
    assert!(policy.sse.is_empty() && policy.redis.is_none() && policy.sessions.is_none());
    assert_eq!(policy.drain, Drain::default());
    assert_eq!(policy.drain.websockets, Duration::from_secs(10));
    assert_eq!(policy.drain.websocket_code, 1012);
}

#[test]
fn all_of_it_is_read() {
    let policy = policy(
        "",
        r#"sse: [{ path: "/sse/**", mode: union, drop_on_attach: [connect, init] }, { path: /t, mode: drain, attach_grace: 500ms }],
           sessions: { cookie: JSESSIONID },
           drain: { websockets: 1m, websocket_code: 4000, until: { exec: [./drained, now] } }"#,
    );
    assert_eq!(
        policy.sse,
        [
            StreamRule {
                path: "/sse/**".to_owned(),
                mode: StreamMode::Union,
                drop_on_attach: vec!["connect".to_owned(), "init".to_owned()],
                attach_grace: StreamRule::ATTACH_GRACE,
            },
            StreamRule {
                path: "/t".to_owned(),
                mode: StreamMode::Drain,
                drop_on_attach: Vec::new(),
                attach_grace: Duration::from_millis(500),
            },
        ]
    );
    let sessions = policy.sessions.unwrap();
    assert_eq!(sessions.cookie, "JSESSIONID");
    assert_eq!(sessions.keep, Sessions::KEEP);
    let exec = vec!["./drained".to_owned(), "now".to_owned()];
    assert_eq!(policy.drain.until, Some(Until::Exec(exec)));
    assert_eq!(policy.drain.websocket_code, 4000);
}

const BY_VARIABLE: &str =
    "redis: { url_env: REDIS_URL, streams: [{ key_env: KEY, group_env: GROUP }] }";

#[test]
fn streams_of_their_own_make_union_the_mode() {
    let apart = policy("KEY: \"orders-${BATON_COLOR}\", GROUP: api", BY_VARIABLE);
    assert_eq!(apart.default_stream_mode, StreamMode::Union);
    let redis = apart.redis.unwrap();
    assert_eq!(redis.url, RedisUrl::Env("REDIS_URL".to_owned()));
    assert_eq!(redis.leftover, Leftover::Move);
    assert_eq!(redis.streams[0].key, PerColor::Env("KEY".to_owned()));
    assert_eq!(
        notices("KEY: \"orders-${BATON_COLOR}\", GROUP: api", BY_VARIABLE),
        ""
    );

    let together = policy("KEY: orders, GROUP: \"api-${BATON_COLOR}\"", BY_VARIABLE);
    assert_eq!(together.default_stream_mode, StreamMode::Reconnect);
}

#[test]
fn a_written_name_may_hold_the_color() {
    let policy = policy(
        "",
        r#"redis: { url: "redis://redis", streams: [{ key: "orders-${BATON_COLOR}", group: api, noack: true }], leftover: wait, create: true }"#,
    );
    assert_eq!(policy.default_stream_mode, StreamMode::Union);
    let redis = policy.redis.unwrap();
    assert_eq!(
        redis.streams[0].key,
        PerColor::Written {
            blue: "orders-blue".to_owned(),
            green: "orders-green".to_owned()
        }
    );
    assert!(redis.create && redis.streams[0].noack);
    assert_eq!(redis.leftover, Leftover::Wait);
}

#[test]
fn what_is_shared_is_said() {
    insta::assert_snapshot!(
        [
            notices("KEY: orders, GROUP: api", BY_VARIABLE),
            notices("KEY: orders, GROUP: \"api-${BATON_COLOR}\"", BY_VARIABLE),
            notices("", BY_VARIABLE),
            notices("", r#"redis: { url: "redis://r", streams: [{ key: "o-${BATON_COLOR}", group: g, noack: true }] }"#),
        ]
        .join("\n\n")
    );
}

/// Releases of before these keys existed are still read.
#[test]
fn an_older_policy_is_still_read() {
    let mut stored = serde_json::to_value(Policy::default()).unwrap();
    for key in [
        "sse",
        "default_stream_mode",
        "redis",
        "sessions",
        "strategy",
        "canary",
        "watch",
        "overlap",
        "migrate",
        "activate",
        "preview",
        "hooks",
        "basic_auth",
        "allow",
    ] {
        stored.as_object_mut().unwrap().remove(key).unwrap();
    }
    for key in ["websockets", "websocket_code", "until"] {
        stored["drain"]
            .as_object_mut()
            .unwrap()
            .remove(key)
            .unwrap();
    }
    let read: Policy = serde_json::from_value(stored).unwrap();
    assert_eq!(read, Policy::default());
}
