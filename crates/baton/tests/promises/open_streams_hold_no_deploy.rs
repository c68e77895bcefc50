//! A deploy waits for no event stream that it can hand over or send to the new color.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

/// An event stream that stays open for as long as nobody ends it; returns all of it.
fn stream(machine: &Machine, target: &str) -> thread::JoinHandle<String> {
    let mut connection = TcpStream::connect(machine.http).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(head.as_bytes()).unwrap();
    thread::spawn(move || {
        let mut all = Vec::new();
        // What has come until it ends or breaks.
        let _ = connection.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    })
}

fn open_streams(machine: &Machine, app: &App, color: &str) -> u64 {
    machine.app_status(app)["colors"][color]["instances"][0]["sse"]
        .as_u64()
        .unwrap_or_default()
}

fn with_an_open_stream(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "openstream");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let client = stream(&machine, "/sse?every_ms=50");
    wait_for("the stream to be open", PATIENCE, || {
        (open_streams(&machine, &app, &old) == 1).then_some(())
    });
    app.version("v2");
    let begun = Instant::now();
    let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "it waited for the stream: {ran}"
    );
    let receipt = &ran.result()["receipt"];
    assert_eq!(receipt["cut"], 0, "{ran}");
    assert_eq!(receipt["streams"][0][0], old.as_str(), "{ran}");
    assert_eq!(receipt["streams"][0][1]["reconnected"], 1, "{ran}");
    assert_eq!(machine.role(&app, &old), "empty");
    let text = client.join().unwrap();
    assert!(text.contains("retry:"), "told to come back: {text}");
}

#[test]
fn a_process_retires_while_a_stream_is_open() {
    with_an_open_stream(Engine::Process);
}

#[test]
fn a_container_retires_while_a_stream_is_open() {
    with_an_open_stream(Engine::Docker);
}

/// `union`: the client keeps its connection through ten deploys and hears every release.
#[test]
fn a_union_stream_goes_through_ten_deploys() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "unionten");
    app.policy("sse", "[{ path: \"/sse\", mode: union }]");
    machine.deploy(&app, &[]);
    let client = stream(&machine, "/sse?every_ms=50");
    for number in 2..=11 {
        wait_for("the stream to be open", PATIENCE, || {
            let live = machine.live(&app);
            (open_streams(&machine, &app, &live) >= 1).then_some(())
        });
        app.version(&format!("v{number}"));
        let ran = machine.baton(&app, &["deploy", "--json", "--wait", "drained"]);
        assert_eq!(ran.code, 0, "{ran}");
        let receipt = &ran.result()["receipt"];
        assert_eq!(receipt["cut"], 0, "{ran}");
        let colors = receipt["streams"].as_array().unwrap();
        let handed: u64 = colors
            .iter()
            .filter_map(|color| color[1]["handed_over"].as_u64())
            .sum();
        assert_eq!(handed, 1, "{ran}");
        assert!(!client.is_finished(), "deploy {number} ended the stream");
    }
    drop(machine);
    let text = client.join().unwrap();
    let told = text.matches("retry:").count();
    assert!(
        told <= 1,
        "only the end of the daemon sends it away: {text}"
    );
}
