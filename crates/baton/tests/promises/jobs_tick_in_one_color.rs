//! `activate`: a scheduled job ticks in the live color only. Over deploys and rollbacks it never ticks in
//! two colors at once, nor in the same 100 ms, and never rests longer than the switch takes.

use std::time::Duration;

use testapp::ticks::verify_ticks;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, long, wait_for};

/// `activate.wait`: how long the old color may take to end what it runs.
const WAIT: Duration = Duration::from_secs(2);
/// How long a tick runs: longer than a part of the switch, so that it is waited for.
const TICK: &str = "60";

/// How long the *switch* of a command took.
fn switch_of(ran: &Ran) -> Duration {
    let lines = ran.lines();
    let switch = lines
        .iter()
        .find(|line| line["event"] == "step_succeeded" && line["step"] == "switch");
    let ms = switch.and_then(|step| step["ms"].as_u64());
    Duration::from_millis(ms.unwrap_or_else(|| panic!("no switch: {ran}")))
}

fn never_in_two_colors(engine: Engine) {
    let (deploys, rollbacks) = if long() { (20, 5) } else { (4, 2) };
    let machine = Machine::start();
    let mut app = App::new(engine, "ticks");
    let (here, there) = app.share();
    let file = here.join("ticks");
    app.policy(
        "activate",
        &format!("{{ path: /internal/active, wait: {}s }}", WAIT.as_secs()),
    )
    // So that some rollbacks find the old color up, and others boot it.
    .policy("keep_warm", "60s")
    .variable("TICK_FILE", &format!("{there}/ticks"))
    .variable("TICK_RUN_MS", TICK);
    machine.deploy(&app, &[]);
    let turns = |count: usize| {
        wait_for("the job to tick in the new color", PATIENCE, || {
            let ticks = verify_ticks(&file);
            let ticks = ticks.unwrap_or_else(|error| panic!("{error}\n{}", machine.log()));
            (ticks.turns.len() == count).then_some(ticks.turns)
        })
    };
    wait_for("the job to tick", PATIENCE, || {
        verify_ticks(&file)
            .is_ok_and(|ticks| ticks.ticks > 0)
            .then_some(())
    });
    let mut commands = Vec::new();
    for number in 0..deploys {
        let every = deploys / rollbacks;
        commands.push(["deploy", "--force", "--json"].as_slice());
        if number % every == every - 1 && number / every < rollbacks {
            commands.push(["rollback", "--json"].as_slice());
        }
    }
    let mut longest_switch = Duration::ZERO;
    for (number, command) in commands.iter().enumerate() {
        let ran = machine.baton(&app, command);
        assert_eq!(ran.code, 0, "{ran}\n{}", machine.log());
        longest_switch = longest_switch.max(switch_of(&ran));
        let turns = turns(number + 2);
        if let ("rollback", [.., old, _, new]) = (command[0], turns.as_slice()) {
            assert_eq!(old, new, "it ticks where it went back to");
        }
    }
    let ticks = verify_ticks(&file).unwrap();
    assert!(
        ticks.longest_pause <= longest_switch + WAIT,
        "it rested for {:?}, the longest switch took {longest_switch:?}: {ticks:?}",
        ticks.longest_pause
    );
    // One may run just now.
    assert!(ticks.unfinished <= 1, "{ticks:?}");
    println!(
        "{engine:?}: {} ticks in {} turns; the longest rest was {:?}, the longest switch {longest_switch:?}",
        ticks.ticks,
        ticks.turns.len(),
        ticks.longest_pause
    );
}

#[test]
fn a_job_of_containers_never_ticks_in_two_colors() {
    never_in_two_colors(Engine::Docker);
}

#[test]
fn a_job_of_processes_never_ticks_in_two_colors() {
    never_in_two_colors(Engine::Process);
}
