//! `baton check`: mistakes with file, key and what was expected; what a deploy would do; and what is
//! left open without a daemon.

use crate::kit::Stage;

#[test]
fn mistakes_are_exit_2_with_the_key() {
    let stage = Stage::bare();
    stage.write_policy(&[], "hosts: [\"*\"]\n      drain: { requests: \"30\" }");
    let said = stage.baton(&["check"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err
            .contains("compose.yaml: services.api.x-baton.drain.requests: expected a duration"),
        "{}",
        said.err
    );

    stage.write_policy(&[], "host: [\"*\"]");
    let said = stage.baton(&["deploy", "--json"]);
    assert_eq!(said.code, 2, "{said:?}");
    let result = said.result();
    assert_eq!(result["exit_code"], 2);
    assert!(
        result["message"].as_str().unwrap().contains("hosts"),
        "{result}"
    );
}

#[test]
fn without_a_daemon_the_files_are_still_checked() {
    let stage = Stage::bare();
    stage.write(&[]);
    let said = stage.ok(&["check"]);
    assert!(
        said.out.contains("shop: the files are valid"),
        "{}",
        said.out
    );
    assert!(said.out.contains("were not checked"), "{}", said.out);
    let result = stage.ok(&["check", "--json"]).result();
    assert!(
        result["unchecked"].as_str().unwrap().contains("no daemon"),
        "{result}"
    );
}

#[test]
fn with_a_daemon_the_plan_is_shown_and_nothing_is_run() {
    let stage = Stage::start();
    stage.write(&[]);
    for arguments in [&["check"][..], &["deploy", "--dry-run"]] {
        let said = stage.ok(arguments);
        assert!(said.out.contains("preflight → "), "{}", said.out);
        assert!(said.out.contains("memory"), "{}", said.out);
    }
    assert!(stage.ok(&["status"]).out.contains("no app yet"));
    let said = stage.ok(&["check", "--json"]);
    assert_eq!(said.lines()[0]["event"], "check", "{}", said.out);
    assert_eq!(said.result()["ok"], true);
}

#[test]
fn no_compose_file_is_said() {
    let stage = Stage::bare();
    let said = stage.baton(&["check"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("no compose file"), "{}", said.err);
}
