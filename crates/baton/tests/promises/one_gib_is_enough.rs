//! A machine of 1 GiB, played by a memory cgroup around the daemon and every process that it starts: two
//! copies of an app of 400 MB fit, and the live one is neither killed nor slow while the other boots; two
//! of 600 MB do not, which is refused with the numbers, or done one after the other with held requests.

use std::time::Duration;

use testapp::load::{Load, Plan, Report};

use crate::kit::cgroup::Cgroup;
use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, long, wait_for};

const GIB: u64 = 1024;

/// The new release burns all CPUs for so long before it listens.
const BURN: Duration = Duration::from_millis(2_500);

/// The p99 while it does, as a multiple of the one before: what is promised, and what is asked for where
/// other tests burn CPUs, too.
const PROMISED: f64 = 2.0;
const ON_A_BUSY_MACHINE: f64 = 8.0;

fn app(name: &str, megabytes: u64) -> App {
    let mut app = App::new(Engine::Process, name);
    // A candidate has the CPU that nobody else wants: on a busy machine its memory comes slowly.
    app.policy(
        "health",
        "{ path: /healthz, interval: 50ms, timeout: 2s, startup_timeout: 150s }",
    );
    app.policy("max_wait", "150s");
    app.variable("RSS_MB", &megabytes.to_string());
    app
}

fn load(machine: &Machine, app: &App) -> Load {
    Load::start(Plan {
        http1: 8,
        pause: Duration::from_millis(20),
        ..Plan::small(machine.http, app.host())
    })
}

/// Everyone was answered.
fn stop(load: Load, machine: &Machine) -> Report {
    let report = load.stop();
    assert_eq!(
        (report.failed, report.closed_connections),
        (0, 0),
        "{:#?}\n{}",
        report.errors,
        machine.log()
    );
    report
}

#[test]
fn two_copies_fit_and_the_live_one_is_not_disturbed() {
    let deploys = if long() { 20 } else { 3 };
    let memory = Cgroup::of_mib(GIB);
    let machine = Machine::start_within(&memory);
    let mut app = app("onegib", 400);
    machine.deploy(&app, &[]);
    app.variable("BURN_MS", &BURN.as_millis().to_string());
    let load = load(&machine, &app);
    for number in 0..deploys {
        // As long as the other phase.
        load.phase(&format!("calm {number}"));
        std::thread::sleep(BURN);
        load.phase(&format!("burns {number}"));
        app.version(&format!("v{}", number + 2));
        machine.deploy(&app, &[]);
        load.phase("after");
        wait_for("the old color to end", PATIENCE, || {
            let role = |color| machine.role(&app, color);
            (role("blue") == "empty" || role("green") == "empty").then_some(())
        });
    }
    let report = stop(load, &machine);
    assert_eq!(memory.kills(), 0, "the kernel killed\n{}", machine.log());
    let p99 = |phase: String| report.latency[&phase].p99();
    let mut ratios: Vec<f64> = (0..deploys)
        .map(|number| {
            let (calm, burns) = (
                p99(format!("calm {number}")),
                p99(format!("burns {number}")),
            );
            println!("p99 {calm:?}, while the candidate burns all CPUs {burns:?}");
            burns.as_secs_f64() / calm.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    let most = if long() { PROMISED } else { ON_A_BUSY_MACHINE };
    println!(
        "{deploys} deploys, {} requests, the p99 is {median:.2} times as long (median of {ratios:.2?})",
        report.requests()
    );
    assert!(median <= most, "{median:.2} times as long, at most {most}");
}

#[test]
fn what_does_not_fit_is_refused_or_done_one_after_the_other() {
    let memory = Cgroup::of_mib(GIB);
    let machine = Machine::start_within(&memory);
    let mut app = app("toolarge", 600);
    machine.deploy(&app, &[]);
    let load = load(&machine, &app);
    app.version("v2");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 6, "{ran}");
    let result = ran.result();
    let message = result["message"].as_str().unwrap();
    for number in ["may need 6", "are left", "under the cgroup's limit", "MiB"] {
        assert!(message.contains(number), "{number:?} is not in: {message}");
    }
    println!("refused: {message}");
    app.policy("overlap", "preferred");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(machine.answering_release(&app), "r2");
    let report = stop(load, &machine);
    assert_eq!(memory.kills(), 0, "the kernel killed\n{}", machine.log());
    let receipts = machine.baton(&app, &["receipts", "1", "--json"]).result();
    let receipt = &receipts["receipts"][0];
    let figure = |name: &str| receipt[name].as_u64().unwrap_or_default();
    assert_eq!(receipt["outcome"], "live", "{receipt}");
    assert!(
        figure("held") > 0 && figure("longest_gap_ms") > 0,
        "{receipt}"
    );
    assert_eq!(figure("failed"), 0, "{receipt}");
    // A client saw the wait of the one request that was held longest, and no more.
    assert!(
        report.longest_ms + 1_000 > figure("longest_gap_ms"),
        "{receipt}"
    );
    println!(
        "one after the other: {} requests, {} held, {} ms at most",
        report.requests(),
        figure("held"),
        figure("longest_gap_ms")
    );
}
