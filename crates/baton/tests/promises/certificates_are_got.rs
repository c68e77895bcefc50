//! `tls: auto`: certificates come from a real ACME server before the first visitor does, are renewed
//! under load, and an authority that says no, or nothing, breaks nothing that is served.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use testapp::load::{Load, Plan};

use crate::kit::machine::{PATIENCE, free_port};
use crate::kit::pebble::{Pebble, View};
use crate::kit::{App, Engine, Machine, wait_for};

const HOUR: u64 = 3600;

fn app(name: &str, hosts: &str) -> App {
    let mut app = App::new(Engine::Process, name);
    app.policy("hosts", hosts).policy("tls", "auto");
    app
}

/// An authority whose certificates live so long, and a daemon that asks it.
fn world(validity: u64) -> (Pebble, Machine) {
    let (http, https) = (free_port(), free_port());
    let pebble = Pebble::start(&View {
        http,
        https,
        validity,
    });
    let machine = pebble.machine(http, https);
    (pebble, machine)
}

/// What the status says of the host.
fn certificate(machine: &Machine, app: &App, host: &str) -> Value {
    let status = machine.app_status(app);
    let certificates = status["certificates"].as_array().cloned();
    let mut certificates = certificates.unwrap_or_default().into_iter();
    let found = certificates.find(|one| one["host"] == host);
    found.unwrap_or(Value::Null)
}

fn load(https: SocketAddr, pebble: &Pebble) -> Load {
    Load::start(Plan {
        tls: Some(pebble.root.clone()),
        http1: 4,
        http2: 2,
        ..Plan::small(https, "app.test")
    })
}

#[test]
fn they_come_before_the_first_switch_and_stay_over_a_restart() {
    let (pebble, mut machine) = world(HOUR);
    let mut app = app("certified", "[app.test, api.app.test]");
    app.policy("redirect_hosts", "[www.app.test]")
        .policy("preview", "{ hosts: [test.app.test], share: true }");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 0, "{ran}\n{}", machine.log());
    // The very first visitor of each host is served over TLS, and a plain one is sent there.
    assert_eq!(pebble.get(machine.https, "app.test"), Ok(200));
    assert_eq!(pebble.get(machine.https, "api.app.test"), Ok(200));
    assert_eq!(pebble.get(machine.https, "www.app.test"), Ok(301));
    let (status, head, _) = machine.get("app.test", "/");
    assert_eq!(status, 301, "{head}");
    let lines = ran.lines();
    let plan = lines
        .iter()
        .find_map(|line| line["plan"]["steps"].as_array());
    let steps: Vec<_> = plan.unwrap().iter().filter_map(Value::as_str).collect();
    let at = |step| steps.iter().position(|name| *name == step);
    assert!(at("certify").unwrap() < at("switch").unwrap(), "{steps:?}");
    // Preview hosts follow by themselves.
    wait_for("the preview's certificate", PATIENCE, || {
        pebble.get(machine.https, "test.app.test").ok()
    });
    for host in ["app.test", "api.app.test", "www.app.test", "test.app.test"] {
        let status = certificate(&machine, &app, host);
        assert!(status["not_after"].is_string(), "{host}: {status}");
        assert!(status["next_renewal"].is_string(), "{host}: {status}");
        assert!(status["error"].is_null(), "{host}: {status}");
    }
    let kept = keys(machine.data());
    assert_eq!(kept.len(), 5, "an account and four certificates: {kept:?}");
    for (path, mode) in kept {
        assert_eq!(mode & 0o777, 0o600, "{path}");
    }
    // The next release asks for nothing.
    app.version("v2");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!ran.stdout.contains("certify"), "{ran}");
    // Nor does a restart.
    let before = certificate(&machine, &app, "app.test");
    pebble.go_away();
    machine.kill();
    machine.up();
    assert_eq!(pebble.get(machine.https, "app.test"), Ok(200));
    assert_eq!(certificate(&machine, &app, "app.test"), before);
}

/// Files below `acme`, with their modes.
fn keys(data: &std::path::Path) -> Vec<(String, u32)> {
    let mut folders = vec![data.join("acme")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let mode = path.metadata().unwrap().permissions().mode();
                files.push((path.display().to_string(), mode));
            }
        }
    }
    files
}

