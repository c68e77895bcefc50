//! `baton upgrade` under load: no connection is refused, no request fails, no stream is cut, and what the
//! old process still has is counted by the new one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use testapp::load::{Kind, Load, Plan};

use crate::kit::crowd::{Crowd, CrowdPlan};
use crate::kit::machine::{PATIENCE, baton, get, runs};
use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, wait_for};

/// A number of the long form, from the environment.
fn number(name: &str, short: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// `/sse/**` in union, over TLS and plain HTTP; the app says when it has no event left.
fn union_app(name: &str) -> App {
    let mut app = App::new(Engine::Process, name);
    app.policy("sse", "[{ path: \"/sse/**\", mode: union }]");
    app.policy("drain", "{ until: { http: /drained } }");
    app.variable("DELAY_MS", "500");
    app
}

/// Upgrades in a row under load, with event streams that stay with the first process. The long form:
/// `BATON_TEST_UPGRADES=100 BATON_TEST_STREAMS=200`.
#[test]
fn upgrades_in_a_row_lose_nothing() {
    let (upgrades, streams) = (
        number("BATON_TEST_UPGRADES", 4),
        number("BATON_TEST_STREAMS", 40),
    );
    let mut machine = Machine::start();
    let mut app = union_app("upgrades");
    let files = certificate(machine.folder(), "app.test");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
    );
    machine.deploy(&app, &[]);
    let half = usize::try_from(streams / 2).unwrap();
    let crowd = Crowd::start(
        &machine,
        &app,
        CrowdPlan {
            http1: half,
            http2: half,
            tls: Some(&files),
            kinds: vec![Kind::Emit, Kind::EmitAndWait],
            posters: 8,
            pause: Duration::from_millis(100),
        },
    );
    let load = Load::start(Plan {
        tls: Some(files.authority.clone()),
        http1: 20,
        // These never send a request a second time: GOAWAY must cost them none.
        http2: 10,
        streams_per_http2: 4,
        pause: Duration::from_millis(20),
        ..Plan::small(machine.https, "app.test")
    });
    let first = machine.serving_pid();
    for number in 1..=upgrades {
        let before = load.report().requests();
        machine.upgrade();
        wait_for("more load", PATIENCE, || {
            (load.report().requests() >= before + 500).then_some(())
        });
        let so_far = load.report();
        assert_eq!(so_far.failed, 0, "after upgrade {number}: {so_far:#?}");
    }
    assert!(runs(first), "the first process has the streams");
    let report = load.stop();
    let account = crowd.finish();
    println!(
        "{upgrades} upgrades: {} requests, {} failed, {} connections ended after an answer; {}",
        report.requests(),
        report.failed,
        report.closed_connections,
        account.summary()
    );
    assert_eq!(report.failed, 0, "{report:#?}");
    account.nothing_is_lost();
    account.nobody_was_disconnected();
    machine.wait_until_alone();
    assert_eq!(machine.answering_over_tls(&app, &files), "r1");
}

/// A deploy while streams are with the first of three processes: they hear the new color, and the old one
/// is not stopped under them.
#[test]
fn streams_of_old_processes_are_handed_over_by_deploys() {
    let mut machine = Machine::start();
    let mut app = union_app("heirs");
    machine.deploy(&app, &[]);
    let plan = |http1, http2| CrowdPlan {
        http1,
        http2,
        tls: None,
        kinds: vec![Kind::Emit, Kind::EmitAndWait],
        posters: 4,
        pause: Duration::from_millis(100),
    };
    let crowd = Crowd::start(&machine, &app, plan(10, 10));
    let first = machine.serving_pid();
    let second = machine.upgrade();
    for version in ["v2", "v3"] {
        app.version(version);
        let old = machine.live(&app);
        let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
        assert_eq!(ran.code, 0, "{ran}\n{}", machine.log());
        let result = ran.result();
        let receipt = &result["receipt"];
        let slow = receipt["steps"].as_array().unwrap().iter();
        let slow: Vec<_> = slow
            .filter(|step| step["ms"].as_u64().unwrap_or(0) > 20_000)
            .collect();
        assert!(slow.is_empty(), "nothing waited for its limit: {slow:?}");
        assert_eq!(receipt["cut"], 0, "{ran}");
        assert_eq!(receipt["failed"], 0, "{ran}");
        let colors = receipt["streams"].as_array().unwrap();
        let handed: u64 = colors
            .iter()
            .filter_map(|color| color[1]["handed_over"].as_u64())
            .sum();
        assert_eq!(handed, 20, "the streams of the old process count: {ran}");
        assert_eq!(machine.role(&app, &old), "empty");
        if version == "v2" {
            machine.upgrade();
        }
    }
    assert!(runs(first) && runs(second), "three processes");
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
    assert_eq!(account.releases().len(), 3, "{:?}", account.releases());
    machine.wait_until_alone();
    let receipts = machine.baton(&app, &["receipts", "10", "--json"]);
    let receipts = receipts.result()["receipts"].as_array().unwrap().len();
    assert_eq!(receipts, 3, "of all processes");
}

