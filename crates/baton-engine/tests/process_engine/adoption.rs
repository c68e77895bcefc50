//! The daemon may be killed at any moment: what it started goes on and is found again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use baton_compose::Color;
use baton_engine::{Engine, InstanceId, InstanceState};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "thirty_kills_of_the_daemon_lose_no_line_and_no_exit_code",
            thirty_kills,
        ),
        test(
            "an_end_while_no_daemon_runs_is_read_afterwards",
            ended_meanwhile,
        ),
        test(
            "last_words_outlive_a_daemon_that_is_killed_before_it_reads_them",
            last_words,
        ),
        test("output_does_not_block_an_app_while_no_daemon_runs", unread),
        test(
            "a_daemon_killed_while_it_starts_an_instance_leaves_none_unknown",
            cut_off_starts,
        ),
        test("after_a_reboot_nothing_counts_as_running", reboot),
        test("a_process_that_took_over_a_pid_is_left_alone", taken_pid),
    ]
}

/// `__daemon DATA STOP`: starts the counting app, or adopts it, and says which one it is; then it
/// waits to be killed. `__daemon DATA` without more: starts instances one after another.
pub(crate) fn daemon() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(2).map(PathBuf::from).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = open(&arguments[0]);
        match arguments.get(1) {
            Some(stop) => {
                let counter = app(&["count", stop.to_str().expect("a name")]);
                let started = start(&engine, &slot(Color::Blue), 1, &counter).await;
                println!("{}", started.expect("started")[0].id.0);
                std::future::pending().await
            }
            None => loop {
                println!("starting");
                let started =
                    start(&engine, &slot(Color::Blue), 1, &shell("exec sleep 1000")).await;
                started.expect("started");
                engine
                    .clear(&slot(Color::Blue), &[])
                    .await
                    .expect("cleared");
            },
        }
    })
}

fn spawn_daemon(arguments: &[&Path]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .arg("__daemon")
        .args(arguments)
        .stdout(Stdio::piped());
    command.spawn().expect("spawned")
}

fn first_line(daemon: &mut Child) -> String {
    let mut line = String::new();
    let stdout = daemon.stdout.as_mut().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    line.trim().to_owned()
}

fn kill_daemon(mut daemon: Child) {
    daemon.kill().expect("killed");
    daemon.wait().expect("reaped");
}

async fn thirty_kills() {
    let bench = Bench::new();
    let stop = bench.path("stop");
    let mut id = String::new();
    for round in 0_u64..30 {
        let mut daemon = spawn_daemon(&[bench.data.path(), &stop]);
        let line = first_line(&mut daemon);
        assert!(id.is_empty() || line == id, "adopted: {line} for {id}");
        id = line;
        // At another moment of its work each time.
        tokio::time::sleep(Duration::from_micros(37_003 * (round % 7))).await;
        kill_daemon(daemon);
    }
    let id = InstanceId(id);
    let engine = open(bench.data.path());
    let mut events = engine.events();
    assert_eq!(state(&engine, &id).await, InstanceState::Running);
    std::fs::write(&stop, "").expect("written");
    assert_eq!(exit_event(&mut events).await, (id.clone(), exit(5)));
    assert_every_line(&lines(&engine, &id).await);
}

/// Every line of each output is there, in order; a line may be there twice where a reader was killed
/// between writing it and taking it out of the FIFO.
fn assert_every_line(lines: &[String]) {
    assert!(
        lines.iter().any(|line| line == "bye"),
        "the last words are kept"
    );
    let last = lines
        .iter()
        .find_map(|line| line.strip_prefix("last "))
        .expect("the last line");
    let written: u64 = last.parse().expect("a number");
    let numbers = |rest: u64| {
        let all = lines
            .iter()
            .filter_map(|line| line.strip_prefix("line ")?.parse::<u64>().ok());
        all.filter(move |number| number % 2 == rest)
            .collect::<Vec<_>>()
    };
    let mut repeated = 0;
    for rest in [0, 1] {
        let mut expected = rest;
        for number in numbers(rest) {
            assert!(
                number <= expected,
                "line {expected} is missing before {number}"
            );
            if number < expected {
                repeated += 1;
            }
            expected = number + 2;
        }
        assert!(
            expected >= written,
            "lines {expected} to {written} are missing"
        );
    }
    println!("{written} lines, none lost, {repeated} written twice");
}

