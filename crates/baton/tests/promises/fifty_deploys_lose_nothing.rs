//! Deploys in a row under load over TLS: keep-alive HTTP/1.1 and HTTP/2, small, slow and 10 MB
//! requests. None fails, no connection is closed by a switch.

use std::time::Duration;

use testapp::load::{Load, Mix, Plan};

use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, deploys};

fn fifty_deploys(engine: Engine) {
    let machine = Machine::start();
    let mut app = App::new(engine, "fifty");
    let files = certificate(machine.folder(), "app.test");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
    );
    machine.deploy(&app, &[]);
    let load = Load::start(Plan {
        tls: Some(files.authority),
        http1: 16,
        http2: 16,
        mix: Mix {
            slow_every: 60,
            big_every: 97,
            big_bytes: 10 << 20,
        },
        pause: Duration::from_millis(20),
        ..Plan::small(machine.https, "app.test")
    });
    for number in 2..=deploys(50) + 1 {
        app.version(&format!("v{number}"));
        let result = machine.deploy(&app, &[]);
        assert_eq!(result["release"], format!("r{number}"), "{result}");
        let so_far = load.report();
        assert_eq!(so_far.failed, 0, "after deploy {number}: {so_far:#?}");
    }
    let report = load.stop();
    println!(
        "{engine:?}: {} deploys, {} requests, {} failed, {} connections closed, slowest small request {} ms",
        deploys(50),
        report.requests(),
        report.failed,
        report.closed_connections,
        report.longest_ms
    );
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_eq!(report.closed_connections, 0, "{report:#?}");
    assert!(
        report.by_release.len() as u64 > deploys(50) / 2,
        "the load saw too few releases: {:?}",
        report.by_release
    );
    // The receipts say the same.
    let receipts = machine.baton(&app, &["receipts", "100", "--json"]);
    let failed: u64 = receipts
        .lines()
        .iter()
        .filter_map(|line| line["failed"].as_u64())
        .sum();
    assert_eq!(failed, 0, "{receipts}");
}

#[test]
fn fifty_deploys_of_processes_lose_nothing() {
    fifty_deploys(Engine::Process);
}

#[test]
fn fifty_deploys_of_containers_lose_nothing() {
    fifty_deploys(Engine::Docker);
}
