//! An app with a certificate: plain requests are sent to HTTPS, and HTTPS speaks HTTP/1.1 and HTTP/2.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use testapp::load::{Load, Plan};

use crate::kit::machine::free_port;
use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, wait_for};

#[test]
fn plain_requests_are_redirected_and_tls_serves_both_versions() {
    let machine = Machine::start();
    let files = certificate(machine.folder(), "app.test");
    let mut app = App::new(Engine::Process, "tls");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
    );
    machine.deploy(&app, &[]);

    let (status, head, _) = machine.get("app.test", "/a?b=c");
    assert_eq!(status, 301, "{head}");
    let target = format!("location: https://app.test:{}/a?b=c", machine.https.port());
    assert!(head.to_lowercase().contains(&target), "{head}");

    let load = Load::start(Plan {
        tls: Some(files.authority),
        http1: 2,
        http2: 2,
        ..Plan::small(machine.https, "app.test")
    });
    wait_for("answers over TLS", crate::kit::machine::PATIENCE, || {
        (load.report().succeeded > 50).then_some(())
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
}

/// The head of an answer over TLS; whose certificate it is does not matter here.
fn head(https: SocketAddr, version: &str) -> String {
    let (ip, port) = (https.ip(), https.port());
    let output = Command::new("curl")
        .args(["-sSk", "-D", "-", "-o", "/dev/null", version])
        .args(["--resolve", &format!("app.test:{port}:{ip}")])
        .arg(format!("https://app.test:{port}/"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).to_lowercase()
}

#[test]
fn browsers_are_told_to_stay_with_https_where_it_has_its_own_port() {
    let own = (20..250).find_map(|last| {
        let address = SocketAddr::from(([127, 0, 4, last], 443));
        TcpListener::bind(address).ok().map(|_| address)
    });
    let Some(own) = own else {
        eprintln!("port 443 is not ours on this machine: nothing to see");
        return;
    };
    for (https, told) in [(own, true), (free_port(), false)] {
        let machine = Machine::start_on(free_port(), https, &[]);
        let files = certificate(machine.folder(), "app.test");
        let mut app = App::new(Engine::Process, "hsts");
        app.policy("hosts", "[app.test]").policy(
            "tls",
            &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
        );
        machine.deploy(&app, &[]);
        for version in ["--http1.1", "--http2"] {
            let head = head(https, version);
            let field = "strict-transport-security: max-age=86400";
            assert_eq!(head.contains(field), told, "{version} {https}: {head}");
        }
        let (_, plain, _) = machine.get("app.test", "/");
        assert!(
            !plain.to_lowercase().contains("strict-transport"),
            "{plain}"
        );
    }
}
