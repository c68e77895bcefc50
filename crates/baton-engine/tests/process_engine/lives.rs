//! Start, restart, exit.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use baton_compose::Color;
use baton_engine::{Engine, EngineEvent, InstanceState};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("an_app_gets_a_port_and_is_reached_there", port),
        test("many_starts_get_distinct_ports", ports),
        test("exit_code_and_signal_are_seen_at_once", exits),
        test("a_start_that_is_repeated_changes_nothing", twice),
        test("another_release_takes_the_place_of_what_was_left", replaced),
        test("a_restart_keeps_the_port_and_the_log_before_it", restart),
        test(
            "secrets_are_not_in_the_arguments_or_environment_of_the_shim",
            secrets,
        ),
        test("an_app_runs_as_its_user", user),
        test("clear_takes_only_the_named_services", clear),
        test("connections_of_others_are_counted", connections),
    ]
}

fn ask(address: std::net::SocketAddr) -> Option<(TcpStream, i32)> {
    let connection = TcpStream::connect(address).ok()?;
    let mut line = String::new();
    BufReader::new(&connection).read_line(&mut line).ok()?;
    Some((connection, line.trim().parse().ok()?))
}

fn listener() -> baton_compose::rendering::ProcessService {
    baton_compose::rendering::ProcessService {
        listens: true,
        ..app(&["listen"])
    }
}

fn address(instance: &baton_engine::Instance) -> std::net::SocketAddr {
    let address = instance.address.expect("an address");
    assert!(!address.published);
    (address.ip, address.port).into()
}

async fn port() {
    let bench = Bench::new();
    let instance = bench.start_one(&listener()).await;
    assert_eq!(instance.state, InstanceState::Running);
    assert_eq!(instance.release, Some(1));
    let (_, pid) = until("it answers", || ask(address(&instance))).await;
    assert_eq!(pid, bench.pid(&instance.id, "child"));
}

async fn ports() {
    let bench = Bench::new();
    let service = baton_compose::rendering::ProcessService {
        replicas: 12,
        listens: true,
        ..shell("exec sleep 1000")
    };
    let mut ports = HashSet::new();
    let green = slot(Color::Green);
    let (one, other) = tokio::join!(
        start(&bench.engine, &bench.slot, 1, &service),
        start(&bench.engine, &green, 1, &service)
    );
    for instance in one.expect("started").iter().chain(&other.expect("started")) {
        assert!(ports.insert(address(instance).port()), "given twice");
    }
    assert_eq!(ports.len(), 24);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a range");
    let range: Vec<u16> = range
        .split_whitespace()
        .map(|n| n.parse().expect("a port"))
        .collect();
    assert!(
        ports
            .iter()
            .all(|port| !(range[0]..=range[1]).contains(port)),
        "{ports:?}"
    );
    bench.engine.clear(&green, &[]).await.expect("cleared");
}

async fn exits() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let instance = bench.start_one(&shell("exit 7")).await;
    assert!(
        matches!(events.recv().await, Ok(EngineEvent::Started { id, .. }) if id == instance.id)
    );
    assert_eq!(
        exit_event(&mut events).await,
        (instance.id.clone(), exit(7))
    );
    assert_eq!(
        state(&bench.engine, &instance.id).await,
        InstanceState::Exited(exit(7))
    );

    let mut slowest = Duration::ZERO;
    for _ in 0..5 {
        let instance = bench.start_one(&shell("exec sleep 1000")).await;
        let killed = Instant::now();
        kill(bench.pid(&instance.id, "child"));
        // Killed by somebody, and not for want of memory.
        assert_eq!(
            exit_event(&mut events).await,
            (instance.id.clone(), exit(137))
        );
        slowest = slowest.max(killed.elapsed());
    }
    println!("an end by SIGKILL was told after {slowest:?} at most");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

async fn twice() {
    let bench = Bench::new();
    let service = baton_compose::rendering::ProcessService {
        replicas: 2,
        ..shell("exec sleep 1000")
    };
    let first = bench.start(&service).await;
    let pids: Vec<i32> = first.iter().map(|i| bench.pid(&i.id, "child")).collect();
    assert_eq!(bench.start(&service).await, first);
    // One of the two has ended: only that one is started.
    bench.engine.stop(&first[0].id).await.expect("stopped");
    let again = bench.start(&service).await;
    assert_ne!(again[0].id, first[0].id);
    assert_eq!(again[1], first[1]);
    assert!(is_alive(pids[1]) && !is_alive(pids[0]));
    assert_eq!(
        bench.engine.instances(&bench.slot).await.expect("listed"),
        again
    );
}

async fn replaced() {
    let bench = Bench::new();
    let old = bench.start_one(&shell("exec sleep 1000")).await;
    let old_pid = bench.pid(&old.id, "child");
    let new = start(&bench.engine, &bench.slot, 2, &shell("exec sleep 1000")).await;
    let new = new.expect("started");
    assert!(!is_alive(old_pid));
    assert_eq!(new[0].release, Some(2));
    assert_eq!(
        bench.engine.instances(&bench.slot).await.expect("listed"),
        new
    );
    assert_eq!(bench.engine.inspect(&old.id).await.expect("no error"), None);
}

