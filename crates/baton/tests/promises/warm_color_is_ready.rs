//! `keep_warm`: a rollback within its time boots nothing. A stage or another deploy ends it early.

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

fn instance(machine: &Machine, app: &App, color: &str) -> String {
    machine.app_status(app)["colors"][color]["instances"][0]["id"].to_string()
}

fn until_warm(machine: &Machine, app: &App, color: &str) {
    wait_for("the old color to be warm", PATIENCE, || {
        (machine.role(app, color) == "warm").then_some(())
    });
}

fn ends_early(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "warm");
    app.policy("keep_warm", "10m").policy(
        "preview",
        "{ hosts: [test.app.test], environment: { DB_URL: test } }",
    );
    machine.deploy(&app, &[]);
    app.version("v2");
    machine.deploy(&app, &[]);
    until_warm(&machine, &app, "blue");
    let before = instance(&machine, &app, "blue");
    let back = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(back.code, 0, "{back}");
    assert!(!back.stdout.contains("\"await_boot\"") && instance(&machine, &app, "blue") == before);
    assert_eq!(machine.answering_release(&app), "r1");

    // A deploy needs the place of the warm one.
    until_warm(&machine, &app, "green");
    app.version("v3");
    machine.deploy(&app, &[]);
    assert_eq!(machine.live(&app), "green");
    assert_eq!(machine.answering_release(&app), "r3");

    // So does a stage.
    until_warm(&machine, &app, "blue");
    app.version("v4");
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}\n{}", machine.log());
    assert_eq!(machine.role(&app, "blue"), "preview");
    let (status, _, body) = machine.get("test.app.test", "/");
    assert!(
        status == 200 && body.contains("\"version\":\"v4\""),
        "{status} {body}"
    );
    assert_eq!(machine.answering_release(&app), "r3");
}

#[test]
fn warm_containers_end_for_a_stage_and_a_deploy() {
    ends_early(Engine::Docker);
}

#[test]
fn warm_processes_end_for_a_stage_and_a_deploy() {
    ends_early(Engine::Process);
}
