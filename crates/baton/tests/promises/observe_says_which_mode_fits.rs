//! `baton observe PATH` watches one deploy and says which mode fits a stream.

use std::process::Stdio;

use serde_json::Value;

use crate::kit::{App, Engine, Machine, Ran};

/// What `observe` says of a path while the app is deployed.
fn observed(name: &str, path: &str) -> Value {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, name);
    machine.deploy(&app, &[]);
    let mut observe = machine
        .app_command(&app, &["observe", path, "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says so once its client is there.
    let mut first = String::new();
    let mut output = std::io::BufReader::new(observe.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut first).unwrap();
    assert!(first.contains("watching"), "{first}\n{}", machine.log());
    app.version("v2");
    machine.deploy(&app, &[]);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut output, &mut rest).unwrap();
    let ran = Ran::from(observe.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{rest}{ran}");
    let last = rest.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap()
}

#[test]
fn events_that_one_color_emits_are_joined() {
    let verdict = observed("observeunion", "/sse?every_ms=50");
    assert_eq!(verdict["mode"], "union", "{verdict}");
    assert!(
        verdict["x_baton"].as_str().unwrap().contains("mode: union"),
        "{verdict}"
    );
}

#[test]
fn a_path_that_is_no_stream_is_said_to_be_none() {
    let verdict = observed("observenone", "/");
    assert_eq!(verdict["mode"], "reconnect", "{verdict}");
    let reason = verdict["reasons"][0].as_str().unwrap();
    assert!(reason.contains("not an event stream"), "{verdict}");
}
