//! Strategy, canary, migration, activation, hooks and who may come in become a policy.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_compose::policy::{
    Activate, Canary, Gate, HookCommand, Hooks, Migrate, Network, Overlap, Strategy, Tls,
};
use baton_compose::{Policy, Project};
use support::Folder;

/// bcrypt of `pw`.
const HASH: &str = "$2y$05$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

fn app(services: &str) -> Project {
    let text = format!("name: shop\nservices:\n{services}");
    Folder::new(&[("compose.yaml", &text)]).read().unwrap()
}

fn service(name: &str, x_baton: &str) -> String {
    format!("  {name}:\n    command: ./server\n    x-baton: {{ engine: process, {x_baton} }}\n")
}

fn policy(x_baton: &str) -> Policy {
    let project = app(&service("api", &format!("hosts: [a.test], {x_baton}")));
    project.services.into_iter().next().unwrap().policy
}

#[test]
fn nothing_said_is_blue_green_with_thirty_seconds_of_watching() {
    let read = policy("path: /");
    assert_eq!(
        read,
        Policy {
            hosts: vec!["a.test".to_owned()],
            tls: Tls::Unsaid,
            ..Policy::default()
        }
    );
    assert_eq!(read.strategy, Strategy::BlueGreen);
    assert_eq!(read.overlap, Overlap::Required);
    assert_eq!(read.watch, Duration::from_secs(30));
}

#[test]
fn a_canary_ends_with_everyone() {
    let read = policy(
        "strategy: canary, canary: { steps: [1, \"10\"], hold: 0s, min_requests: 0, gate: manual, header: false }, watch: 0s",
    );
    assert_eq!(read.strategy, Strategy::Canary);
    assert_eq!(read.watch, Duration::ZERO);
    assert_eq!(
        read.canary,
        Canary {
            steps: vec![1, 10, 100],
            hold: Duration::ZERO,
            min_requests: 0,
            gate: Gate::Manual,
            header: false,
        }
    );
    // The command line may ask for a canary where the file does not.
    let read = policy("canary: { steps: [100] }");
    assert_eq!(read.strategy, Strategy::BlueGreen);
    assert_eq!(read.canary.steps, [100]);
    assert_eq!(read.canary.hold, Canary::default().hold);
}

#[test]
fn commands_are_split_once_and_hooks_keep_their_shell() {
    let read = policy(
        r#"migrate: { command: "./migrate --dsn 'a b' up" }, activate: { path: "/internal/active?x=1" },
           hooks: { before_start: ["./check && ./lock", [./notify, "a b", 7]], after_deploy: [echo] }"#,
    );
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    assert_eq!(
        read.migrate,
        Some(Migrate {
            command: words(&["./migrate", "--dsn", "a b", "up"]),
            timeout: Migrate::TIMEOUT,
        })
    );
    assert_eq!(
        read.activate,
        Some(Activate {
            path: "/internal/active?x=1".to_owned(),
            wait: Activate::WAIT,
        })
    );
    assert_eq!(
        read.hooks,
        Hooks {
            before_start: vec![
                HookCommand::Shell("./check && ./lock".to_owned()),
                HookCommand::Exec(words(&["./notify", "a b", "7"])),
            ],
            after_deploy: vec![HookCommand::Shell("echo".to_owned())],
            ..Hooks::default()
        }
    );
    let read = policy("migrate: { command: [./migrate, \"a b\"], timeout: 90s }");
    let migrate = read.migrate.unwrap();
    assert_eq!(migrate.command, ["./migrate", "a b"]);
    assert_eq!(migrate.timeout, Duration::from_secs(90));
}

#[test]
fn a_shield_has_users_and_networks() {
    let typed = HASH.replace('$', "$$");
    let read = policy(&format!(
        "basic_auth: {{ ops: \"{typed}\" }}, allow: [10.0.0.0/8, \"::1\", 10.0.0.0/8, \"::ffff:192.0.2.0/120\"]"
    ));
    let users = BTreeMap::from([("ops".to_owned(), HASH.to_owned())]);
    assert_eq!(read.basic_auth, users);
    let shown: Vec<String> = read.allow.iter().map(Network::to_string).collect();
    assert_eq!(shown, ["10.0.0.0/8", "::1", "192.0.2.0/24"]);
}

/// Compose writes each `$` twice, and a hash is the same whichever engine reads it.
#[test]
fn a_hash_reads_the_same_through_compose() {
    let content = format!(
        "name: shop\nservices:\n  api:\n    image: x\n    x-baton:\n      hosts: [a.test]\n      port: 80\n      basic_auth: {{ typed: \"{}\", given: \"${{HASH}}\" }}\n",
        HASH.replace('$', "$$")
    );
    let folder = Folder::new(&[("compose.yaml", &content)]).set("HASH", HASH);
    let read = folder.read().unwrap().services.remove(0).policy;
    assert_eq!(read.basic_auth["typed"], HASH);
    assert_eq!(read.basic_auth["given"], HASH);
    // Half escaped: what is left is no hash, and what to do is said.
    let folder = Folder::new(&[("compose.yaml", &content.replace("$$N9qo", "$N9qo"))]);
    let error = folder.error();
    assert!(
        error.contains("basic_auth: expected a bcrypt hash for"),
        "{error}"
    );
    assert!(error.contains("write each `$` of it as `$$`"), "{error}");
}

#[test]
fn an_app_has_one_strategy_and_the_strictest_overlap() {
    let project = app(&[
        service("api", "hosts: [a.test], watch: 10s"),
        service("jobs", "worker: true, overlap: never, strategy: rolling"),
        service("web", "hosts: [b.test], watch: 1m"),
    ]
    .concat());
    assert_eq!(project.strategy(), Strategy::Rolling);
    assert_eq!(project.overlap(), Overlap::Never);
    assert_eq!(project.watch(), Duration::from_secs(60));
    assert!(!project.has_preview());

    let silent = app(&service("jobs", "worker: true"));
    assert_eq!(silent.strategy(), Strategy::BlueGreen);
    assert_eq!(silent.overlap(), Overlap::Required);
    assert_eq!(silent.watch(), Duration::ZERO);
}
