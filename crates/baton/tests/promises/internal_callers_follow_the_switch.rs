//! Another service of the same compose file calls `http://api:8080` without pause: it always reaches
//! the live color, never a candidate, and no call fails.

use std::time::Duration;

use serde_json::Value;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, deploys, wait_for};

/// The tally of the `caller` service, through its own address.
fn calls(app: &App) -> Value {
    let id = crate::kit::app::docker(&[
        "ps",
        "-q",
        "--filter",
        &format!("name={}-caller", app.name()),
    ]);
    let ip = crate::kit::app::docker(&[
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}",
        &id,
    ]);
    let first = ip.split_whitespace().next().unwrap_or_default();
    let address = format!("{first}:8080")
        .parse()
        .unwrap_or_else(|_| panic!("no address of the caller: {ip:?}"));
    let (_, _, body) = crate::kit::machine::get(address, "caller", "/calls").unwrap();
    serde_json::from_str(&body).unwrap()
}

fn write(app: &mut App, version: u64) {
    app.version(&format!("v{version}"));
    write_caller(app, "");
}

/// The file with the caller as its second service; `more`: lines of its definition.
fn write_caller(app: &App, more: &str) {
    let text = app.compose();
    let image = crate::kit::app::image();
    app.write_file(
        "compose.yaml",
        &format!(
            "{text}  caller:\n    image: {image}\n    command: [call, \"http://api:8080/\"]\n{more}"
        ),
    );
}

#[test]
fn internal_caller_reaches_the_live_color_without_a_gap() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "caller");
    // The candidate takes its time, so that a call which strayed there would be seen.
    app.variable("HEALTH_DELAY_MS", "300");
    // The caller keeps a connection for as long as the old color lets it.
    app.policy("drain", "{ requests: 3s }");
    machine.deploy(&app, &[]);
    // The caller comes when the app is live: none of its calls may fail, from the first one on.
    write(&mut app, 1);
    machine.deploy(&app, &[]);
    wait_for("the caller to reach the app", PATIENCE, || {
        (calls(&app)["by_release"]["r1"].as_u64() > Some(20)).then_some(())
    });
    for number in 2..=deploys(20) + 1 {
        write(&mut app, number);
        machine.deploy(&app, &["--wait", "drained"]);
        let release = format!("r{number}");
        wait_for("the caller to reach the new release", PATIENCE, || {
            (calls(&app)["by_release"][&release].as_u64() > Some(5)).then_some(())
        });
        let now = calls(&app);
        assert_eq!(
            now["failed"],
            0,
            "after deploy {number}: {now}\n{}",
            machine.log()
        );
    }
    let after = calls(&app);
    println!(
        "{} deploys, {} internal calls, {} failed",
        deploys(20),
        after["calls"],
        after["failed"]
    );
}

/// While a candidate waits for its health, nobody may get an answer from it.
#[test]
fn candidate_never_answers_internal_calls() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "stray");
    write(&mut app, 1);
    machine.deploy(&app, &[]);
    wait_for("the caller to reach the app", PATIENCE, || {
        (calls(&app)["by_release"]["r1"].as_u64() > Some(20)).then_some(())
    });
    app.variable("HEALTH_FAIL", "1");
    app.policy(
        "health",
        "{ path: /healthz, interval: 100ms, startup_timeout: 4s }",
    );
    write(&mut app, 2);
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 3, "{ran}");
    std::thread::sleep(Duration::from_millis(500));
    let tally = calls(&app);
    assert_eq!(tally["by_release"]["r2"], Value::Null, "{tally}");
}

/// A plain service whose part of the file changed: named with the difference and left alone, then made
/// anew with `--with-deps`. Neither the new one's first call fails, nor any later one.
#[test]
fn caller_that_is_made_anew_reaches_the_live_color_from_its_first_call_on() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Docker, "callnew");
    machine.deploy(&app, &[]);
    write(&mut app, 1);
    machine.deploy(&app, &[]);
    for round in 1..=5 {
        let more = format!("    environment: {{ ROUND: \"{round}\", TOKEN: hush }}\n");
        write_caller(&app, &more);
        let id = |app: &App| {
            let name = format!("name={}-caller", app.name());
            crate::kit::app::docker(&["ps", "-q", "--filter", &name])
        };
        let before = id(&app);
        let ran = machine.baton(&app, &["deploy", "--json"]);
        assert_eq!(ran.code, 0, "{ran}");
        let named = ran.lines()[0].clone();
        assert_eq!(named["service"], "caller", "{ran}");
        let changes = named["changes"].to_string();
        assert!(changes.contains("environment.ROUND"), "{ran}");
        assert!(!ran.stdout.contains("hush"), "{ran}");
        assert_eq!(id(&app), before, "it is left alone");

        machine.deploy(&app, &["--with-deps"]);
        assert_ne!(id(&app), before, "it is made anew");
        wait_for("the caller to reach the app", PATIENCE, || {
            (calls(&app)["by_release"]["r1"].as_u64() > Some(20)).then_some(())
        });
        let now = calls(&app);
        assert_eq!(now["failed"], 0, "round {round}: {now}");
    }
}
