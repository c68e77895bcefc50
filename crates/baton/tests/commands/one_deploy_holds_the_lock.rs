//! Two deploys at once: the second is told so, or waits; `cancel` takes the first back.

use serde_json::Value;

use crate::kit::{Said, Stage, wait_for};

fn boots(stage: &Stage) {
    wait_for("the deploy to await its health", || {
        (stage.app()["deploy"]["step"] == "await_healthy").then_some(())
    });
}

#[test]
fn the_second_exits_5_and_cancel_takes_the_first_back() {
    let stage = Stage::start();
    stage.write(&[("VERSION", "one")]);
    stage.ok(&["deploy"]);
    // It never gets healthy within this test.
    stage.write(&[("VERSION", "two"), ("BOOT_MS", "600000")]);
    let first = stage.spawn(&["deploy", "--json"]);
    boots(&stage);

    let second = stage.baton(&["deploy"]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.err.contains("baton cancel"), "{}", second.err);
    let second = stage.baton(&["deploy", "--json"]).result();
    assert_eq!(second["exit_code"], 5, "{second}");

    let cancelled = stage.ok(&["cancel"]);
    assert!(!cancelled.out.is_empty());
    let first = Said::from(first.wait_with_output().unwrap());
    assert_ne!(first.code, 0, "{first:?}");
    assert_eq!(first.result()["ok"], false);
    assert_eq!(stage.version(), "one");
    let app = stage.app();
    assert_eq!(app["deploy"], Value::Null, "{app}");
    assert_eq!(app["colors"]["green"]["role"], "empty", "{app}");
}

#[test]
fn the_second_waits_when_it_may() {
    let stage = Stage::start();
    stage.write(&[("VERSION", "one"), ("BOOT_MS", "1500")]);
    let first = stage.spawn(&["deploy"]);
    boots(&stage);
    stage.write(&[("VERSION", "two")]);
    let second = stage.ok(&["deploy", "--wait-lock", "1m"]);
    assert!(second.out.contains("waiting"), "{}", second.out);
    let first = Said::from(first.wait_with_output().unwrap());
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(stage.version(), "two");
}