async fn ended_meanwhile() {
    let bench = Bench::new();
    let stop = bench.path("stop");
    let mut daemon = spawn_daemon(&[bench.data.path(), &stop]);
    let id = InstanceId(first_line(&mut daemon));
    let log = bench.folder(&id).join("log");
    until("it has written something", || {
        let written = std::fs::read_to_string(&log).unwrap_or_default();
        written.contains(" line 50\n").then_some(())
    })
    .await;
    kill_daemon(daemon);
    let shim = bench.pid(&id, "shim");
    std::fs::write(&stop, "").expect("written");
    until("the shim has ended", || (!is_alive(shim)).then_some(())).await;
    let engine = open(bench.data.path());
    assert_eq!(state(&engine, &id).await, InstanceState::Exited(exit(5)));
    assert_eq!(engine.stop(&id).await.expect("stopped"), exit(5));
    assert_every_line(&lines(&engine, &id).await);
}

async fn last_words() {
    let bench = Bench::new();
    let go = bench.path("go");
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; echo out; echo err >&2; printf bye",
        go.display()
    );
    let engine = open(bench.data.path());
    let started = start(&engine, &slot(Color::Blue), 1, &shell(&script)).await;
    let id = started.expect("started")[0].id.clone();
    let folder = bench.folder(&id);
    drop(engine);
    // A daemon whose turn it is to read, and which does not get to it.
    let reader = until("the former one has ended its turn", || {
        let reader = std::fs::File::create(folder.join("reader")).ok()?;
        let free = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&reader, free).ok().map(|()| reader)
    })
    .await;
    std::fs::write(&go, "").expect("written");
    until("it has ended", || {
        folder.join("ended.json").exists().then_some(())
    })
    .await;
    let shim = bench.pid(&id, "shim");
    // Nothing tells that somebody stays: looked at for a while.
    for _ in 0..20 {
        assert!(is_alive(shim), "the shim has left its last words unread");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(reader);
    until("the shim has ended", || (!is_alive(shim)).then_some(())).await;
    let mut lines = lines(&open(bench.data.path()), &id).await;
    lines.sort();
    assert_eq!(lines, ["bye", "err", "out"]);
}

async fn unread() {
    let data = tempfile::tempdir().expect("a folder");
    let engine = open(data.path());
    let go = data.path().join("go");
    let flood = app(&["flood", "60000"]).command.join(" ");
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.02; done; exec {flood}",
        go.display()
    );
    let started = start(&engine, &slot(Color::Blue), 1, &shell(&script))
        .await
        .expect("started");
    let id = &started[0].id;
    drop(engine);
    // Six times what the FIFO holds.
    std::fs::write(&go, "").expect("written");
    let ended = data.path().join("process");
    let folder = std::fs::read_dir(ended.join("shop-blue"))
        .expect("a slot")
        .next();
    let folder = folder.expect("an instance").expect("readable").path();
    until("it has ended", || {
        folder.join("ended.json").exists().then_some(())
    })
    .await;
    let engine = open(data.path());
    assert_eq!(state(&engine, id).await, InstanceState::Exited(exit(0)));
    let shim_is_done = || {
        rustix::fs::flock(
            std::fs::File::open(folder.join("spec.json")).expect("there"),
            rustix::fs::FlockOperation::NonBlockingLockShared,
        )
        .ok()
    };
    until("the shim has ended", shim_is_done).await;
    let lines = lines(&engine, id).await;
    assert_eq!(lines.last().map(|line| line.trim()), Some("59999"));
}

