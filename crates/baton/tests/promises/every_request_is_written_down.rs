//! `--access-log`: a JSON line for each request, or for one of so many, and never a request that waits for it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::machine::{PATIENCE, call, free_port};
use crate::kit::scrape::Scrape;
use crate::kit::{App, Engine, Machine, wait_for};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn wait_lines(file: &Path, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} lines"), PATIENCE, || {
        let lines = lines(file);
        (lines.len() >= count).then_some(lines)
    })
}

#[test]
fn each_request_has_one_line_and_its_trace() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let path = file.to_string_lossy().into_owned();
    let machine = Machine::start_with(&["--access-log-file", &path], &[]);
    let mut app = App::new(Engine::Process, "lines");
    app.policy("hosts", "[app.test]");
    machine.deploy(&app, &[]);

    let traced = |value: &str| {
        let fields = format!("traceparent: {value}\r\ntracestate: a=b\r\n");
        call(
            machine.http,
            "GET",
            "app.test",
            "/headers?token=hidden",
            &fields,
        )
        .unwrap()
        .2
    };
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-00");
    let seen = traced(&parent).to_lowercase();
    assert!(
        seen.contains(&parent) && seen.contains("a=b"),
        "passed on as it came: {seen}"
    );
    let seen = traced("00-nonsense").to_lowercase();
    assert!(
        !seen.contains("nonsense") && !seen.contains("a=b"),
        "begun anew: {seen}"
    );
    for _ in 0..20 {
        machine.get("app.test", "/bytes?n=1000");
    }
    call(machine.http, "POST", "app.test", "/echo", "").unwrap();
    assert_eq!(machine.get("other.test", "/\u{7f}%22").0, 400);
    assert_eq!(machine.get("other.test", "/%22").0, 404);

    let written = wait_lines(&file, 25);
    assert_eq!(written.len(), 25, "one for each: {written:#?}");
    let first = &written[0];
    assert_eq!(first["trace_id"], TRACE);
    assert_eq!(first["path"], "/headers", "without its query");
    for (key, value) in [
        ("app", app.name()),
        ("host", "app.test"),
        ("method", "GET"),
        ("color", "blue"),
        ("release", "r1"),
        ("client", "127.0.0.1"),
        ("protocol", "HTTP/1.1"),
        ("scheme", "http"),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!(first["status"], 200);
    let (took, upstream) = (
        first["duration_ms"].as_f64().unwrap(),
        first["upstream_ms"].as_f64().unwrap(),
    );
    assert!(took >= upstream && upstream >= 0.0, "{first}");
    let begun = written[1]["trace_id"].as_str().unwrap();
    assert!(
        seen.contains(begun),
        "the app and the line name one trace: {seen} {begun}"
    );
    assert!(
        written[2..22]
            .iter()
            .all(|line| line["path"] == "/bytes" && line["bytes"] == 1000),
        "{written:#?}"
    );
    assert_eq!(written[22]["method"], "POST");
    assert_eq!(
        (&written[24]["status"], &written[24]["app"]),
        (&Value::from(404), &Value::Null)
    );
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("hidden"), "no query is written: {text}");

    // Moved away, as logrotate does.
    let old = folder.path().join("access.log.1");
    std::fs::rename(&file, &old).unwrap();
    let hangup = Command::new("kill")
        .args(["-HUP", &machine.pid().to_string()])
        .status()
        .unwrap();
    assert!(hangup.success());
    let mut sent = 0;
    wait_for("a new file", PATIENCE, || {
        machine.get("app.test", "/");
        sent += 1;
        file.exists().then_some(())
    });
    wait_for("all lines", PATIENCE, || {
        (lines(&old).len() + lines(&file).len() == 25 + sent).then_some(())
    });
}

