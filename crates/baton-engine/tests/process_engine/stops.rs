//! Stop: the signal, the grace period, and everything that was started along.

use std::time::{Duration, Instant};

use baton_engine::{Engine, InstanceState};
use libtest_mimic::Trial;

use crate::support::*;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test("a_stop_sends_the_stop_signal_and_waits", graceful),
        test(
            "a_stop_escalates_after_the_grace_period_and_takes_everything",
            escalation,
        ),
        test("what_an_app_leaves_behind_ends_with_it", leftovers),
        test("a_shim_outlives_the_stop_signals", stubborn_shim),
        test(
            "an_app_whose_shim_was_killed_is_still_followed",
            without_shim,
        ),
    ]
}

async fn graceful() {
    let bench = Bench::new();
    let mut service =
        shell("trap 'echo asked; exit 3' USR1; echo ready; while :; do sleep 0.05; done");
    service.stop_signal = Some("SIGUSR1".to_owned());
    let instance = bench.start_one(&service).await;
    until_line(&bench.engine, &instance.id, "ready").await;
    for _ in 0..2 {
        assert_eq!(
            bench.engine.stop(&instance.id).await.expect("stopped"),
            exit(3)
        );
    }
    // The signal goes to the whole group: the shell says that its `sleep` was ended by it.
    let lines = bench.lines(&instance.id).await;
    for line in ["ready", "asked"] {
        assert!(lines.iter().any(|written| written == line), "{lines:?}");
    }
}

async fn escalation() {
    let bench = Bench::new();
    // Of its two children one is in its process group, the other in a session of its own.
    let mut service = shell(
        "trap '' TERM; sleep 1000 & echo child $!; \
         setsid sh -c 'trap \"\" TERM; echo child $$; while :; do sleep 1; done' & \
         while :; do sleep 1; done",
    );
    service.stop_grace_period = Duration::from_millis(300);
    let instance = bench.start_one(&service).await;
    let children = until_children(&bench, &instance.id, 2).await;
    let asked = Instant::now();
    assert_eq!(
        bench.engine.stop(&instance.id).await.expect("stopped"),
        exit(137)
    );
    assert!(asked.elapsed() >= service.stop_grace_period);
    for pid in children {
        assert!(!is_alive(pid), "{pid} is left");
    }
    assert_eq!(
        state(&bench.engine, &instance.id).await,
        InstanceState::Exited(exit(137))
    );
}

async fn until_children(bench: &Bench, id: &baton_engine::InstanceId, count: usize) -> Vec<i32> {
    let start = Instant::now();
    loop {
        let lines = bench.lines(id).await;
        let pids = lines
            .iter()
            .filter_map(|line| line.strip_prefix("child ")?.parse().ok());
        let pids: Vec<i32> = pids.collect();
        if pids.len() == count {
            return pids;
        }
        assert!(start.elapsed() < PATIENCE, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn leftovers() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    // A daemon as of old: its parent ends, so that it is the shim's.
    let script = "(setsid sh -c 'echo child $$; exec sleep 1000' &); sleep 0.2; exit 4";
    let instance = bench.start_one(&shell(script)).await;
    assert_eq!(
        exit_event(&mut events).await,
        (instance.id.clone(), exit(4))
    );
    let children = until_children(&bench, &instance.id, 1).await;
    assert!(!is_alive(children[0]));
}

async fn stubborn_shim() {
    let bench = Bench::new();
    let instance = bench.start_one(&shell("exec sleep 1000")).await;
    let shim = bench.pid(&instance.id, "shim");
    let ignored = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
        let mut lines = status.lines();
        let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("hex");
        // HUP 1, INT 2, QUIT 3, TERM 15.
        mask & 0x4007
    };
    until("it ignores them", || {
        (ignored(shim) == 0x4007).then_some(())
    })
    .await;
    // The command does not.
    let child = bench.pid(&instance.id, "child");
    assert_eq!(ignored(child), 0);
    let adjust =
        |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("alive");
    if may_protect() {
        until("it is protected", || {
            (adjust(shim).trim() == "-500").then_some(())
        })
        .await;
    }
    assert_eq!(
        adjust(child),
        std::fs::read_to_string("/proc/self/oom_score_adj").expect("read")
    );
}

/// Has this process CAP_SYS_RESOURCE (24), which lowering an OOM score needs?
fn may_protect() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("itself");
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("CapEff:"));
    let mask = u64::from_str_radix(mask.expect("a mask").trim(), 16).expect("hex");
    mask & (1 << 24) != 0
}

async fn without_shim() {
    let bench = Bench::new();
    let mut events = bench.engine.events();
    let instance = bench.start_one(&shell("exec sleep 1000")).await;
    let child = bench.pid(&instance.id, "child");
    let shim = bench.pid(&instance.id, "shim");
    kill(shim);
    until("the shim is gone", || (!is_alive(shim)).then_some(())).await;
    assert_eq!(
        state(&bench.engine, &instance.id).await,
        InstanceState::Running
    );
    // A new engine finds it as well.
    let next = open(bench.data.path());
    assert_eq!(state(&next, &instance.id).await, InstanceState::Running);
    drop(next);
    let ended = bench.engine.stop(&instance.id).await.expect("stopped");
    assert_eq!(ended.code, None, "nobody could read its exit code");
    assert!(!is_alive(child));
    assert_eq!(exit_event(&mut events).await, (instance.id, ended));
}
