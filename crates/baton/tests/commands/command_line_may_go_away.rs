//! A deploy belongs to the daemon: Ctrl-C, and a daemon that restarts in the middle.

use rustix::process::Signal;

use crate::kit::{Said, Stage, signal, wait_for};

fn boots(stage: &Stage) {
    wait_for("the deploy to await its health", || {
        (stage.app()["deploy"]["step"] == "await_healthy").then_some(())
    });
}

#[test]
fn ctrl_c_ends_the_command_and_not_the_deploy() {
    let stage = Stage::start();
    stage.write(&[("VERSION", "one"), ("BOOT_MS", "2000")]);
    let deploy = stage.spawn(&["deploy"]);
    boots(&stage);
    signal(deploy.id(), Signal::INT);
    let said = Said::from(deploy.wait_with_output().unwrap());
    assert_eq!(said.code, 130, "{said:?}");
    assert!(
        said.err.contains("the deploy goes on in the daemon"),
        "{said:?}"
    );
    assert!(said.err.contains("baton cancel"), "{said:?}");
    wait_for("the deploy to end well", || {
        (stage.app()["live"] == "blue").then_some(())
    });
    assert_eq!(stage.version(), "one");
}

#[test]
fn a_daemon_that_restarts_tells_how_the_deploy_ended() {
    let mut stage = Stage::start();
    stage.write(&[("VERSION", "one"), ("BOOT_MS", "600000")]);
    let deploy = stage.spawn(&["deploy", "--json"]);
    boots(&stage);
    stage.stop_daemon();
    stage.start_daemon();
    let said = Said::from(deploy.wait_with_output().unwrap());
    // Before the switch an unfinished deploy is taken back.
    let result = said.result();
    assert_eq!(result["event"], "result", "{said:?}");
    assert_eq!(result["ok"], false, "{said:?}");
    assert_ne!(said.code, 0);
}

#[test]
fn the_app_outlives_its_daemon() {
    let mut stage = Stage::start();
    stage.write(&[("VERSION", "one")]);
    stage.ok(&["deploy"]);
    let before = stage.app()["colors"]["blue"]["instances"][0]["id"].clone();
    assert_eq!(stage.stop_daemon(), Some(0), "{}", stage.log());
    assert!(!stage.folder().join("baton.sock").exists());
    let gone = stage.baton(&["status"]);
    assert_eq!(gone.code, 1, "{gone:?}");
    stage.start_daemon();
    assert_eq!(stage.version(), "one");
    assert_eq!(stage.app()["colors"]["blue"]["instances"][0]["id"], before);
}
