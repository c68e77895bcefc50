//! `overlap: never`: the old release ends before the new one starts. Requests are held meanwhile, event
//! streams stay open, and a new release that does not come up gives way to the old one.

use std::collections::BTreeSet;
use std::time::Duration;

use testapp::load::{Kind, Load, Plan};

use crate::kit::crowd::{Crowd, CrowdPlan};
use crate::kit::{App, Engine, Machine};

fn crowd(machine: &Machine, app: &App) -> Crowd {
    Crowd::start(
        machine,
        app,
        CrowdPlan {
            http1: 3,
            http2: 3,
            tls: None,
            kinds: vec![Kind::Emit],
            posters: 1,
            pause: Duration::from_millis(50),
        },
    )
}

fn stop_first(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "stopfirst");
    app.policy("overlap", "never")
        .policy("max_wait", "60s")
        .policy("sse", "[ { path: \"/sse/**\", mode: union } ]");
    machine.deploy(&app, &[]);
    let mut plan = Plan::small(machine.http, app.host());
    plan.http1 = 4;
    plan.pause = Duration::from_millis(5);
    let load = Load::start(plan);

    let listening = crowd(&machine, &app);
    app.version("v2").variable("BOOT_MS", "500");
    let result = machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(machine.answering_release(&app), "r2");
    let held = result["receipt"]["longest_gap_ms"].as_u64();
    assert!(held >= Some(400), "the receipt says how long: {result}");
    let account = listening.finish();
    println!("{engine:?}: {}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();

    // One that does not come up: the old one comes back, and answers what was held.
    let listening = crowd(&machine, &app);
    app.version("v3").variable("CRASH_AT_START", "5");
    let failed = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(failed.code, 3, "{failed}");
    assert_eq!(machine.answering_release(&app), "r2");
    let account = listening.finish();
    println!("{engine:?}: {}", account.summary());
    account.nobody_was_disconnected();
    // A container that was started again is process 1 again: its order cannot be told from its first
    // life's, so here only that all has come.
    let failed = &account.accepted.failed;
    assert!(failed.is_empty(), "posts failed: {failed:#?}");
    let heard: BTreeSet<&str> = account.events().map(|event| event.token.as_str()).collect();
    let owed = account.accepted.owed.keys();
    let lost: Vec<_> = owed
        .filter(|token| !heard.contains(token.as_str()))
        .collect();
    assert!(lost.is_empty(), "events were lost: {lost:?}");

    let report = load.stop();
    println!(
        "{engine:?}: {} requests, {} failed, longest {} ms",
        report.requests(),
        report.failed,
        report.longest_ms
    );
    assert_eq!(report.failed, 0, "{:#?}", report.errors);
    let releases = &report.by_release;
    assert!(!releases.contains_key("r3"), "{releases:?}");
}

#[test]
fn stop_first_holds_requests_of_containers() {
    stop_first(Engine::Docker);
}

#[test]
fn stop_first_holds_requests_of_processes() {
    stop_first(Engine::Process);
}
