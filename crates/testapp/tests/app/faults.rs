//! Faults come when they were asked for.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::kit::{App, end_of, testapp, wait_for};

const KILLED: Option<i32> = Some(9);

#[test]
fn a_crash_waits_for_the_first_user() {
    let mut app = App::start(&[("CRASH_AFTER_SERVED_MS", "50"), ("CRASH_CODE", "17")]);
    for _ in 0..20 {
        assert_eq!(app.status_of("/healthz"), 200);
        let warm_up = app.ask_as("User-Agent: baton\r\n", "GET", "/", "");
        assert_eq!(warm_up.0, 200);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(app.runs(), "nobody was served yet");
    assert_eq!(app.status_of("/who"), 200);
    assert_eq!(app.end().code(), Some(17));
}

#[test]
fn failures_begin_after_the_first_user() {
    let app = App::start(&[("FAIL_PERCENT", "100"), ("FAIL_AFTER_SERVED_MS", "100")]);
    assert_eq!(app.status_of("/who"), 200);
    wait_for("a failure", || (app.status_of("/who") == 500).then_some(()));
    assert_eq!(
        (app.status_of("/"), app.status_of("/slow?ms=1")),
        (500, 500)
    );
    assert_eq!(app.status_of("/healthz"), 200);
}

#[test]
fn memory_runs_out_at_start() {
    let limits = [("OOM_AT_START", "1"), ("OOM_CAP_MB", "16")];
    let mut child = testapp(&limits).spawn().unwrap();
    assert_eq!(end_of(&mut child).signal(), KILLED);
}

#[test]
fn memory_runs_out_after_the_first_user() {
    let mut app = App::start(&[("OOM_AFTER_SERVED_MS", "20"), ("OOM_CAP_MB", "16")]);
    assert_eq!(app.status_of("/healthz"), 200);
    assert!(app.runs());
    assert_eq!(app.status_of("/"), 200);
    assert_eq!(app.end().signal(), KILLED);
}

#[test]
fn memory_is_held_from_the_start() {
    let app = App::start(&[("RSS_MB", "64")]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", app.pid())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = rss.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    assert!((64 << 10..96 << 10).contains(&kilobytes), "{kilobytes} KiB");
}

#[test]
fn health_turns_bad_and_comes_back() {
    let app = App::start(&[
        ("HEALTH_BAD_AFTER_MS", "1000"),
        ("HEALTH_BAD_FOR_MS", "1000"),
    ]);
    for status in [200, 503, 200] {
        wait_for("the other health", || {
            (app.status_of("/healthz") == status).then_some(())
        });
        assert_eq!(app.status_of("/"), 200, "only its health is bad");
    }
}

#[test]
fn cpu_is_burnt_before_it_listens() {
    let begun = Instant::now();
    let app = App::start(&[("BURN_MS", "300"), ("BURN_THREADS", "2")]);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", app.pid())).unwrap();
    // The 14th field, utime, counted behind the name in brackets; 100 ticks a second.
    let fields = stat.rsplit(')').next().unwrap();
    let ticks: u64 = fields.split_whitespace().nth(11).unwrap().parse().unwrap();
    // Far less than two CPUs for 300 ms: other tests run on them, too.
    assert!(ticks >= 5, "{ticks} ticks of CPU");
}
