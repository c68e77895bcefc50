//! A candidate cannot starve or kill the live color, and nothing of that is left once it is live.
//!
//! What the kernel lets do that depends on who asks and in which cgroup: the daemon of these tests is
//! this program again (`__shielded SCENARIO CAN`), put there first.

use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use baton_compose::rendering::{ProcessModel, ProcessService, Rendering};
use baton_compose::{Color, Role};
use baton_engine::process::ProcessEngine;
use baton_engine::{Engine, Instance, InstanceId, Shield, Slot, Start};
use libtest_mimic::Trial;

use crate::support::*;

const NOBODY: u32 = 65534;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        test(
            "every_process_of_a_candidate_is_shielded_and_of_a_live_one_none",
            || async {
                Daemon::new("family").run();
            },
        ),
        test("so_it_is_in_a_cgroup_of_the_daemons", || async {
            Daemon::new("family").in_cgroup().run();
        }),
        test("so_it_is_for_a_daemon_without_privileges", || async {
            Daemon::new("family").of_nobody().run();
        }),
        test(
            "what_a_daemon_without_privileges_cannot_do_is_told",
            || async {
                Daemon::new("family").of_nobody().in_cgroup().run();
            },
        ),
        test(
            "a_candidate_that_burns_leaves_the_live_color_its_cpu",
            || async {
                Daemon::new("burn").run();
            },
        ),
        test("so_it_does_in_a_cgroup_of_the_daemons", || async {
            Daemon::new("burn").in_cgroup().run();
        }),
        test(
            "the_daemons_own_protection_from_the_oom_killer_is_not_passed_on",
            || async {
                Daemon::new("spared").run();
            },
        ),
    ]
}

/// A daemon to come, in its own circumstances.
struct Daemon {
    scenario: &'static str,
    data: tempfile::TempDir,
    nobody: bool,
    cgroup: Option<PathBuf>,
}

impl Daemon {
    fn new(scenario: &'static str) -> Daemon {
        Daemon {
            scenario,
            data: tempfile::tempdir().expect("a folder"),
            nobody: false,
            cgroup: None,
        }
    }

    fn of_nobody(mut self) -> Daemon {
        // Without root this test has no privileges to give away.
        self.nobody = rustix::process::geteuid().is_root();
        if self.nobody {
            std::os::unix::fs::chown(self.data.path(), Some(NOBODY), Some(NOBODY)).expect("given");
        }
        self
    }

    /// One that rules the CPU, where one can be made; else where this test is.
    fn in_cgroup(mut self) -> Daemon {
        let name = format!(
            "baton-test-{}-{}",
            self.scenario,
            self.data.path().file_name().expect("a name").display()
        );
        let version_2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let root = if version_2 {
            "/sys/fs/cgroup"
        } else {
            "/sys/fs/cgroup/cpu"
        };
        let cgroup = Path::new(root).join(name);
        match std::fs::create_dir(&cgroup) {
            Ok(()) => self.cgroup = Some(cgroup),
            Err(error) => println!("no cgroup can be made here: {error}"),
        }
        self
    }

    /// Nice values can be given back by root; autogroups have a say where no cgroup rules the CPU.
    fn can_slow(&self) -> bool {
        let root = rustix::process::geteuid().is_root() && !self.nobody;
        let autogroups = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
        root || (self.cgroup.is_none() && autogroups.is_ok_and(|on| on.trim() == "1"))
    }

