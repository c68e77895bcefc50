//! The same for rolling and canary deploys: what has been exchanged or moved over comes back whole.

use super::{deploys_killed, kills, planned, settled};
use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

/// With every step that a deploy of this strategy can have.
fn app(engine: Engine, strategy: &str) -> App {
    let mut app = App::new(engine, strategy);
    app.policy("strategy", strategy);
    app.policy("drain", "{ until: { http: /healthz } }");
    app.policy("watch", "300ms");
    app
}

fn killed(app: App, long_step: &str) {
    let machine = Machine::start();
    let mut app = app;
    machine.deploy(&app, &[]);
    app.version("second");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    let steps = planned(&ran);
    wait_for("the first old color to end", PATIENCE, || {
        settled(&machine, &app)
    });
    let kills = kills(&steps, &[long_step, "switch"], &[long_step, "watch"]);
    assert!(steps.iter().any(|step| step == long_step), "{steps:?}");
    deploys_killed(machine, app, &steps, &kills);
}

/// Two instances, so that one of each release serves for a while.
fn killed_while_rolling(engine: Engine) {
    let mut app = app(engine, "rolling");
    app.service("deploy", "{ replicas: 2 }");
    app.variable("BOOT_MS", "300");
    killed(app, "roll");
}

fn killed_with_a_canary(engine: Engine) {
    let mut app = app(engine, "canary");
    app.policy(
        "canary",
        "{ steps: [25, 50, 100], hold: 300ms, min_requests: 0 }",
    );
    killed(app, "canary");
}

#[test]
fn daemon_killed_at_every_step_of_rolling_with_processes() {
    killed_while_rolling(Engine::Process);
}

#[test]
fn daemon_killed_at_every_step_of_a_canary_with_processes() {
    killed_with_a_canary(Engine::Process);
}

#[test]
#[ignore = "of scripts/soak: minutes of containers, the steps are those of processes"]
fn daemon_killed_at_every_step_of_rolling_with_containers() {
    killed_while_rolling(Engine::Docker);
}

#[test]
#[ignore = "of scripts/soak: minutes of containers, the steps are those of processes"]
fn daemon_killed_at_every_step_of_a_canary_with_containers() {
    killed_with_a_canary(Engine::Docker);
}
