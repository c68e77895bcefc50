//! `testapp migrate`

use std::process::{Command, Stdio};

use crate::kit::{end_of, testapp, wait_for};

fn migrate(variables: &[(&str, &str)]) -> Command {
    let mut command = testapp(variables);
    command.arg("migrate");
    command
}

#[test]
fn a_migration_tells_who_it_was_for_and_ends_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migrated");
    let path = file.to_str().unwrap();
    let output = migrate(&[
        ("MIGRATE_FILE", path),
        ("MIGRATE_LINES", "2"),
        ("MIGRATE_CODE", "4"),
        ("BATON_RELEASE", "r3"),
        ("BATON_ROLE", "preview"),
        ("DB_URL", "mysql://db/test"),
    ])
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "migrating: step 1 of 2\nmigrating: step 2 of 2\n");
    assert!(
        migrate(&[("MIGRATE_FILE", path)])
            .status()
            .unwrap()
            .success()
    );
    let lines = std::fs::read_to_string(&file).unwrap();
    assert_eq!(lines, "r3 preview mysql://db/test\n- - -\n");
}

#[test]
fn a_migration_that_takes_long_can_be_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("migrated");
    let variables = [
        ("MIGRATE_FILE", file.to_str().unwrap()),
        ("MIGRATE_MS", "600000"),
    ];
    let mut child = migrate(&variables).stdout(Stdio::null()).spawn().unwrap();
    wait_for("its line", || file.exists().then_some(()));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(end_of(&mut child).code(), Some(143));
}