    fn run(&self) {
        // Where anybody may execute it.
        let program = self.data.path().join("program");
        std::fs::copy(std::env::current_exe().expect("a path"), &program).expect("copied");
        let mut command = Command::new(program);
        let can = if self.can_slow() { "slow" } else { "not" };
        command.args(["__shielded", self.scenario, can]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut daemon = command.spawn().expect("spawned");
        if let Some(cgroup) = &self.cgroup {
            std::fs::write(cgroup.join("cgroup.procs"), daemon.id().to_string()).expect("moved");
        }
        let mut stdin = daemon.stdin.take().expect("piped");
        writeln!(stdin, "go").expect("told");
        let output = daemon.wait_with_output().expect("an end");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        println!("{said}");
        assert!(output.status.success(), "{complaint}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(cgroup) = &self.cgroup else { return };
        let until = Instant::now() + PATIENCE;
        // What a failed test left in it ends; the kernel takes a moment to see that it is empty.
        while std::fs::remove_dir(cgroup).is_err() && Instant::now() < until {
            let left = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            for pid in left
                .lines()
                .filter_map(|line| line.parse().ok())
                .filter(|pid| *pid > 1)
            {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid).expect("a pid"),
                    rustix::process::Signal::KILL,
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `__shielded SCENARIO CAN`.
pub(crate) fn daemon() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .expect("told to go");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match arguments[0].as_str() {
        "family" => runtime.block_on(family(arguments[1] == "slow")),
        "spared" => runtime.block_on(spared()),
        _ => runtime.block_on(burn()),
    }
    ExitCode::SUCCESS
}

async fn start(
    engine: &ProcessEngine,
    slot: &Slot,
    service: &ProcessService,
    shielded: bool,
) -> Instance {
    let rendering = Rendering::Process(ProcessModel {
        services: vec![service.clone()],
    });
    let start = Start {
        slot,
        release: 1,
        role: Role::Live,
        rendering: &rendering,
        services: std::slice::from_ref(&service.name),
        replicas: baton_engine::Replicas::All,
        shielded,
    };
    engine.start(start).await.expect("started").remove(0)
}

/// Has one child, and one more for each of the files `more0`, `more1`, … that comes.
fn parent(bench: &Bench) -> ProcessService {
    let more = bench.path("more");
    shell(&format!(
        "sleep 1000 & i=0; while :; do if [ -e {0}$i ]; then sleep 1000 & i=$((i+1)); fi; sleep 0.02; done",
        more.display()
    ))
}

/// The processes of an instance that stay: its command, and the children that sleep for long.
fn members(child: i32) -> BTreeSet<i32> {
    let pids = std::fs::read_dir("/proc").expect("proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |pid: &i32| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat").unwrap_or_default();
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1));
        *pid == child
            || (parent == Some(&child.to_string())
                && read("cmdline").is_ok_and(|line| line.starts_with("sleep\x001000")))
    };
    pids.filter(is_one).collect()
}

fn score(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("it runs");
    text.trim().parse().expect("a number")
}

/// The nice values of its autogroup and of its threads.
fn nice(pid: i32) -> BTreeSet<i32> {
    let autogroup = std::fs::read_to_string(format!("/proc/{pid}/autogroup")).unwrap_or_default();
    let autogroup = autogroup
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|nice| nice.parse().ok());
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let threads = threads.flatten().map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).expect("it runs");
        let (_, rest) = stat.rsplit_once(") ").expect("a name");
        // Field 19; the rest begins with field 3.
        rest.split(' ')
            .nth(16)
            .expect("a field")
            .parse()
            .expect("a number")
    });
    threads.chain(autogroup).collect()
}

struct Seen {
    score: i32,
    slow: bool,
}

fn assert_all(child: i32, count: usize, wanted: Seen) {
    let members = members(child);
    assert_eq!(members.len(), count);
    let usual = nice(std::process::id().try_into().expect("a pid"));
    for pid in members {
        assert_eq!(score(pid), wanted.score, "{pid} of {child}");
        let nice = nice(pid);
        assert_eq!(nice.last() >= Some(&18), wanted.slow, "{nice:?}");
        assert!(wanted.slow || nice == usual, "{nice:?}");
    }
}

async fn more(bench: &Bench, child: i32, number: usize) {
    std::fs::write(bench.path(&format!("more{number}")), "").expect("written");
    until("one more child runs", || {
        (members(child).len() == number + 3).then_some(())
    })
    .await;
}

