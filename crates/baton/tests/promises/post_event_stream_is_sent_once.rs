//! A POST that is answered with an event stream is never sent to the other color: it ends where it
//! began, with all its events.

use std::thread;

use crate::kit::machine::{PATIENCE, call};
use crate::kit::{App, Engine, Machine, wait_for};

#[test]
fn post_that_streams_ends_on_the_color_that_took_it() {
    const EVENTS: usize = 30;
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "ask");
    let log = machine.folder().join("calls");
    // Even where a path rule would hand over what a GET asks for.
    app.policy("sse", "[{ path: \"/**\", mode: union }]");
    app.variable("CALL_LOG", &log.display().to_string());
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let (address, host) = (machine.http, app.host().to_owned());
    let path = format!("/ask?token=once&n={EVENTS}&every_ms=100");
    let asking = thread::spawn(move || call(address, "POST", &host, &path, "").unwrap());
    wait_for("the app to take the call", PATIENCE, || {
        log.exists().then_some(())
    });
    app.version("v2");
    machine.deploy(&app, &[]);
    assert_eq!(machine.answering_release(&app), "r2");
    assert_eq!(machine.role(&app, &old), "draining");

    let (status, head, body) = asking.join().unwrap();
    assert_eq!(status, 200, "{head}\n{body}");
    for number in 0..EVENTS {
        let event = format!("data: once r1 {number}\n\n");
        assert_eq!(body.matches(&event).count(), 1, "{event}{body}");
    }
    assert!(!body.contains("once r2"), "{body}");
    let calls = std::fs::read_to_string(&log).unwrap();
    assert_eq!(calls, "r1 once\n", "the app was called once");
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, &old) == "empty").then_some(())
    });
}
