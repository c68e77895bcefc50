//! `activate`: a job that must never run in two colors at once does not, over deploys and rollbacks.

use testapp::ticks::verify_ticks;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, deploys, wait_for};

fn jobs(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "jobs");
    let (here, there) = app.share();
    let file = here.join("ticks");
    app.policy("activate", "{ path: /internal/active, wait: 10s }")
        .policy("keep_warm", "10m")
        .variable("TICK_FILE", &format!("{there}/ticks"))
        .variable("TICK_RUN_MS", "40");
    let ticks_of = |release: &str| {
        wait_for(&format!("{release} to tick"), PATIENCE, || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let last = text.lines().last()?.split(' ').nth(1)?.to_owned();
            (last == release).then_some(())
        });
    };
    machine.deploy(&app, &[]);
    ticks_of("r1");
    let rounds = deploys(3) + 1;
    for round in 2..=rounds {
        app.version(&format!("v{round}"));
        machine.deploy(&app, &[]);
        ticks_of(&format!("r{round}"));
    }
    let back = machine.baton(&app, &["rollback", "--json"]);
    assert_eq!(back.code, 0, "{back}");
    ticks_of(&format!("r{}", rounds - 1));
    let ticks = verify_ticks(&file).unwrap_or_else(|error| panic!("{error:?}"));
    println!("{engine:?}: {ticks:?}");
    assert_eq!(ticks.turns.len() as u64, rounds + 1, "{ticks:?}");
}

#[test]
fn jobs_of_containers_run_in_one_color() {
    jobs(Engine::Docker);
}

#[test]
fn jobs_of_processes_run_in_one_color() {
    jobs(Engine::Process);
}