async fn cut_off_starts() {
    let bench = Bench::new();
    let marker = format!("{}", bench.data.path().display());
    for round in 0_u64..25 {
        let mut daemon = spawn_daemon(&[bench.data.path()]);
        first_line(&mut daemon);
        tokio::time::sleep(Duration::from_micros(1_009 * round)).await;
        kill_daemon(daemon);
        let engine = open(bench.data.path());
        engine.clear(&bench.slot, &[]).await.expect("cleared");
        assert_eq!(engine.instances(&bench.slot).await.expect("listed"), []);
        until("no shim is left", || (shims_of(&marker) == 0).then_some(())).await;
    }
}

fn shims_of(marker: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let command_lines =
        processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    command_lines
        .filter(|line| {
            let line = String::from_utf8_lossy(line);
            line.contains("__shim") && line.contains(marker)
        })
        .count()
}

async fn reboot() {
    let bench = Bench::new();
    let instance = bench.start_one(&shell("exec sleep 1000")).await;
    let folder = bench.folder(&instance.id);
    // What a reboot leaves: the files, of another boot, and no process.
    let shim = bench.pid(&instance.id, "shim");
    let child = bench.pid(&instance.id, "child");
    kill(shim);
    kill(child);
    until("both are gone", || {
        (!is_alive(shim) && !is_alive(child)).then_some(())
    })
    .await;
    until("the end was noted", || {
        bench.engine_has_seen_the_end(&instance.id)
    })
    .await;
    let running = std::fs::read_to_string(folder.join("running.json")).expect("there");
    let mut running: serde_json::Value = serde_json::from_str(&running).expect("JSON");
    running["boot"] = "another".into();
    // A process that lives, with the very same start time.
    let itself = std::fs::read_to_string("/proc/self/stat").expect("itself");
    let ticks: u64 = itself
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .nth(19)
        .expect("field 22")
        .parse()
        .expect("ticks");
    running["child"] = serde_json::json!({"pid": std::process::id(), "start_time": ticks});
    std::fs::write(folder.join("running.json"), running.to_string()).expect("written");
    let engine = open(bench.data.path());
    let InstanceState::Exited(exit) = state(&engine, &instance.id).await else {
        panic!("nothing of another boot runs");
    };
    assert_eq!(exit.code, None);
    assert_eq!(
        exit.error.as_deref(),
        Some("the machine was started anew since")
    );
    engine.stop(&instance.id).await.expect("nothing to stop");
    // It can be started again.
    let again = engine.restart(&instance.id).await.expect("restarted");
    assert_eq!(again.restarts, 1);
    engine.clear(&bench.slot, &[]).await.expect("cleared");
}

async fn taken_pid() {
    let bench = Bench::new();
    let instance = bench.start_one(&shell("exec sleep 1000")).await;
    let shim = bench.pid(&instance.id, "shim");
    let child = bench.pid(&instance.id, "child");
    kill(shim);
    kill(child);
    until("both are gone", || {
        (!is_alive(shim) && !is_alive(child)).then_some(())
    })
    .await;
    until("the end was noted", || {
        bench.engine_has_seen_the_end(&instance.id)
    })
    .await;
    // Another process has the number now.
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("spawned");
    let file = bench.folder(&instance.id).join("running.json");
    let running = std::fs::read_to_string(&file).expect("there");
    let mut running: serde_json::Value = serde_json::from_str(&running).expect("JSON");
    running["child"]["pid"] = stranger.id().into();
    running["shim"]["pid"] = stranger.id().into();
    std::fs::write(&file, running.to_string()).expect("written");
    let engine = open(bench.data.path());
    assert!(matches!(
        state(&engine, &instance.id).await,
        InstanceState::Exited(_)
    ));
    engine.stop(&instance.id).await.expect("nothing to stop");
    engine.clear(&bench.slot, &[]).await.expect("cleared");
    assert_eq!(
        stranger.try_wait().expect("no error"),
        None,
        "it was left alone"
    );
    stranger.kill().expect("killed");
    stranger.wait().expect("reaped");
}
