//! Rollbacks: warm without a boot, to any release as it was, and without the user's files.

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

fn rollback(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "back");
    app.policy("keep_warm", "60s");
    machine.deploy(&app, &[]);
    app.version("v2");
    machine.deploy(&app, &[]);
    wait_for("r1 to be warm", PATIENCE, || {
        (machine.role(&app, "blue") == "warm").then_some(())
    });
    let pid = |machine: &Machine| {
        machine.app_status(&app)["colors"]["blue"]["instances"][0]["id"].clone()
    };
    let before = pid(&machine);

    let warm = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(warm.code, 0, "{warm}");
    assert_eq!(machine.answering_release(&app), "r1");
    assert_eq!(pid(&machine), before, "nothing was booted");

    // A third release ends the warm one; then back to r2 from what was stored, the file long changed.
    app.policy("keep_warm", "0s").version("v3");
    machine.deploy(&app, &["--wait", "drained"]);
    app.write_file("compose.yaml", "this is no compose file any more");
    let boot = machine.run(
        std::path::Path::new("/"),
        &["rollback", "r2", "--app", app.name(), "--json"],
    );
    assert_eq!(boot.code, 0, "{boot}\n{}", machine.log());
    let (_, _, body) = machine.get("app.test", "/");
    assert!(body.contains("\"version\":\"v2\""), "{body}");
    assert!(body.contains("\"release\":\"r2\""), "{body}");

    let unknown = machine.run(
        std::path::Path::new("/"),
        &["rollback", "r99", "--app", app.name(), "--json"],
    );
    assert_eq!(unknown.code, 2, "{unknown}");
}

#[test]
fn processes_roll_back() {
    rollback(Engine::Process);
}

#[test]
fn containers_roll_back() {
    rollback(Engine::Docker);
}

#[test]
fn same_release_again_is_nothing_to_do() {
    let machine = Machine::start();
    let app = App::new(Engine::Process, "same");
    machine.deploy(&app, &[]);
    let again = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.message().contains("nothing to do"), "{again}");
    assert!(
        again.result()["receipt"].is_null(),
        "no release came of it: {again}"
    );
    assert_eq!(machine.live(&app), "blue");
    machine.deploy(&app, &["--force"]);
    assert_eq!(machine.live(&app), "green");
}
