//! A release that ends at start: exit code 3, what is known of it, and the old one untouched.

use crate::kit::Stage;

#[test]
fn a_crash_at_start() {
    let stage = Stage::start();
    stage.write(&[("VERSION", "one")]);
    stage.ok(&["deploy"]);
    stage.write(&[("VERSION", "two"), ("CRASH_AT_START", "7")]);

    let said = stage.baton(&["deploy"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("exit code 7"), "{}", said.out);
    assert!(said.out.contains("log"), "{}", said.out);
    assert_eq!(stage.version(), "one");

    let said = stage.baton(&["deploy", "--json"]);
    assert_eq!(said.code, 3, "{said:?}");
    let result = said.result();
    assert_eq!(result["event"], "result", "{result}");
    assert_eq!(result["ok"], false);
    assert_eq!(result["exit_code"], 3);
    assert_eq!(result["failure"]["exit_code"], 7, "{result}");
    assert!(!said.err.is_empty(), "a person reads standard error");

    let app = stage.app();
    assert_eq!(app["live"], "blue");
    assert_eq!(app["colors"]["green"]["role"], "empty", "{app}");
    assert_eq!(app["deploy"], serde_json::Value::Null);
}

#[test]
fn one_that_never_gets_healthy_shows_its_probes() {
    let stage = Stage::start();
    stage.write(&[("HEALTH_FAIL", "1")]);
    let file = stage.folder().join("compose.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("interval: 50ms", "interval: 50ms, startup_timeout: 3s");
    std::fs::write(&file, text).unwrap();

    let said = stage.baton(&["deploy"]);
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.out.contains("probes"), "{}", said.out);
    assert!(said.out.contains("503"), "{}", said.out);
}
