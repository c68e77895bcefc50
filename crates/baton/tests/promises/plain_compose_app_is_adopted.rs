//! The first deploy of an app that plain Compose already runs: its container is adopted as `r0`,
//! serves through Baton until the switch, and can be gone back to.

use std::time::Duration;

use testapp::load::{Load, Plan};

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

fn compose_up(app: &App) {
    let output = std::process::Command::new("docker")
        .args(["compose", "up", "-d"])
        .current_dir(app.folder())
        .output()
        .unwrap();
    let ran = Ran::from(output);
    assert_eq!(ran.code, 0, "{ran}");
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
