//! The lock, Ctrl-C and `baton cancel`.

use std::process::{Child, Command};
use std::time::Duration;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

/// A machine with r1 live, and an app whose next release takes its time.
fn slow_second_release(name: &str) -> (Machine, App) {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, name);
    machine.deploy(&app, &[]);
    app.version("v2").variable("HEALTH_DELAY_MS", "4000");
    (machine, app)
}

/// Starts `baton deploy` and returns when it waits for the new release's health.
fn deploying(machine: &Machine, app: &App) -> Child {
    let child = machine
        .app_command(app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    wait_for("the deploy to wait for health", PATIENCE, || {
        (machine.app_status(app)["deploy"]["step"] == "await_healthy").then_some(())
    });
    child
}

fn ended(child: Child) -> Ran {
    Ran::from(child.wait_with_output().unwrap())
}

#[test]
fn second_deploy_gets_5() {
    let (machine, app) = slow_second_release("lock");
    let first = deploying(&machine, &app);
    let second = machine.baton(&app, &["deploy", "--force", "--json"]);
    assert_eq!(second.code, 5, "{second}");
    assert!(second.message().contains("cancel"), "{second}");
    let first = ended(first);
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(machine.answering_release(&app), "r2");
}

#[test]
fn second_deploy_waits_for_the_lock() {
    let (machine, mut app) = slow_second_release("waitlock");
    let first = deploying(&machine, &app);
    app.version("v3").without_variable("HEALTH_DELAY_MS");
    let second = machine.baton(&app, &["deploy", "--json", "--wait-lock", "60s"]);
    assert_eq!(second.code, 0, "{second}");
    let first = ended(first);
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(machine.answering_release(&app), "r3");
}

#[test]
fn of_two_that_wait_the_newer_stays() {
    let (machine, mut app) = slow_second_release("newer");
    let first = deploying(&machine, &app);
    app.version("v3").without_variable("HEALTH_DELAY_MS");
    let older = machine
        .app_command(&app, &["deploy", "--json", "--wait-lock", "60s"])
        .spawn()
        .unwrap();
    // It waits once it says so on its first lines; the newer one must come after it.
    std::thread::sleep(Duration::from_millis(1_000));
    app.version("v4");
    let newer = machine.baton(&app, &["deploy", "--json", "--wait-lock", "60s"]);
    let (first, older) = (ended(first), ended(older));
    assert_eq!(first.code, 0, "{first}");
    assert_eq!(older.code, 5, "{older}");
    assert_eq!(newer.code, 0, "{newer}");
    let (_, _, body) = machine.get("app.test", "/");
    assert!(body.contains("\"version\":\"v4\""), "{body}");
}

#[test]
fn ctrl_c_neither_kills_nor_orphans_the_deploy() {
    let (machine, app) = slow_second_release("ctrlc");
    let first = deploying(&machine, &app);
    assert!(
        Command::new("kill")
            .args(["-INT", &first.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let first = ended(first);
    assert_eq!(first.code, 130, "{first}");
    wait_for("the deploy to go on in the daemon", PATIENCE, || {
        (machine.answering_release(&app) == "r2").then_some(())
    });
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, "blue") == "empty").then_some(())
    });
    assert_eq!(machine.app_status(&app)["deploy"], serde_json::Value::Null);
}

#[test]
fn cancel_takes_the_deploy_back() {
    let (machine, app) = slow_second_release("cancel");
    let first = deploying(&machine, &app);
    let cancel = machine.baton(&app, &["cancel", "--json"]);
    assert_eq!(cancel.code, 0, "{cancel}");
    let first = ended(first);
    assert_ne!(first.code, 0, "{first}");
    assert!(first.message().contains("cancel"), "{first}");
    assert_eq!(machine.answering_release(&app), "r1");
    assert_eq!(machine.role(&app, "green"), "empty");
}
