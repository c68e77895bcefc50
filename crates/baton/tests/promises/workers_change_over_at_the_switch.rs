//! A worker takes no traffic: the old one is stopped before the new one starts, after the switch. A
//! worker that may overlap starts before.

use serde_json::Value;

use crate::kit::machine::{PATIENCE, baton};
use crate::kit::{App, Engine, Machine, wait_for};

/// `api` and a worker, which prints `tick rN K`.
fn write(app: &mut App, worker: &str, version: &str) {
    app.version(version);
    let text = app.compose();
    let (run, port) = match app.engine() {
        Engine::Docker => (
            format!("image: {}\n    command: [worker]", crate::kit::app::image()),
            "",
        ),
        Engine::Process => (
            format!("command: [{:?}, __testapp, worker]", baton()),
            "      engine: process\n",
        ),
    };
    let part = format!(
        "  jobs:\n    {run}\n    environment: {{ VERSION: {version} }}\n    x-baton:\n{port}      worker: {worker}\n"
    );
    app.write_file("compose.yaml", &format!("{text}{part}"));
}

/// Lines that the worker of a color wrote.
fn ticks(machine: &Machine, app: &App, color: &str) -> Vec<String> {
    let ran = machine.baton(app, &["logs", "--json", "--color", color, "--tail", "1000"]);
    ran.lines()
        .iter()
        .filter(|line| line["service"] == "jobs")
        .filter_map(|line| line["text"].as_str().map(ToOwned::to_owned))
        .filter(|text| text.starts_with("tick"))
        .collect()
}

fn workers(machine: &Machine, app: &App, color: &str) -> usize {
    let status = machine.app_status(app);
    let instances = status["colors"][color]["instances"].as_array().cloned();
    instances
        .unwrap_or_default()
        .iter()
        .filter(|instance: &&Value| instance["service"] == "jobs")
        .count()
}

fn change_over(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "worker");
    // The old color stays, so that its worker would be seen.
    app.policy("keep_warm", "60s");
    write(&mut app, "true", "v1");
    machine.deploy(&app, &[]);
    wait_for("the worker to tick", PATIENCE, || {
        ticks(&machine, &app, "blue")
            .last()
            .filter(|line| line.starts_with("tick r1 "))
            .map(drop)
    });
    write(&mut app, "true", "v2");
    machine.deploy(&app, &[]);
    assert_eq!(
        workers(&machine, &app, "blue"),
        0,
        "the old worker has been stopped"
    );
    wait_for("the new worker to tick", PATIENCE, || {
        ticks(&machine, &app, "green")
            .last()
            .filter(|line| line.starts_with("tick r2 "))
            .map(drop)
    });
    // And back: the other way round.
    let back = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(workers(&machine, &app, "green"), 0);
    wait_for("the old worker to tick again", PATIENCE, || {
        (workers(&machine, &app, "blue") == 1
            && ticks(&machine, &app, "blue")
                .last()
                .is_some_and(|line| line.starts_with("tick r1 ")))
        .then_some(())
    });
}

#[test]
fn process_workers_change_over() {
    change_over(Engine::Process);
}

#[test]
fn container_workers_change_over() {
    change_over(Engine::Docker);
}
