//! An app with a certificate: plain requests are sent to HTTPS, and HTTPS speaks HTTP/1.1 and HTTP/2.

use testapp::load::{Load, Plan};

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
