//! A command that runs to its end beside the instances is none of them, and nothing of it is left.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use baton_compose::Role;
use baton_compose::rendering::{ProcessModel, ProcessService, Rendering};
use baton_engine::process::ProcessEngine;
use baton_engine::{Engine, EngineError, Once, OnceResult};
use libtest_mimic::Trial;

use crate::support::*;

/// Where every user may be.
const FOLDER: &str = "/tmp";

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "a_command_runs_once_as_its_service_would_and_its_lines_come_as_they_are_written",
            as_the_service,
        ),
        test(
            "how_it_failed_is_told_with_its_last_lines_and_a_missing_program_too",
            failures,
        ),
        test("its_time_is_limited_for_all_that_it_started", too_long),
        test(
            "it_is_no_instance_and_one_that_nobody_waits_for_is_cleared",
            cancelled,
        ),
        test(
            "a_later_daemon_ends_what_a_killed_one_ran_once",
            killed_daemon,
        ),
    ]
}

async fn run(
    engine: &ProcessEngine,
    service: &ProcessService,
    script: &str,
    timeout: Duration,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<OnceResult, EngineError> {
    let rendering = Rendering::Process(ProcessModel {
        services: vec![service.clone()],
    });
    let command = ["/bin/sh", "-c", script].map(str::to_owned);
    let slot = slot(baton_compose::Color::Blue);
    let once = Once {
        slot: &slot,
        release: 7,
        role: Role::Live,
        rendering: &rendering,
        service: &service.name,
        command: &command,
        timeout,
    };
    engine.run_once(once, line).await
}

/// Nothing that a run leaves behind is there.
fn assert_clean(data: &Path) {
    let folder = data.join("process-once").join("shop-blue");
    let left: Vec<_> = std::fs::read_dir(&folder).into_iter().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

async fn as_the_service() {
    let bench = Bench::new();
    let root = rustix::process::geteuid().is_root();
    let mut service = service(&["serve"]);
    service.listens = true;
    service.working_dir = PathBuf::from(FOLDER);
    service.user = root.then(|| "65534:65534".to_owned());
    service
        .environment
        .insert("DB_URL".to_owned(), "db".to_owned());
    let gate = bench.path("gate");
    let script = format!(
        "echo $DB_URL $(pwd) $(id -u) ${{PORT-none}}; echo oops >&2; while [ ! -e {} ]; do sleep 0.01; done; echo done",
        gate.display()
    );
    std::fs::set_permissions(
        bench.data.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("readable");
    let lines = Mutex::new(Vec::new());
    let line = |line| {
        let mut lines = lines.lock().expect("not poisoned");
        lines.push(line);
        // It ends because its first lines have come while it ran.
        if lines.len() == 2 {
            std::fs::write(&gate, "").expect("written");
        }
    };
    let result = run(&bench.engine, &service, &script, PATIENCE, &line).await;
    let result = result.expect("a result");
    let uid = if root {
        "65534".to_owned()
    } else {
        rustix::process::geteuid().as_raw().to_string()
    };
    let first = format!("db {FOLDER} {uid} none");
    let mut seen = lines.into_inner().expect("not poisoned");
    assert_eq!(result.log, seen);
    // Each output in its order.
    seen.sort();
    let mut wanted = vec![first, "oops".to_owned(), "done".to_owned()];
    wanted.sort();
    assert_eq!(seen, wanted);
    assert_eq!((result.exit, result.timed_out), (exit(0), false));
    assert_clean(bench.data.path());
}

async fn failures() {
    let bench = Bench::new();
    let mut plain = service(&["serve"]);
    let script = "for i in $(seq 40); do echo line $i; done; exit 3";
    let result = run(&bench.engine, &plain, script, PATIENCE, &drop).await;
    let result = result.expect("a result");
    assert_eq!(result.exit, exit(3));
    assert_eq!(result.log.len(), 30);
    assert_eq!(result.log.last().map(String::as_str), Some("line 40"));

    let rendering = Rendering::Process(ProcessModel {
        services: vec![plain.clone()],
    });
    let command = ["/nowhere/migrate".to_owned()];
    let once = |service| Once {
        slot: &bench.slot,
        release: 7,
        role: Role::Live,
        rendering: &rendering,
        service,
        command: &command,
        timeout: PATIENCE,
    };
    let result = bench.engine.run_once(once("api"), &drop).await;
    let result = result.expect("a result");
    assert_eq!(result.exit.code, Some(127));
    let said = result.exit.to_string();
    assert!(said.contains("/nowhere/migrate"), "{said}");
    let unknown = bench.engine.run_once(once("job"), &drop).await;
    let error = unknown.expect_err("no such service").to_string();
    assert!(error.contains("shop-blue/job"), "{error}");

    plain.user = Some("nobody-of-that-name".to_owned());
    let refused = run(&bench.engine, &plain, "true", PATIENCE, &drop).await;
    let error = refused.expect_err("no such user").to_string();
    assert!(error.contains("nobody-of-that-name"), "{error}");
    assert_clean(bench.data.path());
}

async fn too_long() {
    let bench = Bench::new();
    let pids = Mutex::new(Vec::new());
    let began = Instant::now();
    let script = "trap '' TERM; setsid sleep 1000 & echo $!; echo $$; wait; sleep 1000";
    let service = service(&["serve"]);
    let limit = Duration::from_secs(4);
    let line = |line: String| {
        let pid: i32 = line.parse().expect("a pid");
        pids.lock().expect("not poisoned").push(pid);
    };
    let result = run(&bench.engine, &service, script, limit, &line).await;
    let result = result.expect("a result");
    assert!(result.timed_out && !result.exit.oom_killed, "{result:?}");
    assert!(began.elapsed() >= limit);
    let pids = pids.into_inner().expect("not poisoned");
    assert_eq!(pids.len(), 2);
    for pid in pids {
        until("it has ended", || (!is_alive(pid)).then_some(())).await;
    }
    assert_clean(bench.data.path());
}

async fn cancelled() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let (sender, mut pids) = tokio::sync::mpsc::unbounded_channel();
    let service = service(&["serve"]);
    let line = move |line: String| {
        let _ = sender.send(line.parse::<i32>().expect("a pid"));
    };
    let script = "sleep 1000 & echo $!; echo $$; wait";
    let pids = {
        let running = run(&bench.engine, &service, script, PATIENCE, &line);
        let both = async { [pids.recv().await, pids.recv().await] };
        tokio::select! {
            result = running => panic!("{result:?}"),
            both = both => both.map(|pid| pid.expect("a pid")),
        }
    };
    let instances = bench.engine.instances(&bench.slot).await.expect("a list");
    assert!(instances.is_empty(), "{instances:?}");
    assert!(is_alive(pids[0]) && is_alive(pids[1]));
    for _ in 0..2 {
        bench.engine.clear_once(&bench.slot).await.expect("cleared");
        assert!(!is_alive(pids[0]) && !is_alive(pids[1]));
    }
    assert!(events.try_recv().is_err(), "nobody is told of it");
    assert_clean(bench.data.path());
    // The instances of the slot are left alone by it.
    let api = bench.start_one(&shell("exec sleep 1000")).await;
    let result = run(&bench.engine, &service, "exit 0", PATIENCE, &drop).await;
    assert_eq!(result.expect("a result").exit, exit(0));
    bench.engine.clear_once(&bench.slot).await.expect("cleared");
    let still = bench.engine.inspect(&api.id).await.expect("a look");
    assert_eq!(still, Some(api));
}

/// `__once DATA`: runs a command that does not end, and says its pid and that of its child.
pub(crate) fn daemon() -> ExitCode {
    let data = PathBuf::from(std::env::args_os().nth(2).expect("a folder"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let engine = open(&data);
        let script = "sleep 1000 & echo $!; echo $$; wait";
        let service = service(&["serve"]);
        let ended = run(&engine, &service, script, PATIENCE * 10, &|line| {
            println!("{line}")
        });
        panic!("{:?}", ended.await);
    })
}

fn killed_after_two_lines(mut daemon: Child) -> [i32; 2] {
    use std::io::BufRead;
    let stdout = daemon.stdout.take().expect("piped");
    let mut lines = std::io::BufReader::new(stdout).lines();
    let pids = [(); 2].map(|()| {
        let line = lines.next().expect("a line").expect("readable");
        line.parse().expect("a pid")
    });
    daemon.kill().expect("killed");
    daemon.wait().expect("reaped");
    pids
}

async fn killed_daemon() {
    let bench = Bench::new();
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.arg("__once").arg(bench.data.path());
    let daemon = command.stdout(Stdio::piped()).spawn().expect("spawned");
    let pids = killed_after_two_lines(daemon);
    assert!(is_alive(pids[0]) && is_alive(pids[1]), "they outlive it");
    let engine = open(bench.data.path());
    let instances = engine.instances(&bench.slot).await.expect("a list");
    assert!(instances.is_empty(), "{instances:?}");
    engine.clear_once(&bench.slot).await.expect("cleared");
    assert!(!is_alive(pids[0]) && !is_alive(pids[1]));
    assert_clean(bench.data.path());
}