#[test]
fn requests_over_http2_have_their_lines_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let path = file.to_string_lossy().into_owned();
    let metrics = free_port();
    let machine = Machine::start_with(
        &[
            "--access-log-file",
            &path,
            "--metrics",
            &metrics.to_string(),
        ],
        &[],
    );
    let app = App::new(Engine::Process, "linestwo");
    machine.deploy(&app, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let begun = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(machine.http).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut bodies = Vec::new();
        for path in ["/bytes?n=5000", "/headers", "/no/such/page"] {
            let request = http::Request::get(format!("http://app.test{path}"));
            let request = request
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let body = http_body_util::BodyExt::collect(answer.into_body())
                .await
                .unwrap();
            bodies.push(body.to_bytes());
        }
        String::from_utf8_lossy(&bodies[1]).to_lowercase()
    });
    let written = wait_lines(&file, 3);
    assert_eq!(written.len(), 3);
    assert!(
        written
            .iter()
            .all(|line| line["protocol"] == "HTTP/2" && line["color"] == "blue"),
        "{written:#?}"
    );
    let line = |path: &str| written.iter().find(|line| line["path"] == path).unwrap();
    assert_eq!(
        (&line("/bytes")["bytes"], &line("/bytes")["status"]),
        (&Value::from(5000), &Value::from(200))
    );
    assert!(
        begun.contains(line("/headers")["trace_id"].as_str().unwrap()),
        "{begun}"
    );
    assert_eq!(line("/no/such/page")["status"], 404);
    let of = |code| {
        Scrape::of(metrics).sum(
            "baton_requests_total",
            &[("app", app.name()), ("code", code)],
        )
    };
    assert_eq!((of("2xx"), of("4xx")), (2, 1));
}

#[test]
fn a_sample_is_one_of_so_many() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let path = file.to_string_lossy().into_owned();
    let arguments = [
        "--workers",
        "1",
        "--access-log",
        "sampled:10",
        "--access-log-file",
        &path,
    ];
    let machine = Machine::start_with(&arguments, &[]);
    let app = App::new(Engine::Process, "sample");
    machine.deploy(&app, &[]);
    let mut traces = BTreeMap::new();
    for _ in 0..200 {
        let (_, _, body) = machine.get("app.test", "/headers");
        *traces
            .entry(body.to_lowercase().contains("traceparent"))
            .or_insert(0) += 1;
    }
    let written = wait_lines(&file, 20);
    assert_eq!(written.len(), 20);
    assert_eq!(
        traces[&true], 20,
        "only those that have a line are given a trace"
    );
}

/// A pipe that nobody reads takes 64 KiB; then lines are dropped, and requests go on.
#[test]
fn a_log_that_takes_nothing_slows_no_request() {
    const REQUESTS: u64 = 12_000;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let reader = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&pipe)
        .unwrap();
    let metrics = free_port().to_string();
    let path = pipe.to_string_lossy().into_owned();
    let mut machine =
        Machine::start_with(&["--metrics", &metrics, "--access-log-file", &path], &[]);
    let app = App::new(Engine::Process, "full");
    machine.deploy(&app, &[]);
    // Answered by Baton: the app would be what takes the time.
    let paused = machine.baton(&app, &["maintenance", "on"]);
    assert!(paused.ok(), "{paused}");
    let begun = Instant::now();
    let answered = keep_alive(machine.http, REQUESTS);
    let took = begun.elapsed();
    assert_eq!(answered, REQUESTS);
    let scrape = Scrape::of(metrics.parse().unwrap());
    let dropped = scrape.sum("baton_access_log_dropped_total", &[]);
    assert!(dropped > 0, "nothing was dropped: {scrape:#?}");
    let begun = Instant::now();
    machine.stop();
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "the end waits for no log"
    );
    // Opening a pipe for writing waits for a reader.
    machine.up();
    drop(reader);
    println!(
        "{REQUESTS} requests in {took:?} with a log that takes nothing; {dropped} lines dropped"
    );
}

/// Requests in a row on one connection; how many were answered with 503.
fn keep_alive(address: std::net::SocketAddr, count: u64) -> u64 {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    let mut answered = 0;
    for _ in 0..count {
        writer
            .write_all(b"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
            .unwrap();
        let (mut status, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if status.is_empty() {
                status.clone_from(&line);
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).unwrap();
        answered += u64::from(status.starts_with("HTTP/1.1 503"));
    }
    answered
}
