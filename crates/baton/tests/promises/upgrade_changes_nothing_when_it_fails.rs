//! A new binary that does not start, ends, hangs, or is killed at any moment of the handover leaves the old
//! process serving; an old one that is killed in it is followed by the new one. Nobody is refused.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use testapp::load::{Load, Plan};

use crate::kit::machine::{PATIENCE, baton, runs};
use crate::kit::{App, Engine, Machine, Ran, wait_for};

/// New connections all the time, beside those that stay.
fn load(machine: &Machine) -> Load {
    Load::start(Plan {
        http1: 8,
        pause: Duration::from_millis(10),
        ..Plan::small(machine.http, "app.test")
    })
}

fn script(machine: &Machine, name: &str, text: &str) -> PathBuf {
    let path = machine.folder().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

/// `vN` goes live under the load, which then ends: nothing of it failed, and `rN` answered.
fn deploy_under(load: Load, machine: &Machine, app: &mut App, number: usize, when: &str) {
    app.version(&format!("v{number}"));
    machine.deploy(app, &[]);
    let release = format!("r{number}");
    assert_eq!(machine.answering_release(app), release, "{when}");
    let report = load.stop();
    assert_eq!(report.failed, 0, "{when}: {report:#?}");
    assert!(
        report.by_release.contains_key(&release),
        "{when}: {report:#?}"
    );
}

#[test]
fn what_is_no_baton_is_refused_with_its_last_words() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "garbage");
    machine.deploy(&app, &[]);
    let load = load(&machine);
    let old = machine.serving_pid();
    let text = script(&machine, "text", "this is no program\0\n");
    std::fs::set_permissions(&text, PermissionsExt::from_mode(0o644)).unwrap();
    let cases = [
        (text, "cannot start"),
        (
            script(
                &machine,
                "ends",
                "#!/bin/sh\necho these are my last words >&2\nexit 3\n",
            ),
            "these are my last words",
        ),
        (
            script(&machine, "talks", "#!/bin/sh\necho hello >&0\nsleep 60\n"),
            "no Baton that can take over",
        ),
        (
            script(&machine, "hangs", "#!/bin/sh\nexec sleep 60\n"),
            "it did nothing for 10 s",
        ),
    ];
    for (binary, expected) in cases {
        let ran = machine.upgrade_to(&binary, &[]);
        assert_eq!(ran.code, 1, "{ran}");
        let said = ran.message();
        assert!(said.contains(expected), "{said}");
        assert!(said.contains("goes on as it was"), "{said}");
        assert_eq!(machine.serving_pid(), old);
    }
    let nowhere = machine.upgrade_to("/nowhere/baton".as_ref(), &[]);
    assert_eq!(nowhere.code, 2, "{nowhere}");
    deploy_under(load, &machine, &mut app, 2, "after what is no baton");
}

/// kill -9 of the new process, at each moment before it is the daemon.
#[test]
fn a_new_process_that_is_killed_leaves_the_old_one() {
    let mut machine = Machine::start();
    let mut app = App::new(Engine::Process, "killed");
    machine.deploy(&app, &[]);
    for (number, place) in ["start", "offer", "go", "open"].iter().enumerate() {
        machine.stop();
        machine.set_environment(&[("BATON_FAULT", &format!("kill:new:{place}"))]);
        machine.up();
        let load = load(&machine);
        let old = machine.serving_pid();
        let ran = machine.upgrade_to(baton().as_ref(), &[]);
        assert_eq!(ran.code, 1, "{place}: {ran}");
        assert!(ran.message().contains("ended before"), "{place}: {ran}");
        wait_for("the old process to have the state again", PATIENCE, || {
            (machine.serving_pid() == old).then_some(())
        });
        deploy_under(load, &machine, &mut app, number + 2, place);
    }
}

/// One that has the state and does nothing with it: traffic goes on, and the old process takes it back.
#[test]
fn a_new_process_that_hangs_leaves_the_old_one() {
    let machine = Machine::start_with(&[], &[("BATON_FAULT", "hang:new:go")]);
    let mut app = App::new(Engine::Process, "hangs");
    machine.deploy(&app, &[]);
    let load = load(&machine);
    let old = machine.serving_pid();
    let ran = machine.upgrade_to(baton().as_ref(), &[]);
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.message().contains("did not accept within"), "{ran}");
    assert_eq!(machine.serving_pid(), old);
    deploy_under(load, &machine, &mut app, 2, "after it hung");
}

/// kill -9 of the old process in the middle of it: the new one has the listeners, and goes on.
#[test]
fn an_old_process_that_is_killed_is_followed() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "followed");
    machine.deploy(&app, &[]);
    for place in ["ready", "closed", "go", "accepting"] {
        machine.stop();
        machine.set_environment(&[("BATON_FAULT", &format!("kill:old:{place}"))]);
        machine.up();
        let old = machine.serving_pid();
        // How the command ends depends on how much it has heard.
        let load = load(&machine);
        machine.upgrade_to(baton().as_ref(), &[]);
        machine.wait_until_down();
        assert!(!runs(old), "{place}");
        wait_for(
            &format!("{place}: the new process to answer"),
            PATIENCE,
            || {
                let new = machine.serving_pid();
                let answers = machine.run("/".as_ref(), &["status", "--json"]).ok();
                (new != old && runs(new) && answers).then_some(())
            },
        );
        assert_eq!(machine.answering_release(&app), "r1", "{place}");
        let refused = |error: &&String| error.contains("refused");
        let report = load.stop();
        assert_eq!(
            report.errors.iter().find(refused),
            None,
            "{place}: {report:#?}"
        );
        machine.adopt_serving();
    }
}

/// The state has one owner: no upgrade while a deploy is at work on it.
#[test]
fn an_upgrade_while_a_deploy_runs_gets_5() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "busy");
    machine.deploy(&app, &[]);
    app.version("v2").variable("HEALTH_DELAY_MS", "4000");
    let deploy = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    wait_for("the deploy to wait for health", PATIENCE, || {
        (machine.app_status(&app)["deploy"]["step"] == "await_healthy").then_some(())
    });
    let old = machine.serving_pid();
    let ran = machine.upgrade_to(baton().as_ref(), &[]);
    assert_eq!(ran.code, 5, "{ran}");
    assert!(ran.message().contains("await_healthy"), "{ran}");
    assert_eq!(machine.serving_pid(), old);
    let deploy = Ran::from(deploy.wait_with_output().unwrap());
    assert_eq!(deploy.code, 0, "{deploy}");
    machine.upgrade();
    assert_eq!(machine.answering_release(&app), "r2");
}

/// Folder and socket are what clients and apps know the daemon by; other settings may change.
#[test]
fn another_data_folder_is_refused() {
    let machine = Machine::start_with_config("workers = 1\n");
    machine.write_config("workers = 3\n");
    let serving = machine.upgrade();
    let binary = script(
        &machine,
        "moved",
        &format!(
            "#!/bin/sh\nexec {} serve --http {} --https off --data {} --socket {} --take-over\n",
            baton(),
            machine.http,
            machine.folder().join("elsewhere").display(),
            machine.socket().display(),
        ),
    );
    let ran = machine.upgrade_to(&binary, &[]);
    assert_eq!(ran.code, 1, "{ran}");
    let said = ran.message();
    assert!(
        said.contains("the data folder cannot change in an upgrade"),
        "{said}"
    );
    assert_eq!(machine.serving_pid(), serving);
}