async fn family(can_slow: bool) {
    let bench = Bench::new();
    let own = score(std::process::id().try_into().expect("a pid"));
    let shielded = || Seen {
        score: 500,
        slow: can_slow,
    };
    let usual = || Seen {
        score: own,
        slow: false,
    };
    let slot = &bench.slot;
    let job = start(&bench.engine, slot, &parent(&bench), true).await;
    let child = bench.pid(&job.id, "child");
    assert!(
        score(bench.pid(&job.id, "shim")) <= own,
        "the shim is no candidate"
    );
    until("the child runs", || {
        (members(child).len() == 2).then_some(())
    })
    .await;
    assert_all(child, 2, shielded());
    more(&bench, child, 0).await;
    assert_all(child, 3, shielded());
    let said = bench
        .engine
        .shield(slot, Shield::Candidate)
        .await
        .expect("no failure");
    assert_eq!(said.is_none(), can_slow, "{said:?}");
    assert!(said.is_none_or(|said| said.contains("CPU") && said.contains("root")));

    for _ in 0..2 {
        assert_eq!(
            bench.engine.shield(slot, Shield::None).await.expect("none"),
            None
        );
        assert_all(child, 3, usual());
    }
    more(&bench, child, 1).await;
    assert_all(child, 4, usual());
    assert_eq!(
        bench
            .engine
            .shield(slot, Shield::Leaving)
            .await
            .expect("one"),
        None
    );
    assert_all(
        child,
        4,
        Seen {
            score: 500,
            slow: false,
        },
    );
    for number in 0..2 {
        std::fs::remove_file(bench.path(&format!("more{number}"))).expect("removed");
    }

    // Over restarts.
    for (shield, wanted) in [(Shield::Candidate, shielded()), (Shield::None, usual())] {
        bench.engine.shield(slot, shield).await.expect("no failure");
        let id = &bench.engine.instances(slot).await.expect("a list")[0].id;
        bench.engine.stop(id).await.expect("stopped");
        let again = bench.engine.restart(id).await.expect("restarted");
        let child = bench.pid(&again.id, "child");
        until("the child runs", || {
            (members(child).len() == 2).then_some(())
        })
        .await;
        assert_all(child, 2, wanted);
    }

    // It ends with what was in the slot.
    bench
        .engine
        .shield(slot, Shield::Candidate)
        .await
        .expect("no failure");
    bench.engine.clear(slot, &[]).await.expect("cleared");
    let plain = start(&bench.engine, slot, &parent(&bench), false).await;
    let child = bench.pid(&plain.id, "child");
    until("the child runs", || {
        (members(child).len() == 2).then_some(())
    })
    .await;
    assert_all(child, 2, usual());
    bench.engine.clear(slot, &[]).await.expect("cleared");
}

/// As systemd starts it: `OOMScoreAdjust=-900`.
async fn spared() {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-900") {
        println!("only root may be spared: {error}");
        return;
    }
    let bench = Bench::new();
    let sleeps = service(&["sleep", "1000"]);
    let live = start(&bench.engine, &bench.slot, &sleeps, false).await;
    assert_eq!(score(bench.pid(&live.id, "child")), 0);
    until("its shim protects itself", || {
        (score(bench.pid(&live.id, "shim")) == -500).then_some(())
    })
    .await;
    let green = slot(Color::Green);
    let candidate = start(&bench.engine, &green, &sleeps, true).await;
    assert_eq!(score(bench.pid(&candidate.id, "child")), 500);
    let said = bench.engine.shield(&green, Shield::None).await;
    assert_eq!(said.expect("no failure"), None);
    assert_eq!(score(bench.pid(&candidate.id, "child")), 0);
    for slot in [&bench.slot, &green] {
        bench.engine.clear(slot, &[]).await.expect("cleared");
    }
}

async fn burn() {
    let bench = Bench::new();
    // On one core, of which one can be sure that it is there: between several the kernel moves tasks
    // about as it likes, the more so when the machine has other work, and fairness is a long-term thing.
    let burner = service(&[
        "taskset",
        "--cpu-list",
        "0",
        "sh",
        "-c",
        "while :; do :; done",
    ]);
    let green = slot(Color::Green);
    let live = start(&bench.engine, &bench.slot, &burner, false).await;
    let candidate = start(&bench.engine, &green, &burner, true).await;
    let (live_cpu, candidate_cpu) = shares(&bench.engine, &live.id, &candidate.id).await;
    println!("live {live_cpu:?}, candidate {candidate_cpu:?}");
    assert!(
        live_cpu > candidate_cpu * 5,
        "live {live_cpu:?}, candidate {candidate_cpu:?}"
    );
    // Without it they share; the measure itself is not one-sided.
    bench
        .engine
        .shield(&green, Shield::None)
        .await
        .expect("none");
    let (live_cpu, candidate_cpu) = shares(&bench.engine, &live.id, &candidate.id).await;
    println!("live {live_cpu:?}, former candidate {candidate_cpu:?}");
    assert!(
        candidate_cpu * 3 > live_cpu,
        "live {live_cpu:?}, candidate {candidate_cpu:?}"
    );
    for slot in [&bench.slot, &green] {
        bench.engine.clear(slot, &[]).await.expect("cleared");
    }
}

/// How two share a second of CPU.
async fn shares(
    engine: &ProcessEngine,
    one: &InstanceId,
    other: &InstanceId,
) -> (Duration, Duration) {
    let used = async |id| engine.usage(id).await.expect("measured").cpu;
    let before = (used(one).await, used(other).await);
    let until = Instant::now() + PATIENCE;
    loop {
        let shares = (used(one).await - before.0, used(other).await - before.1);
        if shares.0 + shares.1 >= Duration::from_secs(1) {
            return shares;
        }
        assert!(Instant::now() < until, "{shares:?} only");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
