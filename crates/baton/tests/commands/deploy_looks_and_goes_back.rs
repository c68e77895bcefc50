//! The ordinary day: deploy, look, deploy again, go back, take away.

use serde_json::Value;

use crate::kit::Stage;

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn every_command_of_an_ordinary_day() {
    let stage = Stage::start();
    assert!(stage.ok(&["status"]).out.contains("no app yet"));

    stage.write(&[("VERSION", "one")]);
    let first = stage.ok(&["deploy"]);
    assert!(
        first
            .out
            .contains("shop deploy: r1 → blue; nothing is live yet"),
        "{}",
        first.out
    );
    assert!(first.out.contains("✓ switch"), "{}", first.out);
    assert_eq!(stage.version(), "one");
    status_has_its_contract(&stage);

    stage.write(&[("VERSION", "two")]);
    let second = stage.ok(&["deploy", "--json"]);
    let lines = second.lines();
    assert_eq!(lines[0]["event"], "planned", "{}", second.out);
    assert_eq!(lines[0]["plan"]["release"], "r2");
    assert_eq!(lines[0]["plan"]["to"], "green");
    let result = second.result();
    assert_eq!(
        (&result["event"], &result["ok"], &result["exit_code"]),
        (&"result".into(), &true.into(), &0.into()),
        "{result}"
    );
    assert_eq!(stage.version(), "two");

    let again = stage.ok(&["deploy", "--json"]).result();
    assert_eq!(again["ok"], true, "{again}");
    assert!(
        again["message"].as_str().unwrap().contains("nothing to do"),
        "{again}"
    );

    let releases = stage.ok(&["releases", "--json"]).result();
    assert_eq!(releases["releases"][0]["release"], "r2", "{releases}");
    assert_eq!(releases["releases"][0]["role"], "live", "{releases}");
    assert!(stage.ok(&["releases"]).out.contains("green (live)"));

    let back = stage.ok(&["rollback"]);
    assert!(back.out.contains("✓ switch"), "{}", back.out);
    assert_eq!(stage.version(), "one");

    let events = stage.ok(&["events", "--json", "--app", "shop"]);
    assert!(events.lines().len() > 3, "{}", events.out);
    assert_eq!(events.result()["event"], "result");
    assert!(!stage.ok(&["events"]).out.is_empty());
    stage.ok(&["logs", "--tail", "5"]);

    stage.ok(&["pause"]);
    assert_eq!(stage.app()["paused"], true);
    assert!(stage.ok(&["status"]).out.contains("paused"));
    stage.ok(&["resume"]);
    assert_eq!(stage.version(), "one");

    let asked = stage.baton(&["remove"]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.err.contains("--yes"), "{asked:?}");
    let removed = stage.ok(&["remove", "--yes", "--json"]).result();
    assert_eq!(removed["ok"], true);
    assert!(stage.ok(&["status"]).out.contains("no app yet"));
}

/// DESIGN.md §4: names are fixed, new ones may come.
fn status_has_its_contract(stage: &Stage) {
    let status = stage.ok(&["status", "--json"]);
    assert_eq!(status.out.lines().count(), 1, "{}", status.out);
    let app = &status.result()["apps"][0];
    for key in ["name", "strategy", "live", "deploy", "colors"] {
        assert!(keys(app).contains(&key), "{key} is missing: {app}");
    }
    assert_eq!(app["name"], "shop");
    assert_eq!(app["strategy"], "blue-green");
    assert_eq!(app["live"], "blue");
    assert_eq!(app["deploy"], Value::Null);
    let blue = &app["colors"]["blue"];
    for key in ["release", "image", "role", "weight", "instances"] {
        assert!(keys(blue).contains(&key), "{key} is missing: {blue}");
    }
    assert_eq!(blue["role"], "live");
    assert_eq!(blue["release"], "r1");
    assert_eq!(blue["weight"], 100);
    assert_eq!(app["colors"]["green"]["role"], "empty");
    let instance = &blue["instances"][0];
    for key in [
        "id",
        "address",
        "healthy",
        "requests_in_flight",
        "sse",
        "websockets",
        "memory_bytes",
    ] {
        assert!(
            keys(instance).contains(&key),
            "{key} is missing: {instance}"
        );
    }
    assert_eq!(instance["healthy"], true);
    assert!(instance["memory_bytes"].as_u64().unwrap() > 0, "{instance}");
}

#[test]
fn waiting_for_the_drain_ends_with_the_receipt() {
    let stage = Stage::start();
    // Not kept warm, so that the tail ends at once.
    let write = |version| {
        stage.write(&[("VERSION", version)]);
        let file = stage.folder().join("compose.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("keep_warm: 1m", "keep_warm: 0s")).unwrap();
    };
    write("one");
    stage.ok(&["deploy"]);
    write("two");

    let waited = stage.ok(&["deploy", "--wait", "drained"]);
    assert!(waited.out.contains("receipt of deploy"), "{}", waited.out);
    assert!(waited.out.contains("0 failed"), "{}", waited.out);
    let one = stage.ok(&["receipts", "1", "--json"]).result();
    assert_eq!(one["receipts"][0]["release"], "r2", "{one}");
    assert!(
        stage
            .ok(&["receipts", "1"])
            .out
            .contains("r2 on green, after r1")
    );
    assert!(stage.ok(&["receipts"]).out.contains("DEPLOY"));
}
