//! A release that ends right after the switch, and again each time it is started, is taken back while
//! it is watched, whatever the moment of its first end.

use crate::kit::machine::PATIENCE;
use crate::kit::machine::get;
use crate::kit::{App, Engine, Machine, wait_for};

fn taken_back(engine: Engine, after_ms: u64) {
    let case = format!("{engine:?}, {after_ms} ms after its first user");
    let machine = Machine::start();
    let mut app = App::new(engine, "crashes");
    // Between the switch and the watch there is time to end, and to be started again.
    app.policy("watch", "8s")
        .policy("hooks", "{ after_switch: [\"sleep 1\"] }");
    machine.deploy(&app, &[]);
    let live = machine.get(app.host(), "/").2;
    app.version("v2")
        .variable("CRASH_AFTER_SERVED_MS", &after_ms.to_string());
    let deploy = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    // Its first user comes with the switch.
    wait_for("the switch", PATIENCE, || {
        let answer = get(machine.http, app.host(), "/");
        let switched = answer.is_ok_and(|(_, _, body)| body.contains("\"version\":\"v2\""));
        switched.then_some(())
    });
    let ended = crate::kit::Ran::from(deploy.wait_with_output().unwrap());
    assert_eq!(ended.code, 4, "{case}: {ended}\n{}", machine.log());
    assert_eq!(machine.get(app.host(), "/").2, live, "{case}");
    assert_eq!(machine.answering_release(&app), "r1", "{case}");
}

#[test]
fn process_that_crashes_at_once_is_taken_back() {
    taken_back(Engine::Process, 0);
    taken_back(Engine::Process, 80);
}

#[test]
fn container_that_crashes_at_once_is_taken_back() {
    taken_back(Engine::Docker, 80);
}
