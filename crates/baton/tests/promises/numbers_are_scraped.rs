//! `--metrics`: what Prometheus reads is what has happened, also over a deploy under load.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::kit::machine::free_port;
use crate::kit::scrape::Scrape;
use crate::kit::{App, Engine, Machine, machine, wait_for};

#[test]
fn every_request_over_a_deploy_is_counted_once() {
    let metrics = free_port();
    let machine = Machine::start_with(&["--metrics", &metrics.to_string()], &[]);
    let mut app = App::new(Engine::Process, "numbers");
    machine.deploy(&app, &[]);
    let name = app.name().to_owned();
    machine.get("app.test", "/");
    let before = Scrape::of(metrics);
    let of = [("app", name.as_str()), ("role", "live")];
    let on = |color: &'static str| [of[0], of[1], ("color", color)];
    assert_eq!(before.sum("baton_requests_total", &on("blue")), 1);

    let (stop, sent, missing) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    app.version("v2");
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let path = if sent.fetch_add(1, Ordering::Relaxed) % 10 == 0 {
                        missing.fetch_add(1, Ordering::Relaxed);
                        "/no/such/page"
                    } else {
                        "/"
                    };
                    let (status, _, body) = machine::get(machine.http, "app.test", path).unwrap();
                    assert!(matches!(status, 200 | 404), "{status} {body}");
                }
            });
        }
        machine.deploy(&app, &["--wait", "drained"]);
        // Some for the new color alone.
        let now = sent.load(Ordering::Relaxed);
        wait_for("more requests", Duration::from_secs(30), || {
            (sent.load(Ordering::Relaxed) > now + 30).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
    });
    let (sent, missing) = (sent.into_inner(), missing.into_inner());
    let after = Scrape::of(metrics);
    let since = |metric: &str, of: &[(&str, &str)]| after.sum(metric, of) - before.sum(metric, of);
    assert_eq!(since("baton_requests_total", &of), sent, "{after:#?}");
    let with = |code| [of[0], of[1], ("code", code)];
    assert_eq!(since("baton_requests_total", &with("4xx")), missing);
    assert_eq!(since("baton_requests_total", &with("2xx")), sent - missing);
    let (blue, green) = (
        since("baton_requests_total", &on("blue")),
        since("baton_requests_total", &on("green")),
    );
    assert!(
        blue > 0 && green > 0 && blue + green == sent,
        "{blue} + {green} of {sent}"
    );
    assert_eq!(since("baton_request_duration_seconds_count", &of), sent);
    assert_eq!(after.sum("baton_requests_failed_total", &of), 0);
    assert_eq!(after.sum("baton_requests_held", &of), 0);
    assert!(after.assert_histograms() >= 3);
    let done = [of[0], ("kind", "deploy"), ("outcome", "done")];
    assert_eq!(after.sum("baton_deploys_total", &done), 2);
    let live = [
        of[0],
        ("color", "green"),
        ("role", "live"),
        ("release", "r2"),
    ];
    assert_eq!(after.sum("baton_release_info", &live), 1);
    assert_eq!(
        after.sum("baton_color_weight_percent", &[of[0], ("color", "green")]),
        100
    );

    let again = machine.deploy(&app, &[]);
    assert_eq!(again["ok"], true);
    app.variable("CRASH_AT_START", "3");
    let failed = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(failed.code, 3, "{failed}");
    let last = Scrape::of(metrics);
    let ended = |outcome| last.sum("baton_deploys_total", &[of[0], ("outcome", outcome)]);
    assert_eq!(
        (ended("done"), ended("nothing_to_do"), ended("failed")),
        (2, 1, 1)
    );
    println!(
        "{sent} requests over a deploy: {blue} blue, {green} green, {missing} of them 404; all counted"
    );
}

#[test]
fn what_no_app_takes_and_what_is_open_is_counted() {
    let metrics = free_port();
    let machine = Machine::start_with(&["--metrics", &metrics.to_string()], &[]);
    let mut app = App::new(Engine::Process, "open");
    app.policy("hosts", "[app.test]");
    machine.deploy(&app, &[]);
    assert_eq!(machine.get("other.test", "/").0, 404);
    let mut stream = TcpStream::connect(machine.http).unwrap();
    stream.write_all(b"NO REQUEST\r\n\r\n").unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    let of = [("app", app.name()), ("role", "live")];
    let scrape = Scrape::of(metrics);
    assert_eq!(
        scrape.sum("baton_unrouted_requests_total", &[("code", "4xx")]),
        2
    );

    let mut events = TcpStream::connect(machine.http).unwrap();
    write!(
        events,
        "GET /sse HTTP/1.1\r\nHost: app.test\r\nAccept: text/event-stream\r\n\r\n"
    )
    .unwrap();
    wait_for("an open stream", Duration::from_secs(30), || {
        let scrape = Scrape::of(metrics);
        (scrape.sum("baton_event_streams", &of) == 1
            && scrape.sum("baton_managed_streams", &of) == 1)
            .then_some(())
    });
    drop(events);

    assert!(machine.baton(&app, &["pause"]).ok());
    std::thread::scope(|scope| {
        let http = machine.http;
        let held = scope.spawn(move || machine::get(http, "app.test", "/").unwrap().0);
        wait_for("a held request", Duration::from_secs(30), || {
            (Scrape::of(metrics).sum("baton_requests_held", &of) == 1).then_some(())
        });
        assert!(machine.baton(&app, &["resume"]).ok());
        assert_eq!(held.join().unwrap(), 200);
    });
    let scrape = Scrape::of(metrics);
    assert_eq!(scrape.sum("baton_requests_held", &of), 0);
    assert_eq!(scrape.sum("baton_requests_held_total", &of), 1);
    let begun = Instant::now();
    assert_eq!(machine::get(metrics, "m", "/").unwrap().0, 404);
    assert!(begun.elapsed() < Duration::from_secs(5));
}
