//! Deploys of real processes behind the real proxy, under load: nothing is lost.
//!
//! This program has its own `main`, because it is also the shim of the processes that it starts.
#![allow(clippy::unwrap_used, reason = "tests")]

mod machine;

use std::process::ExitCode;
use std::time::Duration;

use baton_compose::Color;
use baton_deploy::outcome;
use baton_deploy::slots::SlotRole;
use libtest_mimic::{Arguments, Trial};

use machine::Machine;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("__shim") {
        return baton_engine::process::shim::main();
    }
    let arguments = Arguments::from_args();
    let tests = vec![
        test("ten_deploys_lose_no_request", ten_deploys_lose_no_request),
        test("a_rollback_loses_no_request", a_rollback_loses_no_request),
        test(
            "a_broken_release_is_not_noticed",
            a_broken_release_is_not_noticed,
        ),
        test(
            "requests_wait_for_a_killed_instance",
            requests_wait_for_a_killed_instance,
        ),
        test(
            "a_new_control_plane_takes_over",
            a_new_control_plane_takes_over,
        ),
    ];
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn test<F: Future<Output = ()> + 'static>(name: &str, body: fn() -> F) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(body());
        Ok(())
    })
}

async fn ten_deploys_lose_no_request() {
    let machine = Machine::new().await;
    machine.deploy("v0", &[]).await;
    let load = machine.load();
    for n in 1..=10 {
        let outcome = machine.deploy(&format!("v{n}"), &[]).await;
        assert!(outcome.ok, "{}", outcome.message);
        let release = format!("r{}", n + 1);
        machine::until(&format!("an answer of {release}"), || {
            load.report().by_release.contains_key(&release)
        })
        .await;
    }
    let report = load.stop();
    assert_eq!(
        (report.failed, report.closed_connections),
        (0, 0),
        "{report:#?}"
    );
    machine.settled().await;
    assert_eq!(machine.processes().await, 1, "one instance is left");
    let receipt = machine.last_receipt().await;
    assert_eq!((receipt.failed, receipt.cut), (0, 0), "{receipt:#?}");
    assert!(receipt.requests > 0, "{receipt:#?}");
    println!(
        "10 deploys: {} requests, {} failed, {} keep-alive connections closed, longest {} ms",
        report.requests(),
        report.failed,
        report.closed_connections,
        report.longest_ms
    );
}

async fn a_rollback_loses_no_request() {
    let machine = Machine::new().await;
    let warm = Duration::from_secs(60);
    machine.deploy_warm("v1", warm).await;
    machine.deploy_warm("v2", warm).await;
    let load = machine.load();
    machine.role(Color::Blue, SlotRole::Warm).await;
    for release in ["r1", "r2", "r1"] {
        let outcome = machine.rollback(None).await;
        assert!(outcome.ok, "{}", outcome.message);
        assert_eq!(outcome.release.unwrap().to_string(), release);
        let before = load.report().by_release.get(release).copied().unwrap_or(0);
        machine::until("answers of the release that is back", || {
            load.report().by_release.get(release).copied().unwrap_or(0) > before + 10
        })
        .await;
    }
    let report = load.stop();
    assert_eq!(
        (report.failed, report.closed_connections),
        (0, 0),
        "{report:#?}"
    );
    // A boot from what was stored.
    let outcome = machine.deploy("v3", &[]).await;
    assert!(outcome.ok, "{}", outcome.message);
    machine.settled().await;
    let outcome = machine.rollback(Some(2)).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(machine.get("/env?name=VERSION").await.unwrap(), "v2");
}

async fn a_broken_release_is_not_noticed() {
    let machine = Machine::new().await;
    machine.deploy("v1", &[]).await;
    let load = machine.load();
    let crashed = machine.deploy("v2", &[("CRASH_AT_START", "3")]).await;
    assert_eq!(
        crashed.exit_code,
        outcome::ExitCode::ReleaseFailed,
        "{}",
        crashed.message
    );
    let failure = crashed.failure.unwrap();
    assert_eq!(failure.exit_code, Some(3), "{failure:#?}");
    assert!(!failure.log.is_empty(), "{failure:#?}");
    let ill = machine.deploy("v3", &[("HEALTH_FAIL", "1")]).await;
    assert_eq!(
        ill.exit_code,
        outcome::ExitCode::ReleaseFailed,
        "{}",
        ill.message
    );
    let failure = ill.failure.unwrap();
    let last = failure.probes.last().unwrap();
    assert!(last.result.starts_with("503"), "{failure:#?}");
    let report = load.stop();
    assert_eq!(
        (report.failed, report.closed_connections),
        (0, 0),
        "{report:#?}"
    );
    assert_eq!(report.by_release.len(), 1, "{report:#?}");
    assert_eq!(machine.processes().await, 1);
}

async fn requests_wait_for_a_killed_instance() {
    let machine = Machine::new().await;
    machine.deploy("v1", &[("BOOT_MS", "300")]).await;
    let before = machine.get("/").await.unwrap();
    machine.kill_live().await;
    // Held until the instance is back, never answered 502.
    for _ in 0..20 {
        let answer = machine.get("/").await;
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_ne!(
        machine.get("/").await.unwrap(),
        before,
        "another process answers"
    );
}

async fn a_new_control_plane_takes_over() {
    let mut machine = Machine::new().await;
    machine.deploy("v1", &[]).await;
    let load = machine.load();
    for n in 0..3 {
        machine.restart_control_plane().await;
        let outcome = machine.deploy(&format!("again{n}"), &[]).await;
        assert!(outcome.ok, "{}", outcome.message);
    }
    let report = load.stop();
    assert_eq!(
        (report.failed, report.closed_connections),
        (0, 0),
        "{report:#?}"
    );
    machine.settled().await;
    assert_eq!(machine.processes().await, 1);
}
