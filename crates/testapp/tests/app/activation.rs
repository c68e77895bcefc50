//! The job of `/internal/active`.

use testapp::ticks::verify_ticks;

use crate::kit::{App, wait_for};

const ACTIVE: &str = "/internal/active";

fn state(app: &App) -> serde_json::Value {
    serde_json::from_str(&app.ask("GET", ACTIVE, "").1).unwrap()
}

#[test]
fn the_job_ticks_only_while_it_is_active() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticks");
    let app = App::start(&[
        ("TICK_FILE", file.to_str().unwrap()),
        ("TICK_RUN_MS", "30"),
        ("BATON_RELEASE", "r7"),
        ("BATON_COLOR", "green"),
    ]);
    assert_eq!(state(&app)["active"], false);
    assert_eq!(app.ask("POST", ACTIVE, r#"{"active":true}"#).0, 200);
    wait_for("ticks", || {
        (state(&app)["ticks"].as_u64() >= Some(2)).then_some(())
    });
    let (status, body) = app.ask("POST", ACTIVE, r#"{"active":false}"#);
    let told: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &told["active"], &told["running"]),
        (200, &false.into(), &false.into())
    );

    let ticks = verify_ticks(&file).unwrap();
    assert_eq!(Some(ticks.ticks), told["ticks"].as_u64());
    assert_eq!((ticks.unfinished, ticks.by_release["r7"]), (0, ticks.ticks));
    assert_eq!(ticks.turns[0].color, "green");
}

#[test]
fn the_answer_to_false_waits_for_the_running_tick() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ticks");
    let app = App::start(&[
        ("TICK_FILE", file.to_str().unwrap()),
        ("TICK_RUN_MS", "400"),
    ]);
    app.ask("POST", ACTIVE, r#"{"active":true}"#);
    wait_for("a running tick", || {
        (state(&app)["running"] == true).then_some(())
    });
    assert_eq!(app.ask("POST", ACTIVE, r#"{"active":false}"#).0, 200);
    let ticks = verify_ticks(&file).unwrap();
    assert_eq!(ticks.unfinished, 0, "{ticks:?}");
    assert!(ticks.ticks > 0);
}

#[test]
fn what_is_no_order_is_refused() {
    let app = App::start(&[]);
    assert_eq!(app.ask("POST", ACTIVE, "on").0, 400);
    assert_eq!(state(&app)["active"], false);
}
