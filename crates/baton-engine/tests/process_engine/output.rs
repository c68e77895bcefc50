//! What an instance writes.

use std::time::Duration;

use baton_engine::Engine;
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("both_outputs_are_told_apart_and_timed", streams),
        test("a_log_is_followed_to_the_end", follow),
        test("output_is_bounded_and_its_end_is_kept", bounded),
    ]
}

async fn streams() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let before = time::OffsetDateTime::now_utc();
    let instance = bench
        .start_one(&shell("echo to stdout; echo to stderr >&2; printf end"))
        .await;
    exit_event(&mut events).await;
    let mut lines = bench
        .engine
        .logs(&instance.id, 10, true)
        .await
        .expect("a log");
    let mut seen = Vec::new();
    while let Some(line) = lines.recv().await {
        assert!(
            line.at
                .is_some_and(|at| at >= before && at <= time::OffsetDateTime::now_utc())
        );
        assert_eq!((line.service.as_str(), line.replica), ("api", 1));
        seen.push((line.stderr, line.text));
    }
    seen.sort();
    let seen: Vec<(bool, &str)> = seen
        .iter()
        .map(|(stderr, text)| (*stderr, text.as_str()))
        .collect();
    assert_eq!(
        seen,
        [(false, "end"), (false, "to stdout"), (true, "to stderr")]
    );
}

async fn follow() {
    let bench = Bench::new();
    let go = bench.path("go");
    let script = format!(
        "echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo two; exit 0",
        go = go.display()
    );
    let instance = bench.start_one(&shell(&script)).await;
    until_line(&bench.engine, &instance.id, "one").await;
    let mut lines = bench
        .engine
        .logs(&instance.id, 0, true)
        .await
        .expect("a log");
    std::fs::write(&go, "").expect("written");
    let next = tokio::time::timeout(PATIENCE, lines.recv())
        .await
        .expect("a line comes");
    assert_eq!(next.map(|line| line.text).as_deref(), Some("two"));
    let end = tokio::time::timeout(PATIENCE, lines.recv())
        .await
        .expect("it ends");
    assert_eq!(end, None);
}

async fn bounded() {
    const LINES: usize = 150_000;
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let instance = bench.start_one(&app(&["flood", &LINES.to_string()])).await;
    let started = std::time::Instant::now();
    exit_event(&mut events).await;
    println!("15 MB of lines took {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(20));
    let lines = bench.lines(&instance.id).await;
    let numbers: Vec<usize> = lines
        .iter()
        .map(|line| line.trim().parse().expect("a number"))
        .collect();
    assert!(numbers.len() > 30_000, "{}", numbers.len());
    assert_eq!(numbers, (LINES - numbers.len()..LINES).collect::<Vec<_>>());
    let folder = bench.folder(&instance.id);
    let bytes: u64 = ["log", "log.1"]
        .iter()
        .map(|name| std::fs::metadata(folder.join(name)).map_or(0, |file| file.len()))
        .sum();
    assert!(bytes < 9 << 20, "{bytes}");
}
