//! An app's environment goes to its instances and nowhere else.

use crate::kit::Stage;

#[test]
fn no_command_shows_a_value_of_the_environment() {
    const SECRET: &str = "correct-horse-battery-staple";
    let stage = Stage::start();
    stage.write(&[("VERSION", "one"), ("DB_PASSWORD", SECRET)]);
    for arguments in [
        &["check"][..],
        &["check", "--json"],
        &["deploy", "--dry-run"],
        &["deploy", "--json"],
        &["status", "--json"],
        &["releases", "--json"],
        &["receipts", "--json"],
        &["events", "--json"],
        &["logs", "--json"],
        &["rollback", "--json"],
    ] {
        let said = stage.baton(arguments);
        assert!(!said.out.contains(SECRET), "{arguments:?}: {}", said.out);
        assert!(!said.err.contains(SECRET), "{arguments:?}: {}", said.err);
    }
    assert!(stage.get("/env?name=DB_PASSWORD").contains(SECRET));
    assert!(!stage.log().contains(SECRET));
    // Not even when the release fails.
    stage.write(&[("CRASH_AT_START", "3"), ("DB_PASSWORD", SECRET)]);
    let said = stage.baton(&["deploy", "--json"]);
    assert_eq!(said.code, 3);
    assert!(
        !said.out.contains(SECRET) && !said.err.contains(SECRET),
        "{said:?}"
    );
}
