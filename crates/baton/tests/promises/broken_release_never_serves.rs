//! A release that does not come up never serves: exit 3 (or 6), the old color untouched, and the
//! message says what is known.

use testapp::load::{Load, Plan};

use crate::kit::{App, Engine, Machine, Ran};

/// Deploys what `break_it` made of the app, under load; the old release must go on serving.
fn refused(engine: Engine, code: i32, break_it: impl FnOnce(&mut App)) -> Ran {
    let machine = Machine::start();
    let mut app = App::new(engine, "broken");
    machine.deploy(&app, &[]);
    let before = machine.app_status(&app);
    let load = Load::start(Plan::small(machine.http, "app.test"));
    break_it(app.version("v2"));
    let ran = machine.baton(&app, &["deploy", "--json"]);
    let report = load.stop();
    assert_eq!(ran.code, code, "{ran}\n{}", machine.log());
    assert_eq!(ran.result()["exit_code"], code, "{ran}");
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_eq!(
        report.by_release.keys().collect::<Vec<_>>(),
        ["r1"],
        "only the old release answered"
    );
    let after = machine.app_status(&app);
    assert_eq!(after["live"], before["live"]);
    assert_eq!(
        after["colors"]["blue"]["instances"][0]["id"],
        before["colors"]["blue"]["instances"][0]["id"],
        "the live instance is the very same"
    );
    assert_eq!(
        after["colors"]["green"]["role"], "empty",
        "nothing is left behind: {after}"
    );
    assert_eq!(after["deploy"], serde_json::Value::Null);
    ran
}

fn crash_at_start(engine: Engine) {
    let ran = refused(engine, 3, |app| {
        app.variable("CRASH_AT_START", "17");
    });
    let failure = &ran.result()["failure"];
    assert_eq!(failure["exit_code"], 17, "{ran}");
    assert!(
        failure["log"]
            .to_string()
            .contains("told to crash at start"),
        "{ran}"
    );
}

fn never_healthy(engine: Engine) {
    let ran = refused(engine, 3, |app| {
        app.variable("HEALTH_FAIL", "1");
        app.policy(
            "health",
            "{ path: /healthz, interval: 100ms, startup_timeout: 8s }",
        );
    });
    let probes = ran.result()["failure"]["probes"].to_string();
    assert!(
        probes.contains("503") && probes.contains("told to be ill"),
        "{ran}"
    );
}

#[test]
fn process_that_crashes_at_start_never_serves() {
    crash_at_start(Engine::Process);
}

#[test]
fn container_that_crashes_at_start_never_serves() {
    crash_at_start(Engine::Docker);
}

#[test]
fn process_that_never_gets_healthy_never_serves() {
    never_healthy(Engine::Process);
}

#[test]
fn container_that_never_gets_healthy_never_serves() {
    never_healthy(Engine::Docker);
}

#[test]
fn process_that_cannot_bind_never_serves() {
    let ran = refused(Engine::Process, 3, |app| {
        // TEST-NET-1 (RFC 5737): an address that no machine has.
        app.variable("BIND", "192.0.2.1");
    });
    assert!(
        ran.result()["failure"]["log"]
            .to_string()
            .contains("cannot bind"),
        "{ran}"
    );
}

#[test]
fn container_that_cannot_bind_never_serves() {
    let ran = refused(Engine::Docker, 3, |app| {
        app.variable("BIND", "192.0.2.1");
    });
    assert!(
        ran.result()["failure"]["log"]
            .to_string()
            .contains("cannot bind"),
        "{ran}"
    );
}

#[test]
fn image_that_nobody_knows_never_serves() {
    let ran = refused(Engine::Docker, 3, |app| {
        let text = app.compose();
        let image = text.lines().find(|line| line.contains("image:")).unwrap();
        let unknown = text.replace(
            image,
            "    image: nowhere.test/unknown:1\n    pull_policy: never",
        );
        app.write_file("compose.yaml", &unknown);
    });
    assert!(ran.message().contains("nowhere.test/unknown:1"), "{ran}");
}

#[test]
fn command_that_does_not_exist_never_serves() {
    let ran = refused(Engine::Process, 3, |app| {
        let text = app.compose();
        let command = text.lines().find(|line| line.contains("command:")).unwrap();
        app.write_file(
            "compose.yaml",
            &text.replace(command, "    command: [/no/such/server]"),
        );
    });
    assert!(ran.stdout.contains("/no/such/server"), "{ran}");
}

#[test]
fn entrypoint_that_does_not_exist_never_serves() {
    let ran = refused(Engine::Docker, 3, |app| {
        let text = app.compose();
        app.write_file(
            "compose.yaml",
            &text.replace("    command: [serve]", "    entrypoint: [/no/such/server]"),
        );
    });
    assert!(ran.stdout.contains("/no/such/server"), "{ran}");
}
