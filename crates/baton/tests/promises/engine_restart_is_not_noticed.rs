//! The Docker Engine is stopped and started again: the proxy goes on serving. With live-restore the
//! containers run on; without it they stop, and requests are held until they are back.

use std::time::Duration;

use testapp::load::{Load, Plan};

use crate::kit::machine::PATIENCE;
use crate::kit::private_engine::PrivateEngine;
use crate::kit::{App, Engine, Machine, wait_for};

fn restarted(live_restore: bool) {
    let mut engine = PrivateEngine::start(live_restore);
    engine.load(crate::kit::app::image());
    let host = engine.host();
    let machine = Machine::start_with(&[], &[("DOCKER_HOST", &host)]);
    let mut app = App::new(Engine::Docker, "restart");
    app.command_environment("DOCKER_HOST", &host);
    app.policy("max_wait", "60s");
    machine.deploy(&app, &[]);
    let load = Load::start(Plan {
        pause: Duration::from_millis(20),
        ..Plan::small(machine.http, "app.test")
    });
    for _ in 0..2 {
        let before = load.report().succeeded;
        engine.down();
        if live_restore {
            wait_for("answers without an engine", PATIENCE, || {
                (load.report().succeeded > before + 100).then_some(())
            });
        }
        engine.up();
        let after = load.report().succeeded;
        wait_for("answers after the restart", PATIENCE, || {
            (load.report().succeeded > after + 100).then_some(())
        });
    }
    // The engine that came back is followed as before: a deploy works.
    app.version("v2");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(machine.answering_release(&app), "r2");
    let report = load.stop();
    println!(
        "live-restore {live_restore}: 2 restarts, {} requests, {} failed, slowest {} ms",
        report.requests(),
        report.failed,
        report.longest_ms
    );
    assert_eq!(report.failed, 0, "{report:#?}");
}

#[test]
fn engine_restart_with_live_restore_is_not_noticed() {
    restarted(true);
}

#[test]
fn engine_restart_without_live_restore_holds_requests() {
    restarted(false);
}
