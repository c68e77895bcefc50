//! `migrate` runs once for each release, in its image and with its environment, before anything of it
//! starts. One that fails leaves the old release alone, and one that is cut off leaves nothing.

use std::path::Path;

use crate::kit::app::docker;
use crate::kit::machine::PATIENCE;
use crate::kit::processes;
use crate::kit::{App, Engine, Machine, wait_for};

/// An app whose migration writes `RELEASE ROLE DB_URL` to the file that is returned.
fn migrating(engine: Engine) -> (App, std::path::PathBuf) {
    let mut app = App::new(engine, "migrate");
    let (here, there) = app.share();
    app.variable("MIGRATE_FILE", &format!("{there}/migrated"))
        .variable("DB_URL", "db-live");
    limit(&mut app, "60s");
    (app, here.join("migrated"))
}

fn limit(app: &mut App, timeout: &str) {
    let command = app.words("migrate");
    app.policy(
        "migrate",
        &format!("{{ command: {command}, timeout: {timeout} }}"),
    );
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Nothing of a migration is left; only the live instance runs.
fn assert_only_live(machine: &Machine, app: &App) {
    let label = format!("label=baton.app={}", app.name());
    let once = docker(&[
        "ps",
        "-aq",
        "--filter",
        &label,
        "--filter",
        "label=baton.once",
    ]);
    assert_eq!(once, "", "containers of a migration");
    let running = match app.engine() {
        Engine::Docker => docker(&["ps", "-q", "--filter", &label])
            .split_whitespace()
            .count(),
        Engine::Process => processes::of_app(app.name(), None).len(),
    };
    assert_eq!(running, 1, "{}", machine.app_status(app));
}

fn once_a_release(engine: Engine) {
    let machine = Machine::start();
    let (mut app, file) = migrating(engine);
    let first = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(first.code, 0, "{first}\n{}", machine.log());
    let at = |text: &str| {
        first
            .stdout
            .find(text)
            .unwrap_or_else(|| panic!("no {text}: {first}"))
    };
    // Its output is passed on while it runs, and it has ended before the release starts.
    assert!(at("migrating: step 1 of 3") < at("migrating: step 3 of 3"));
    let started = first.lines().iter().position(|line| {
        let text = line.to_string();
        text.contains("\"start\"") && !text.contains("\"plan\"")
    });
    let migrated = first
        .lines()
        .iter()
        .position(|line| line.to_string().contains("migrating: step 3 of 3"));
    assert!(migrated.is_some() && migrated < started, "{first}");
    assert_eq!(lines(&file), ["r1 live db-live"]);

    // The same release again is nothing to do, another one migrates, a rollback does not.
    machine.deploy(&app, &[]);
    assert_eq!(lines(&file).len(), 1);
    app.version("v2");
    machine.deploy(&app, &["--wait", "drained"]);
    let both = ["r1 live db-live", "r2 live db-live"];
    assert_eq!(lines(&file), both);
    let back = machine.baton(&app, &["rollback", "--json", "--wait", "drained"]);
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(machine.answering_release(&app), "r1");
    assert_eq!(lines(&file), both);
    assert_only_live(&machine, &app);
}

fn failing(engine: Engine) {
    let machine = Machine::start();
    let (mut app, file) = migrating(engine);
    machine.deploy(&app, &[]);
    let live = machine.get(app.host(), "/").2;

    app.version("v2").variable("MIGRATE_CODE", "9");
    let failed = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(failed.code, 3, "{failed}");
    let result = failed.result();
    let message = result["message"].as_str().unwrap();
    for part in [
        "migration of api failed: exit code 9",
        "the schema may be half changed",
        "r1 (blue) is untouched",
        "`baton deploy` again",
    ] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }
    let log = result["failure"]["log"].to_string();
    assert!(log.contains("migrating: told to fail with 9"), "{log}");
    assert_eq!(machine.get(app.host(), "/").2, live, "live is untouched");
    assert_only_live(&machine, &app);

    // Mended, and it runs once more.
    app.without_variable("MIGRATE_CODE");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(lines(&file).len(), 3);
    let live = machine.get(app.host(), "/").2;

    limit(&mut app, "3s");
    app.version("v3").variable("MIGRATE_MS", "600000");
    let failed = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(failed.code, 3, "{failed}");
    let message = failed.result()["message"].to_string();
    assert!(message.contains("was ended after 3 s"), "{message}");
    assert_eq!(machine.get(app.host(), "/").2, live, "live is untouched");
    assert_only_live(&machine, &app);
}

fn cut_off(engine: Engine) {
    let mut machine = Machine::start();
    let (mut app, file) = migrating(engine);
    machine.deploy(&app, &[]);
    let live = machine.get(app.host(), "/").2;
    app.version("v2").variable("MIGRATE_MS", "600000");
    let running = |count: usize| {
        wait_for("the migration to run", PATIENCE, || {
            (lines(&file).len() == count).then_some(())
        });
    };

    // Killed in the middle: the next daemon ends it, and takes the deploy back.
    let deploy = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    running(2);
    machine.kill();
    machine.up();
    assert_eq!(machine.get(app.host(), "/").2, live);
    wait_for("the deploy to be taken back", PATIENCE, || {
        machine.app_status(&app)["deploy"].is_null().then_some(())
    });
    assert_only_live(&machine, &app);
    let ended = deploy.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0));

    // Cancelled: the same.
    let deploy = machine
        .app_command(&app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    running(3);
    let cancel = machine.baton(&app, &["cancel"]);
    assert_eq!(cancel.code, 0, "{cancel}");
    let ended = crate::kit::Ran::from(deploy.wait_with_output().unwrap());
    assert_ne!(ended.code, 0, "{ended}");
    assert!(ended.stdout.contains("half changed"), "{ended}");
    assert_eq!(machine.get(app.host(), "/").2, live);
    assert_only_live(&machine, &app);
}

#[test]
fn container_migration_runs_once_a_release() {
    once_a_release(Engine::Docker);
}

#[test]
fn process_migration_runs_once_a_release() {
    once_a_release(Engine::Process);
}

#[test]
fn failing_container_migration_leaves_the_old_release_alone() {
    failing(Engine::Docker);
}

#[test]
fn failing_process_migration_leaves_the_old_release_alone() {
    failing(Engine::Process);
}

#[test]
fn container_migration_that_is_cut_off_leaves_nothing() {
    cut_off(Engine::Docker);
}

#[test]
fn process_migration_that_is_cut_off_leaves_nothing() {
    cut_off(Engine::Process);
}