async fn restart() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let service = baton_compose::rendering::ProcessService {
        command: shell("echo life of $$ on $PORT; exec sleep 1000").command,
        ..listener()
    };
    let mut last = bench.start_one(&service).await;
    let port = address(&last).port();
    for restarts in 1..=3 {
        until_line(&bench.engine, &last.id, "life of").await;
        kill(bench.pid(&last.id, "child"));
        exit_event(&mut events).await;
        let ended = bench
            .engine
            .inspect(&last.id)
            .await
            .expect("no error")
            .expect("known");
        assert_eq!(ended.address, None);
        let next = bench.engine.restart(&last.id).await.expect("restarted");
        assert_ne!(next.id, last.id);
        assert_eq!((next.restarts, address(&next).port()), (restarts, port));
        assert_eq!(
            bench.lines(&last.id).await.len(),
            1,
            "the log before is kept"
        );
        // Asked again, by any of its ids, it is the same.
        assert_eq!(bench.engine.restart(&last.id).await.expect("runs"), next);
        assert_eq!(bench.engine.restart(&next.id).await.expect("runs"), next);
        assert_eq!(
            bench.engine.instances(&bench.slot).await.expect("listed"),
            std::slice::from_ref(&next)
        );
        last = next;
    }
}

async fn secrets() {
    const SECRET: &str = "hunter2-of-the-test";
    let bench = Bench::new();
    let mut service = shell("exec sleep 1000");
    service
        .environment
        .insert("TOKEN".to_owned(), SECRET.to_owned());
    let instance = bench.start_one(&service).await;
    let shim = bench.pid(&instance.id, "shim");
    let child = bench.pid(&instance.id, "child");
    let read = |pid: i32, name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(read(shim, "cmdline").contains("__shim"));
    assert!(!read(shim, "cmdline").contains(SECRET));
    assert_eq!(read(shim, "environ"), "");
    assert!(read(child, "environ").contains(SECRET));
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    let folder = bench.folder(&instance.id);
    assert_eq!(mode(&folder), 0o700);
    for name in ["spec.json", "running.json", "stdout", "stderr", "log"] {
        until("the file is there", || {
            folder.join(name).exists().then_some(())
        })
        .await;
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    assert!(!format!("{:?}", bench.engine).contains(SECRET));
}

async fn user() {
    if !rustix::process::geteuid().is_root() {
        println!("not root: the user of a process cannot be changed here");
        return;
    }
    let bench = Bench::new();
    let mut service =
        shell("id -u; id -g; id -G; echo $HOME; echo open > /dev/stdout; exec sleep 1000");
    service.user = Some("65534:65534".to_owned());
    let instance = bench.start_one(&service).await;
    until_line(&bench.engine, &instance.id, "open").await;
    let lines = bench.lines(&instance.id).await;
    assert_eq!(lines[..3], ["65534", "65534", "65534"]);
}

async fn clear() {
    let bench = Bench::new();
    let other = baton_compose::rendering::ProcessService {
        name: "worker".to_owned(),
        ..shell("exec sleep 1000")
    };
    let api = bench.start_one(&shell("exec sleep 1000")).await;
    let worker = bench.start_one(&other).await;
    let pid = bench.pid(&api.id, "child");
    for _ in 0..2 {
        bench
            .engine
            .clear(&bench.slot, &["api".to_owned()])
            .await
            .expect("cleared");
        let left = bench.engine.instances(&bench.slot).await.expect("listed");
        assert_eq!(left, std::slice::from_ref(&worker));
        assert!(!is_alive(pid));
    }
    for _ in 0..2 {
        bench.engine.clear(&bench.slot, &[]).await.expect("cleared");
        assert_eq!(
            bench.engine.instances(&bench.slot).await.expect("listed"),
            []
        );
    }
    assert!(!bench.folder(&api.id).parent().expect("a slot").exists());
}

async fn connections() {
    let bench = Bench::new();
    let instance = bench.start_one(&listener()).await;
    let own = until("it answers", || ask(address(&instance))).await;
    let count = || async {
        bench
            .engine
            .direct_connections(&instance.id)
            .await
            .expect("no error")
    };
    assert_eq!(count().await, Some(0), "Baton's own do not count");
    let to = address(&instance).to_string();
    let client = bench_client(&bench, &to).await;
    assert_eq!(count().await, Some(1));
    bench.engine.stop(&client).await.expect("stopped");
    let start = Instant::now();
    while count().await != Some(0) {
        assert!(
            start.elapsed() < PATIENCE,
            "a closed connection still counts"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(own);
}

async fn bench_client(bench: &Bench, to: &str) -> baton_engine::InstanceId {
    let service = baton_compose::rendering::ProcessService {
        name: "client".to_owned(),
        // Its standard input is empty, so the shell keeps it open for it.
        command: {
            let app = app(&["connect", to]).command.join(" ");
            shell(&format!("sleep 1000 | {app}")).command
        },
        ..shell("")
    };
    let client = bench.start_one(&service).await;
    until_line(&bench.engine, &client.id, "connected").await;
    client.id
}
