//! What an instance and its shim use, and what happens when memory runs out.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use baton_engine::{Engine, Usage};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("memory_and_cpu_of_all_its_processes_are_measured", usage),
        test("a_shim_is_small", small_shim),
        test("an_oom_kill_is_told_apart_from_a_kill", oom),
    ]
}

async fn usage() {
    let bench = Bench::new();
    let script = "sh -c 'while :; do :; done' & sh -c 'i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done; exec sleep 1000' & wait";
    let instance = bench.start_one(&shell(script)).await;
    let start = Instant::now();
    let usage = loop {
        let usage = bench.engine.usage(&instance.id).await.expect("measured");
        if usage.cpu >= Duration::from_millis(50) {
            break usage;
        }
        assert!(start.elapsed() < PATIENCE, "{usage:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let Usage {
        memory_bytes,
        memory_peak_bytes,
        memory_limit_bytes,
        cpu,
    } = usage;
    assert!(memory_bytes > 100_000, "{memory_bytes}");
    assert!(memory_peak_bytes >= Some(memory_bytes));
    assert_eq!(memory_limit_bytes, None);
    assert!(
        cpu < start.elapsed() * 4 + Duration::from_secs(1),
        "{cpu:?}"
    );
    bench.engine.stop(&instance.id).await.expect("stopped");
    assert!(bench.engine.usage(&instance.id).await.is_err());
}

async fn small_shim() {
    let bench = Bench::new();
    let instance = bench.start_one(&shell("exec sleep 1000")).await;
    let shim = bench.pid(&instance.id, "shim");
    let rollup = std::fs::read_to_string(format!("/proc/{shim}/smaps_rollup")).expect("readable");
    let kib = |name: &str| -> u64 {
        let line = rollup
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a field");
        line.split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number")
    };
    let private = kib("Private_Dirty:");
    println!(
        "shim: {private} KiB private dirty, {} KiB PSS (of this test program, unoptimized)",
        kib("Pss:")
    );
    let threads = std::fs::read_dir(format!("/proc/{shim}/task"))
        .expect("alive")
        .count();
    assert_eq!(threads, 1, "no runtime was started");
    assert!(private < 1024, "{private} KiB");
}

/// A cgroup with so little memory that the hog does not fit; None where none can be made.
fn small_cgroup(name: &str) -> Option<PathBuf> {
    let (root, limit) = if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        ("/sys/fs/cgroup", "memory.max")
    } else {
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
    };
    let cgroup = PathBuf::from(root).join(name);
    std::fs::create_dir(&cgroup).ok()?;
    if std::fs::write(cgroup.join(limit), "33554432").is_err() {
        let _ = std::fs::remove_dir(&cgroup);
        return None;
    }
    Some(cgroup)
}

async fn oom() {
    let Some(cgroup) = small_cgroup(&format!("baton-test-{}", std::process::id())) else {
        println!("no cgroup can be made here, so nothing can be killed for want of memory");
        return;
    };
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let mut service = app(&["hog"]);
    service.working_dir = bench.data.path().to_owned();
    let instance = bench.start_one(&service).await;
    until_line(&bench.engine, &instance.id, "ready").await;
    let child = bench.pid(&instance.id, "child");
    std::fs::write(cgroup.join("cgroup.procs"), child.to_string()).expect("moved");
    std::fs::write(bench.path("go"), "").expect("written");
    let (id, exit) = exit_event(&mut events).await;
    // The kernel takes a moment to see that it is empty.
    until("the cgroup is removed", || {
        std::fs::remove_dir(&cgroup).ok()
    })
    .await;
    assert_eq!(id, instance.id);
    assert_eq!((exit.code, exit.oom_killed), (Some(137), true));
    // It stays so.
    let next = open(bench.data.path());
    let again = next.stop(&instance.id).await.expect("known");
    assert_eq!(again, exit);
}