#[test]
fn they_are_renewed_under_load_and_tried_again_when_the_authority_is_away() {
    let (pebble, machine) = world(24);
    let app = app("renewed", "[app.test]");
    machine.deploy(&app, &[]);
    let load = load(machine.https, &pebble);
    let fresh = |expected: &str| {
        let got = pebble.get(machine.https, "app.test");
        assert_eq!(got, Ok(200), "{expected}\n{}", machine.log());
    };
    let until = || certificate(&machine, &app, "app.test")["not_after"].clone();
    let renewed = |since: &Value| {
        wait_for("the renewal", PATIENCE, || {
            fresh("served while it is renewed");
            let now = until();
            (now.is_string() && now != *since).then_some(())
        });
    };
    let first = until();
    renewed(&first);
    // Now nobody answers when it is time.
    let second = until();
    pebble.go_away();
    wait_for("the reason", PATIENCE, || {
        fresh("served while the authority is away");
        let error = certificate(&machine, &app, "app.test")["error"].clone();
        error.is_string().then_some(())
    });
    pebble.come_back();
    renewed(&second);
    let status = certificate(&machine, &app, "app.test");
    assert!(status["error"].is_null(), "{status}");
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
    assert!(report.succeeded > 100, "{report:#?}");
}

#[test]
fn a_host_that_cannot_be_validated_is_named_and_breaks_no_other() {
    let (pebble, machine) = world(HOUR);
    let mut good = app("good", "[app.test]");
    machine.deploy(&good, &[]);
    let load = load(machine.https, &pebble);
    // Nobody listens there.
    pebble.resolve("bad.test", "127.0.0.77");
    let bad = app("bad", "[bad.test]");
    let ran = machine.baton(&bad, &["deploy", "--json"]);
    assert_eq!(ran.code, 6, "{ran}\n{}", machine.log());
    let message = ran.result()["message"].to_string();
    for part in ["bad.test", "HTTP-01", "TLS-ALPN-01", "127.0.0.77"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(machine.app_status(&bad)["live"].is_null());
    let status = certificate(&machine, &bad, "bad.test");
    assert!(
        status["error"].to_string().contains("127.0.0.77"),
        "{status}"
    );

    // An app that is live goes on: the new host is served plainly until it can be certified.
    good.policy("hosts", "[app.test, late.test]").version("v2");
    pebble.resolve("late.test", "127.0.0.77");
    let ran = machine.baton(&good, &["deploy", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stdout.contains("no certificate for late.test"), "{ran}");
    assert_eq!(machine.get("late.test", "/").0, 200);
    assert_eq!(pebble.get(machine.https, "app.test"), Ok(200));
    let status = certificate(&machine, &good, "late.test");
    assert!(
        status["error"].is_string() && status["next_renewal"].is_string(),
        "{status}"
    );
    let text = machine.run(std::path::Path::new("/"), &["status"]).stdout;
    assert!(text.contains("no certificate for late.test"), "{text}");

    // Its DNS is right at last.
    pebble.resolve("late.test", "127.0.0.1");
    good.version("v3");
    machine.deploy(&good, &[]);
    assert_eq!(pebble.get(machine.https, "late.test"), Ok(200));
    assert_eq!(machine.get("late.test", "/").0, 301);
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
}

#[test]
fn port_443_alone_is_enough() {
    let (http, https) = (free_port(), free_port());
    // What the authority takes for port 80 is nobody's.
    let pebble = Pebble::start(&View {
        http: free_port(),
        https,
        validity: HOUR,
    });
    let machine = pebble.machine(http, https);
    let app = app("alpn", "[app.test]");
    machine.deploy(&app, &[]);
    assert_eq!(pebble.get(machine.https, "app.test"), Ok(200));
    // Such a handshake is answered while a host is validated, and never else.
    assert!(!pebble.shakes_hands(machine.https, "app.test", "acme-tls/1"));
    assert!(pebble.shakes_hands(machine.https, "app.test", "http/1.1"));
}

#[test]
fn a_file_that_says_nothing_gets_them_where_the_daemon_does() {
    let (pebble, machine) = world(HOUR);
    let mut app = App::new(Engine::Process, "unsaid");
    app.policy("hosts", "[app.test, app.localhost]");
    machine.deploy(&app, &[]);
    assert_eq!(pebble.get(machine.https, "app.test"), Ok(200));
    // A name of this machine alone stays plain.
    assert_eq!(machine.get("app.localhost", "/").0, 200);
    drop(machine);

    let machine = Machine::start();
    machine.deploy(&app, &[]);
    assert_eq!(machine.get("app.test", "/").0, 200);
    let check = machine.baton(&app, &["check"]);
    assert!(check.stdout.contains("gets no certificates"), "{check}");
    app.policy("tls", "auto").policy("hosts", "[app.test]");
    let ran = machine.baton(&app, &["deploy"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.to_string().contains("--acme-email"), "{ran}");
}
