//! An app of engine process is read without Docker: interpolation, files, colors and commands.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use baton_compose::rendering::RELEASE_PLACEHOLDER;
use baton_compose::{Color, EngineKind, Rendering, Role};
use support::{Folder, process_model};

const FILE: &str = r#"
name: ${NAME:-shop}
version: "3.9"
x-shared: &shared { LEVEL: info }
services:
  api:
    command: ./bin/server --greeting "hello world" --price $$5 --color=${BATON_COLOR}
    environment:
      <<: *shared
      STREAM: orders-${BATON_COLOR}
      RELEASE: ${BATON_RELEASE}
      SECRET:
      NOT_SET:
      LEVEL: ${LEVEL:-debug}
      NUMBER: 5
    env_file: [common.env, { path: local.env, required: false }]
    working_dir: app
    user: "1000:1000"
    stop_signal: SIGINT
    stop_grace_period: 1m30s
    deploy: { replicas: "${REPLICAS:-2}" }
    x-baton:
      engine: process
      hosts: [api.example.com]
      health: { path: /healthz, startup_timeout: 10s }
      colors: { green: { environment: { ONLY: "green-${SECRET}" } } }
  worker:
    command: [worker, "$$x", 7]
    environment: [A=1, "B=x=y", SECRET]
    x-baton: { engine: process, worker: true, health: { startup_timeout: 2m } }
"#;

fn folder() -> Folder {
    let mut folder = Folder::new(&[
        ("compose.yaml", FILE),
        (
            "common.env",
            "LEVEL=file\nFROM_FILE='a b'\nWITH=${SECRET}\n",
        ),
        (".env", "SECRET=from-dotenv\nREPLICAS=3\n"),
    ]);
    // Docker must not be asked for anything.
    folder.options.environment = BTreeMap::from([
        ("PATH".to_owned(), "/nowhere".to_owned()),
        ("HOME".to_owned(), "/root".to_owned()),
        ("UNRELATED".to_owned(), "stays here".to_owned()),
    ]);
    folder
}

#[test]
fn both_colors_have_their_command_and_environment() {
    let folder = folder();
    let project = folder.read().unwrap();
    assert_eq!(project.engine, EngineKind::Process);
    assert_eq!(project.app.as_str(), "shop");
    let green = process_model(&project, Color::Green);
    let api = &green.services[0];
    let program = folder.path().join("app/bin/server");
    assert_eq!(
        api.command,
        [
            program.to_str().unwrap(),
            "--greeting",
            "hello world",
            "--price",
            "$5",
            "--color=green"
        ]
    );
    let expected = [
        ("BATON_APP", "shop"),
        ("BATON_COLOR", "green"),
        ("BATON_RELEASE", RELEASE_PLACEHOLDER),
        ("BATON_ROLE", "live"),
        ("FROM_FILE", "a b"),
        ("HOME", "/root"),
        ("LEVEL", "debug"),
        ("NUMBER", "5"),
        ("ONLY", "green-from-dotenv"),
        ("PATH", "/nowhere"),
        ("RELEASE", RELEASE_PLACEHOLDER),
        ("SECRET", "from-dotenv"),
        ("STREAM", "orders-green"),
        ("WITH", "from-dotenv"),
    ];
    let found: Vec<(&str, &str)> = api
        .environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(api.working_dir, folder.path().join("app"));
    assert_eq!(api.user.as_deref(), Some("1000:1000"));
    assert_eq!(api.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(api.stop_grace_period, Duration::from_secs(90));
    assert_eq!((api.replicas, api.listens, api.port), (3, true, None));

    let blue = process_model(&project, Color::Blue);
    assert_eq!(blue.services[0].environment.get("ONLY"), None);
    let worker = &blue.services[1];
    assert_eq!(worker.command, ["worker", "$x", "7"]);
    assert_eq!(worker.environment["B"], "x=y");
    assert!(!worker.listens);
    assert_eq!(worker.stop_grace_period, Duration::from_secs(10));
    assert_eq!(worker.working_dir, folder.path());
}

#[test]
fn a_startup_timeout_alone_keeps_the_default_check() {
    let project = folder().read().unwrap();
    let worker = &project.services[1].policy;
    assert_eq!(
        (worker.health.as_ref(), worker.startup_timeout),
        (None, Duration::from_secs(120))
    );
    let api = &project.services[0].policy;
    assert_eq!(api.health.as_ref().unwrap().path, "/healthz");
    assert_eq!(api.startup_timeout, Duration::from_secs(10));
    assert_eq!(api.port, None);
}

#[test]
fn a_rendering_is_filled_in_and_masked() {
    let project = folder().read().unwrap();
    let (_, _, green) = project
        .renderings
        .iter()
        .find(|(color, role, _)| (*color, *role) == (Color::Green, Role::Live))
        .unwrap();
    let Rendering::Process(filled) = green.with_release(12) else {
        panic!("a process rendering")
    };
    assert_eq!(filled.services[0].environment["RELEASE"], "r12");
    assert_eq!(filled.services[0].environment["BATON_RELEASE"], "r12");
    let masked = serde_json::to_string(&green.masked()).unwrap();
    assert!(!masked.contains("from-dotenv"), "{masked}");
    assert!(!format!("{project:?}").contains("\"from-dotenv\""));
}

#[test]
fn what_is_not_set_is_told() {
    let folder = Folder::new(&[(
        "compose.yaml",
        "version: '3'\nservices: { api: { command: 'x ${GONE}', x-baton: { engine: process, hosts: ['*'], port: 8080 } } }",
    )]);
    let project = folder.read().unwrap();
    let told: Vec<String> = project
        .notices
        .iter()
        .map(|notice| format!("{}: {}", notice.key, notice.text))
        .collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    version: ignored: Compose has given it up
    : the variable GONE is not set; a blank string is used
    services.api.x-baton.port: both colors run at once for a moment: an app with a fixed port must be able to share it; without `port` it gets a free one as $PORT
    ");
}

#[test]
fn later_files_win() {
    let folder = Folder::new(&[
        (
            "compose.yaml",
            "services: { api: { command: [a, b], environment: { A: 1, B: 1 }, x-baton: { engine: process, hosts: [a.test] } } }",
        ),
        (
            "compose.override.yaml",
            "name: over\nservices: { api: { command: [c], environment: { B: 2 }, x-baton: { keep_warm: 0s } } }",
        ),
    ]);
    let project = folder.read().unwrap();
    let api = &process_model(&project, Color::Blue).services[0];
    assert_eq!(project.app.as_str(), "over");
    assert_eq!(api.command, ["c"]);
    assert_eq!(
        (api.environment["A"].as_str(), api.environment["B"].as_str()),
        ("1", "2")
    );
    assert_eq!(project.services[0].policy.keep_warm, Duration::ZERO);
    assert_eq!(project.services[0].policy.hosts, ["a.test"]);
}
