//! The same for *stage*, which never touches what is live, and for *promote*, after which what was staged
//! is live, or staged still.

use serde_json::Value;

use super::{Direction, answer, kill_there, kills, planned, settled_as};
use crate::kit::machine::PATIENCE;
use crate::kit::processes::instances;
use crate::kit::{App, Engine, Machine, wait_for};

const PREVIEW: &str = "preview.test";

fn app(engine: Engine, name: &str) -> App {
    let mut app = App::new(engine, name);
    app.policy(
        "preview",
        &format!("{{ hosts: [{PREVIEW}], environment: {{ DB_URL: preview }} }}"),
    );
    app.policy("watch", "300ms");
    app
}

/// The version that the preview hosts reach; None: a page of Baton's.
fn previewed(machine: &Machine) -> Option<String> {
    let (status, _, body) = machine.get(PREVIEW, "/");
    let who: Option<Value> = serde_json::from_str(&body).ok();
    who.filter(|_| status == 200)
        .and_then(|who| who["version"].as_str().map(ToOwned::to_owned))
}

fn shows(machine: &Machine, version: &str) -> Option<()> {
    (previewed(machine).as_deref() == Some(version)).then_some(())
}

fn stage_killed(engine: Engine) {
    let mut machine = Machine::start();
    let mut app = app(engine, "stage");
    machine.deploy(&app, &[]);
    let live = answer(&machine);
    app.version("second");
    let ran = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    let steps = planned(&ran);
    let mut staged = "second".to_owned();
    for (number, kill) in kills(&steps, &["serve_preview"], &[]).iter().enumerate() {
        let case = format!("{engine:?}, stage killed at {kill:?}");
        let version = format!("v{}", number + 2);
        app.version(&version);
        let command = kill_there(&mut machine, &app, &["stage", "--json"], *kill, |m, a| {
            settled_as(m, a, &["preview"])
        });
        let forward = match kill.direction(&steps, "serve_preview") {
            Direction::Back => false,
            Direction::Forward => true,
            Direction::Either => command.code == 0,
        };
        if forward {
            staged = version;
        }
        assert_eq!(command.code == 0, forward, "{case}: {command}");
        wait_for(
            &format!("{case}: {staged} to be previewed"),
            PATIENCE,
            || shows(&machine, &staged),
        );
        assert_eq!(answer(&machine), live, "{case}: what is live was touched");
        assert_eq!(
            instances(&machine, &app),
            2,
            "{case}: instances left behind"
        );
    }
}

fn promote_killed(engine: Engine) {
    let mut machine = Machine::start();
    let mut app = app(engine, "promote");
    machine.deploy(&app, &[]);
    app.version("second");
    stage(&machine, &app, "second");
    let ran = machine.baton(&app, &["promote", "--json", "--wait", "drained"]);
    assert_eq!(ran.code, 0, "{ran}");
    let steps = planned(&ran);
    let mut staged = String::new();
    for (number, kill) in kills(&steps, &["switch"], &["watch"]).iter().enumerate() {
        let case = format!("{engine:?}, promote killed at {kill:?}");
        if staged.is_empty() {
            staged = format!("v{}", number + 2);
            app.version(&staged);
            stage(&machine, &app, &staged);
        }
        let old = answer(&machine);
        let command = kill_there(&mut machine, &app, &["promote", "--json"], *kill, |m, a| {
            settled_as(m, a, &["empty", "preview"])
        });
        let new = answer(&machine);
        let forward = new["version"] == staged.as_str();
        match kill.direction(&steps, "switch") {
            Direction::Back => assert!(!forward, "{case}: must be taken back\n{}", machine.log()),
            Direction::Forward => {
                assert!(forward, "{case}: must go forward: {new}\n{}", machine.log());
            }
            Direction::Either => {}
        }
        assert_eq!(command.code == 0, forward, "{case}: {command}");
        if forward {
            wait_for(&format!("{case}: nothing to be staged"), PATIENCE, || {
                previewed(&machine).is_none().then_some(())
            });
            assert_eq!(
                instances(&machine, &app),
                1,
                "{case}: instances left behind"
            );
            staged.clear();
        } else {
            assert_eq!(new, old, "{case}: the very same instance serves");
            // It made room, and is back.
            wait_for(
                &format!("{case}: {staged} to be previewed"),
                PATIENCE,
                || shows(&machine, &staged),
            );
            assert_eq!(
                instances(&machine, &app),
                2,
                "{case}: instances left behind"
            );
        }
    }
}

fn stage(machine: &Machine, app: &App, version: &str) {
    let ran = machine.baton(app, &["stage", "--json"]);
    assert_eq!(ran.code, 0, "{ran}");
    wait_for("the staged release to be previewed", PATIENCE, || {
        shows(machine, version)
    });
}

#[test]
fn daemon_killed_at_every_step_of_stage_with_processes() {
    stage_killed(Engine::Process);
}

#[test]
fn daemon_killed_at_every_step_of_promote_with_processes() {
    promote_killed(Engine::Process);
}

#[test]
#[ignore = "of scripts/soak: minutes of containers, the steps are those of processes"]
fn daemon_killed_at_every_step_of_stage_with_containers() {
    stage_killed(Engine::Docker);
}

#[test]
#[ignore = "of scripts/soak: minutes of containers, the steps are those of processes"]
fn daemon_killed_at_every_step_of_promote_with_containers() {
    promote_killed(Engine::Docker);
}