/// The switch, then the upgrade: the new process goes on with the drain, and waits for a request that the
/// old one has.
#[test]
fn a_drain_goes_on_and_waits_for_requests_of_the_old_process() {
    let mut machine = Machine::start();
    let mut app = App::new(Engine::Process, "draining");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let address = machine.http;
    let slow = thread::spawn(move || get(address, "app.test", "/slow?ms=8000").unwrap());
    wait_for("the slow request to be in flight", PATIENCE, || {
        let status = machine.app_status(&app);
        (status["colors"][&old]["instances"][0]["requests_in_flight"] == 1).then_some(())
    });
    app.version("v2");
    machine.deploy(&app, &[]);
    machine.upgrade();
    assert_eq!(machine.role(&app, &old), "draining");
    assert_eq!(machine.answering_release(&app), "r2");
    let status = machine.app_status(&app);
    assert_eq!(
        status["colors"][&old]["instances"][0]["requests_in_flight"], 1,
        "of the old process: {status}"
    );
    let (status, _, body) = slow.join().unwrap();
    assert_eq!(status, 200, "{body}");
    let answered: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answered["release"], "r1", "{body}");
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, &old) == "empty").then_some(())
    });
    machine.wait_until_alone();
    let receipts = machine.baton(&app, &["receipts", "1", "--json"]);
    let receipt = &receipts.result()["receipts"][0];
    assert_eq!(receipt["release"], "r2", "{receipts}");
    assert_eq!(receipt["cut"], 0, "{receipts}");
    // The old color, and the new one a little.
    assert!(receipt["requests"].as_u64().unwrap() >= 1, "{receipts}");
}

/// When its time is over, the old process sends its streams to the new one.
#[test]
fn streams_are_told_to_come_back_when_the_drain_is_over() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "over");
    machine.deploy(&app, &[]);
    let mut stream = TcpStream::connect(machine.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(
            b"GET /sse?every_ms=50 HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\n\r\n",
        )
        .unwrap();
    let mut first = [0; 256];
    let read = stream.read(&mut first).unwrap();
    let ran = machine.upgrade_to(baton().as_ref(), &["--drain", "1s"]);
    assert_eq!(ran.code, 0, "{ran}\n{}", machine.log());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let text = String::from_utf8_lossy(&[&first[..read], &rest].concat()).into_owned();
    assert!(text.contains("retry:"), "{text}");
    assert!(text.ends_with("0\r\n\r\n"), "a clean end: {text}");
    machine.wait_until_alone();
    assert_eq!(machine.answering_release(&app), "r1");
}

/// The new daemon is killed while the old process still has a stream: that one is sent away, and nothing
/// is left that keeps the ports.
#[test]
fn an_old_process_ends_with_the_new_one() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "orphan");
    machine.deploy(&app, &[]);
    let mut stream = machine.open_stream("app.test");
    let new = machine.upgrade();
    crate::kit::machine::signal(new, rustix::process::Signal::KILL);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("retry:"));
    machine.wait_until_down();
    machine.up();
    assert_eq!(machine.answering_release(&app), "r1");
}
