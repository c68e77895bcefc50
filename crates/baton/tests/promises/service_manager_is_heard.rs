//! What a service manager does with a daemon: sockets that it listens on itself, SIGTERM, SIGHUP.

use std::io::Read;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use testapp::load::{Load, Plan};

use crate::kit::machine::{PATIENCE, get, runs, signal};
use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, wait_for};

/// SIGTERM: nobody new, requests end, streams are told to come back, and then the end.
#[test]
fn sigterm_finishes_what_is_in_flight() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "sigterm");
    machine.deploy(&app, &[]);
    let live = machine.live(&app);
    let address = machine.http;
    let slow = thread::spawn(move || get(address, "app.test", "/slow?ms=4000").unwrap());
    let mut stream = machine.open_stream("app.test");
    wait_for("the slow request to be in flight", PATIENCE, || {
        let status = machine.app_status(&app);
        (status["colors"][&live]["instances"][0]["requests_in_flight"] == 1).then_some(())
    });
    signal(machine.serving_pid(), Signal::TERM);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("retry:"), "{rest}");
    wait_for("nobody to be let in", PATIENCE, || {
        TcpStream::connect(address).is_err().then_some(())
    });
    let (status, _, body) = slow.join().unwrap();
    assert_eq!(status, 200, "{body}");
    assert_eq!(machine.wait_until_exit(), 0, "{}", machine.log());
    machine.up();
    assert_eq!(machine.answering_release(&app), "r1", "instances went on");
}

/// A second SIGTERM does not wait.
#[test]
fn a_second_sigterm_ends_at_once() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "twice");
    machine.deploy(&app, &[]);
    let live = machine.live(&app);
    let address = machine.http;
    let slow = thread::spawn(move || get(address, "app.test", "/slow?ms=60000"));
    wait_for("the slow request to be in flight", PATIENCE, || {
        let status = machine.app_status(&app);
        (status["colors"][&live]["instances"][0]["requests_in_flight"] == 1).then_some(())
    });
    signal(machine.serving_pid(), Signal::TERM);
    wait_for("the daemon to be stopping", PATIENCE, || {
        machine
            .log()
            .contains("requests in flight may end")
            .then_some(())
    });
    signal(machine.serving_pid(), Signal::TERM);
    assert_eq!(machine.wait_until_exit(), 0, "{}", machine.log());
    assert!(
        machine.log().contains("stopped at once"),
        "{}",
        machine.log()
    );
    let _ = slow.join().unwrap();
    machine.up();
}

/// A renewed certificate is taken up under load, and so is what may change in the settings.
#[test]
fn sighup_reads_certificates_and_settings_again() {
    let machine = Machine::start_with_config("trusted-proxy = \"10.0.0.0/8\"\n");
    let mut app = App::new(Engine::Process, "sighup");
    let old = certificate(machine.folder(), "app.test");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", old.cert, old.key),
    );
    machine.deploy(&app, &[]);
    let load = Load::start(Plan {
        tls: Some(old.authority.clone()),
        http1: 8,
        http2: 4,
        ..Plan::small(machine.https, "app.test")
    });
    wait_for("load", PATIENCE, || {
        (load.report().requests() > 100).then_some(())
    });
    let new = certificate(machine.folder(), "app.test");
    machine.write_config("trusted-proxy = \"127.0.0.1\"\nworkers = 7\n");
    signal(machine.serving_pid(), Signal::HUP);
    wait_for("the settings to be read", PATIENCE, || {
        machine
            .log()
            .contains("settings were read again")
            .then_some(())
    });
    assert!(
        machine.log().contains("workers has changed, which needs"),
        "{}",
        machine.log()
    );
    assert_eq!(machine.answering_over_tls(&app, &new), "r1");
    let before = load.report().requests();
    wait_for("more load", PATIENCE, || {
        (load.report().requests() > before + 100).then_some(())
    });
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_eq!(report.closed_connections, 0, "{report:#?}");
}

/// `systemd-socket-activate` listens; the daemon takes both addresses, and hands them on.
#[test]
fn sockets_of_systemd_are_used_and_handed_over() {
    let mut machine = Machine::activated();
    let app = App::new(Engine::Process, "activated");
    machine.deploy(&app, &[]);
    assert_eq!(machine.answering_release(&app), "r1");
    let load = Load::start(Plan {
        http1: 8,
        pause: Duration::from_millis(10),
        ..Plan::small(machine.http, "app.test")
    });
    machine.upgrade();
    machine.wait_until_alone();
    let report = load.stop();
    assert_eq!(report.failed, 0, "{report:#?}");
    assert_eq!(machine.answering_release(&app), "r1");
}

/// A service manager hears only of the end of processes whose parent it is. While the old process still has
/// a stream, the new one must not be its child: killed then, it would not be started again.
#[test]
fn the_new_daemon_is_not_a_child_of_the_old_one() {
    let machine = Machine::start();
    let app = App::new(Engine::Process, "orphan");
    machine.deploy(&app, &[]);
    let old = machine.serving_pid();
    let mut stream = machine.open_stream("app.test");
    machine.upgrade();
    let new = machine.serving_pid();
    assert_ne!(new, old);
    stream.read_exact(&mut [0; 64]).unwrap();
    assert!(runs(old), "it still has the stream");
    assert_ne!(parent(new), old);
}

fn parent(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    line.unwrap().trim().parse().unwrap()
}
