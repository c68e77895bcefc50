//! kill -9 of the live instance: it comes back by itself, and requests meanwhile are held, not failed.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testapp::load::{Load, Plan};

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

fn killed(engine: Engine, kill: impl Fn(&Value, &App)) {
    let machine = Machine::start();
    let app = App::new(engine, "killed");
    machine.deploy(&app, &[]);
    let load = Load::start(Plan {
        pause: Duration::from_millis(10),
        ..Plan::small(machine.http, "app.test")
    });
    for round in 1..=5 {
        let (_, _, body) = machine.get("app.test", "/");
        let before: Value = serde_json::from_str(&body).unwrap();
        kill(&before, &app);
        wait_for("another life of the instance", PATIENCE, || {
            let (status, _, body) = machine.get("app.test", "/");
            let now: Value = serde_json::from_str(&body).ok()?;
            let restarts =
                machine.app_status(&app)["colors"]["blue"]["instances"][0]["restarts"].as_u64();
            (status == 200 && now["release"] == "r1" && restarts >= Some(round)).then_some(())
        });
    }
    let report = load.stop();
    println!(
        "{engine:?}: 5 kills, {} requests, {} failed, slowest {} ms",
        report.requests(),
        report.failed,
        report.longest_ms
    );
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_eq!(report.closed_connections, 0, "{report:#?}");
}

#[test]
fn killed_process_comes_back_and_requests_are_held() {
    killed(Engine::Process, |who, _| {
        let pid = who["pid"].as_u64().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args(["-9", &pid])
                .status()
                .unwrap()
                .success()
        );
    });
}

#[test]
fn killed_container_comes_back_and_requests_are_held() {
    killed(Engine::Docker, |_, app| {
        let filter = format!("label=baton.app={}", app.name());
        let id = crate::kit::app::docker(&["ps", "-q", "--filter", &filter]);
        assert!(!id.is_empty(), "no container of {}", app.name());
        crate::kit::app::docker(&["kill", "-s", "KILL", &id]);
    });
}
