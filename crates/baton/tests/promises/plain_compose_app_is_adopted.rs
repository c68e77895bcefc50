//! The first deploy of an app that plain Compose already runs: its container is adopted as `r0`,
//! serves through Baton until the switch, and can be gone back to.

use std::time::Duration;

use testapp::load::{Load, Plan};

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

fn compose_up(app: &App) {
    let ran = try_compose_up(app);
    assert_eq!(ran.code, 0, "{ran}");
}

fn try_compose_up(app: &App) -> Ran {
    let output = std::process::Command::new("docker")
        .args(["compose", "up", "-d"])
        .current_dir(app.folder())
        .output()
        .unwrap();
    Ran::from(output)
}

#[test]
fn running_compose_app_is_adopted_and_can_be_gone_back_to() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "adopt");
    // Long enough for a rollback while `r0` is warm.
    app.policy("keep_warm", "60s").version("plain");
    compose_up(&app);
    let plain = crate::kit::app::docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=com.docker.compose.project={}", app.name()),
    ]);
    assert!(!plain.is_empty());
    app.version("v1").variable("HEALTH_DELAY_MS", "3000");

    // Through Baton from the moment on that the container is adopted: wait for that, then put load on
    // it while the new release still boots.
    let deploy = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    wait_for("the plain container to be adopted", PATIENCE, || {
        (machine.app_status(&app)["colors"]["blue"]["release"] == "r0").then_some(())
    });
    let load = Load::start(Plan {
        pause: Duration::from_millis(5),
        ..Plan::small(machine.http, "app.test")
    });
    let deploy = Ran::from(deploy.wait_with_output().unwrap());
    assert_eq!(deploy.code, 0, "{deploy}\n{}", machine.log());
    assert_eq!(machine.answering_release(&app), "r1");
    std::thread::sleep(Duration::from_millis(500));

    // Back to r0: still warm, so nothing boots.
    wait_for("r0 to be warm", PATIENCE, || {
        (machine.role(&app, "blue") == "warm").then_some(())
    });
    let back = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(back.code, 0, "{back}");
    let (_, _, body) = machine.get("app.test", "/");
    assert!(body.contains("\"version\":\"plain\""), "{body}");
    let now = crate::kit::app::docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=com.docker.compose.project={}", app.name()),
    ]);
    assert_eq!(now, plain, "the very same container serves again");

    let report = load.stop();
    println!(
        "first deploy and rollback: {} requests, {} failed",
        report.requests(),
        report.failed
    );
    assert_eq!(report.failed, 0, "{report:#?}");
    assert!(
        report.by_release.contains_key("none") && report.by_release.contains_key("r1"),
        "{report:#?}"
    );
}

#[test]
fn retired_r0_can_be_gone_back_to() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "adoptcold");
    app.version("plain");
    compose_up(&app);
    app.version("v1");
    let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}");
    let running = crate::kit::app::docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("label=com.docker.compose.project={}", app.name()),
    ]);
    assert_eq!(running, "", "the adopted container is retired");
    let load = Load::start(Plan::small(machine.http, "app.test"));
    let back = machine.baton(&app, &["rollback", "r0", "--json"]);
    assert_eq!(back.code, 0, "{back}\n{}", machine.log());
    let (_, _, body) = machine.get("app.test", "/");
    assert!(
        body.contains("\"version\":\"plain\""),
        "configuration and environment as they were: {body}"
    );
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
}

fn warnings(machine: &Machine, app: &App) -> String {
    machine.app_status(app)["warnings"].to_string()
}

/// Someone runs the old command again: its container gets no traffic, but it answers to the same name
/// and holds memory, and a person should know.
#[test]
fn container_that_compose_made_again_is_warned_of() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "adoptagain");
    app.version("plain");
    compose_up(&app);
    app.version("v1");
    let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(warnings(&machine, &app), "[]");
    compose_up(&app);
    let advice = format!("docker compose -p {} stop api", app.name());
    wait_for("the warning", PATIENCE, || {
        warnings(&machine, &app).contains(&advice).then_some(())
    });
    assert_eq!(machine.answering_release(&app), "r1");
    let stop = std::process::Command::new("docker")
        .args(["compose", "-p", app.name(), "stop", "api"])
        .current_dir(app.folder())
        .output()
        .unwrap();
    assert!(stop.status.success(), "{stop:?}");
    wait_for("the warning to go", PATIENCE, || {
        (warnings(&machine, &app) == "[]").then_some(())
    });
}

/// While `r0` itself is live: Compose takes its container away, and Baton starts it again as it was.
#[test]
fn r0_that_compose_replaces_serves_on_as_it_was() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "adoptlost");
    app.policy("keep_warm", "60s").version("plain");
    compose_up(&app);
    app.version("v1");
    machine.deploy(&app, &[]);
    wait_for("r0 to be warm", PATIENCE, || {
        (machine.role(&app, "blue") == "warm").then_some(())
    });
    let back = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(back.code, 0, "{back}");
    let load = Load::start(Plan::small(machine.http, "app.test"));
    // Compose stops it before it removes it; where Baton was faster in starting it again, it refuses to
    // remove what runs. Baton waits longer each time.
    wait_for("Compose to replace the container", PATIENCE, || {
        (try_compose_up(&app).code == 0).then_some(())
    });
    wait_for("r0 to be started by Baton", PATIENCE, || {
        let filter = format!("label=baton.app={}", app.name());
        let blue = crate::kit::app::docker(&[
            "ps",
            "-q",
            "--filter",
            &filter,
            "--filter",
            "label=baton.color=blue",
        ]);
        (!blue.is_empty()).then_some(())
    });
    let (_, _, body) = machine.get("app.test", "/");
    assert!(body.contains("\"version\":\"plain\""), "{body}");
    wait_for("the warning", PATIENCE, || {
        warnings(&machine, &app)
            .contains("beside Baton")
            .then_some(())
    });
    let report = load.stop();
    println!(
        "r0 replaced: {} requests, {} failed, slowest {} ms",
        report.requests(),
        report.failed,
        report.longest_ms
    );
    assert_eq!(report.failed, 0, "{report:#?}");
}
