//! The test server in the idle color: staged beside the live release, with an environment of its own;
//! promoted as the same image with the live environment; away while a deploy needs its place.

use serde_json::Value;

use crate::kit::machine::PATIENCE;
use crate::kit::redis::Redis;
use crate::kit::{App, Engine, Machine, wait_for};

const PREVIEW: &str = "test.app.test";

fn previewed(engine: Engine) -> App {
    let mut app = App::new(engine, "preview");
    app.variable("DB_URL", "db-live").policy(
        "preview",
        &format!("{{ hosts: [{PREVIEW}], environment: {{ DB_URL: db-test }} }}"),
    );
    app
}

/// Version, role and database of what answers.
fn who(machine: &Machine, host: &str) -> Option<(String, String, String)> {
    let (status, _, body) = machine.get(host, "/who?env=DB_URL");
    if status != 200 {
        return None;
    }
    let who: Value = serde_json::from_str(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Some((
        text(&who["version"]),
        text(&who["role"]),
        text(&who["env"]["DB_URL"]),
    ))
}

fn three(version: &str, role: &str, database: &str) -> Option<(String, String, String)> {
    Some((version.to_owned(), role.to_owned(), database.to_owned()))
}

fn image(machine: &Machine, app: &App, color: &str) -> String {
    let status = machine.app_status(app);
    let image = status["colors"][color]["image"].as_str();
    image.unwrap_or_default().to_owned()
}

fn life(engine: Engine) {
    let machine = Machine::start();
    let mut app = previewed(engine);
    machine.deploy(&app, &[]);
    let (status, _, page) = machine.get(PREVIEW, "/");
    assert_eq!(status, 503, "{page}");
    assert!(
        page.contains("Nothing is staged") && page.contains("baton stage"),
        "{page}"
    );

    // Both side by side, each with its own.
    app.version("v2");
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}\n{}", machine.log());
    assert!(
        staged.result()["message"].to_string().contains(PREVIEW),
        "{staged}"
    );
    assert_eq!(who(&machine, app.host()), three("v1", "live", "db-live"));
    assert_eq!(who(&machine, PREVIEW), three("v2", "preview", "db-test"));
    assert_eq!(machine.role(&app, "green"), "preview");
    let tested = image(&machine, &app, "green");

    // A deploy takes its place, and gives it back.
    app.version("v3");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(who(&machine, app.host()), three("v3", "live", "db-live"));
    wait_for("the preview to come back", PATIENCE, || {
        (who(&machine, PREVIEW) == three("v2", "preview", "db-test")).then_some(())
    });
    assert_eq!(machine.role(&app, "blue"), "preview");

    // The same image, with the live environment.
    let promoted = machine.baton(&app, &["promote", "--json", "--wait", "drained"]);
    assert_eq!(promoted.code, 0, "{promoted}\n{}", machine.log());
    let (version, role, database) = who(&machine, app.host()).expect("an answer");
    assert_eq!((role.as_str(), database.as_str()), ("live", "db-live"));
    let live = machine.live(&app);
    assert_eq!(image(&machine, &app, &live), tested);
    if engine == Engine::Docker {
        // Today's configuration: the file says v3 by now.
        assert_eq!(version, "v3");
    }
    let (status, _, page) = machine.get(PREVIEW, "/");
    assert_eq!(status, 503, "{page}");
    assert!(page.contains("Nothing is staged"), "{page}");
}

#[test]
fn preview_of_containers_lives_beside_the_live_color() {
    life(Engine::Docker);
}

#[test]
fn preview_of_processes_lives_beside_the_live_color() {
    life(Engine::Process);
}

#[test]
fn preview_that_would_take_live_messages_is_refused() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = previewed(Engine::Process);
    app.orders(&redis, "move");
    // One stream and group for whoever runs.
    app.variable("REDIS_STREAM_KEY", "orders")
        .variable("REDIS_CONSUMER_GROUP", "api");
    machine.deploy(&app, &[]);
    app.version("v2");
    let refused = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(refused.code, 6, "{refused}");
    let message = refused.result()["message"].to_string();
    assert!(
        message.contains("orders") && message.contains("preview"),
        "{message}"
    );
    assert_eq!(machine.role(&app, "green"), "empty");

    // With a stream of its own it may.
    app.policy(
        "preview",
        &format!(
            "{{ hosts: [{PREVIEW}], environment: {{ DB_URL: db-test, REDIS_STREAM_KEY: orders-preview, REDIS_CONSUMER_GROUP: preview }} }}"
        ),
    );
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}");
    assert_eq!(who(&machine, PREVIEW), three("v2", "preview", "db-test"));
}
