//! A request that is in flight at the switch is answered by the release that took it, and the old
//! color is not stopped before.

use std::thread;

use serde_json::Value;

use crate::kit::machine::{PATIENCE, get};
use crate::kit::{App, Engine, Machine, wait_for};

fn in_flight(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "inflight");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let address = machine.http;
    let slow = thread::spawn(move || get(address, "app.test", "/slow?ms=6000").unwrap());
    wait_for("the slow request to be in flight", PATIENCE, || {
        let status = machine.app_status(&app);
        (status["colors"][&old]["instances"][0]["requests_in_flight"] == 1).then_some(())
    });
    app.version("v2");
    machine.deploy(&app, &[]);
    assert_ne!(machine.live(&app), old);
    assert_eq!(
        machine.answering_release(&app),
        "r2",
        "new requests go to the new release"
    );
    assert_eq!(machine.role(&app, &old), "draining");
    let (status, _, body) = slow.join().unwrap();
    assert_eq!(status, 200, "{body}");
    let answered: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        answered["release"], "r1",
        "the old release answers what it took"
    );
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, &old) == "empty").then_some(())
    });
}

#[test]
fn in_flight_request_is_answered_by_old_process() {
    in_flight(Engine::Process);
}

#[test]
fn in_flight_request_is_answered_by_old_container() {
    in_flight(Engine::Docker);
}

/// `drain.connections` is the last word, and what it cuts stands in the receipt.
#[test]
fn what_never_ends_is_cut_and_counted() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "cut");
    app.policy("drain", "{ requests: 200ms, connections: 1s }");
    app.policy("sse", "[{ path: \"/**\", mode: drain }]");
    machine.deploy(&app, &[]);
    let address = machine.http;
    let endless = thread::spawn(move || get(address, "app.test", "/sse?every_ms=50"));
    wait_for("the stream to be open", PATIENCE, || {
        (machine.app_status(&app)["colors"]["blue"]["instances"][0]["sse"] == 1).then_some(())
    });
    app.version("v2");
    let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.result()["receipt"]["cut"], 1, "{ran}");
    drop(endless.join().unwrap());
}
