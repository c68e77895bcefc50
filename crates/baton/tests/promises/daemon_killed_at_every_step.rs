//! kill -9 of the daemon before and after every journaled step: after its restart the live color
//! serves at once, the unfinished deploy is taken back before the switch and forward after it, and no
//! instance is left behind.

use std::time::Duration;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

/// The steps of a blue-green deploy in their order, with messages or a word of the app to wait for.
const STEPS: [&str; 13] = [
    "preflight",
    "fetch",
    "start",
    "await_healthy",
    "warm_up",
    "attach_streams",
    "switch",
    "drain_requests",
    "drain_messages",
    "end_streams",
    "keep_warm",
    "retire",
    "receipt",
];

/// What the app must look like after the restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Back,
    Forward,
    /// Between the two writes of the switch itself: either, but whole.
    Either,
}

fn direction(step: usize, moment: &str) -> Direction {
    let switch = STEPS.iter().position(|name| *name == "switch").unwrap();
    match step.cmp(&switch) {
        std::cmp::Ordering::Less => Direction::Back,
        std::cmp::Ordering::Greater => Direction::Forward,
        std::cmp::Ordering::Equal if moment == "started" => Direction::Either,
        std::cmp::Ordering::Equal => Direction::Forward,
    }
}

fn killed_at_every_step(engine: Engine) {
    let mut machine = Machine::start();
    let mut app = App::new(engine, "everystep");
    app.policy("drain", "{ until: { http: /healthz } }");
    machine.deploy(&app, &[]);
    let mut version = 1;
    for (number, step) in STEPS.iter().enumerate() {
        for moment in ["started", "succeeded"] {
            let case = format!("{engine:?} killed at {step} {moment}");
            let old = machine.get("app.test", "/").2;
            version += 1;
            app.version(&format!("v{version}"));
            machine.kill();
            machine.set_environment(&[("BATON_FAULT", &format!("kill:{step}:{moment}"))]);
            machine.up();
            let command = machine
                .app_command(&app, &["deploy", "--json"])
                .spawn()
                .unwrap();
            machine.wait_until_down();
            machine.set_environment(&[]);
            machine.up();

            // The live color serves at once, and never anything but a whole answer of one of the two.
            let (status, _, body) = machine.get("app.test", "/");
            assert_eq!(status, 200, "{case}: {body}");
            let command = Ran::from(command.wait_with_output().unwrap());
            wait_for(&format!("{case}: the app to settle"), PATIENCE, || {
                settled(&machine, &app)
            });
            let body = machine.get("app.test", "/").2;
            let forward = body.contains(&format!("\"version\":\"v{version}\""));
            match direction(number, moment) {
                Direction::Back => {
                    assert!(!forward, "{case}: must be taken back\n{}", machine.log())
                }
                Direction::Forward => assert!(
                    forward,
                    "{case}: must go forward: {body}\n{}",
                    machine.log()
                ),
                Direction::Either => {}
            }
            if !forward {
                assert_eq!(body, old, "{case}: the very same instance serves");
            }
            assert_eq!(
                command.code == 0,
                forward,
                "{case}: the command says what happened: {command}"
            );
            assert_eq!(
                instances(&machine, &app),
                1,
                "{case}: instances left behind"
            );
        }
    }
    // And a deploy after all of this is a deploy as any other.
    app.version("last");
    machine.deploy(&app, &["--wait", "drained"]);
    assert!(
        machine
            .get("app.test", "/")
            .2
            .contains("\"version\":\"last\"")
    );
}

/// One color live, the other empty, no deploy.
fn settled(machine: &Machine, app: &App) -> Option<()> {
    let status = machine.app_status(app);
    let roles = ["blue", "green"].map(|color| {
        status["colors"][color]["role"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    });
    let calm = status["deploy"].is_null()
        && roles.contains(&"live".to_owned())
        && roles.contains(&"empty".to_owned());
    calm.then_some(())
}

/// What really runs: containers or processes of this app.
fn instances(machine: &Machine, app: &App) -> usize {
    let status = machine.app_status(app);
    let listed: usize = ["blue", "green"]
        .map(|color| {
            status["colors"][color]["instances"]
                .as_array()
                .map_or(0, Vec::len)
        })
        .iter()
        .sum();
    let containers = crate::kit::app::docker(&[
        "ps",
        "-aq",
        "--filter",
        &format!("label=baton.app={}", app.name()),
    ]);
    let processes = processes_of(app.name());
    assert_eq!(
        listed,
        containers.split_whitespace().count() + processes,
        "what status lists is what runs"
    );
    listed
}

/// Processes of the machine whose environment says that they belong to this app.
pub(crate) fn processes_of(app: &str) -> usize {
    let wanted = format!("BATON_APP={app}");
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        // Containers of the app carry the same variable, but are in a cgroup of Docker's or, under the
        // shield, of their slot's; they are counted by Docker.
        let cgroup = std::fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let ours = environment
            .split(|byte| *byte == 0)
            .any(|pair| pair == wanted.as_bytes());
        let in_container = ["docker", &format!("baton-{app}-")]
            .iter()
            .any(|name| cgroup.contains(name));
        if ours && !in_container {
            found += 1;
        }
    }
    found
}

#[test]
fn daemon_killed_at_every_step_with_processes() {
    killed_at_every_step(Engine::Process);
}

#[test]
fn daemon_killed_at_every_step_with_containers() {
    killed_at_every_step(Engine::Docker);
}

/// The daemon is killed while the app serves: its instances go on, and serve again at once.
#[test]
fn instances_survive_the_daemon() {
    let mut machine = Machine::start();
    let app = App::new(Engine::Process, "survive");
    machine.deploy(&app, &[]);
    let before = machine.get("app.test", "/").2;
    machine.kill();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(
        processes_of(app.name()),
        1,
        "the instance runs on without the daemon"
    );
    machine.up();
    assert_eq!(
        machine.get("app.test", "/").2,
        before,
        "the same process, not another one"
    );
}
