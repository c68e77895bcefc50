//! The test server in the idle color: staged beside the live release, with an environment of its own;
//! promoted as the same image with the live environment; away while a deploy needs its place.

use serde_json::Value;

use crate::kit::app::{docker, image as docker_image};
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

/// An image of its own for each version, with another ID.
fn release(app: &mut App, version: &str) {
    app.version(version);
    if app.engine() == Engine::Process {
        return;
    }
    let name = format!("{}:{version}", app.name());
    let from = format!("FROM {}\nLABEL version={version}\n", docker_image());
    app.write_file("Dockerfile", &from);
    let built = std::process::Command::new("docker")
        .env("DOCKER_BUILDKIT", "0")
        .args(["build", "--quiet", "--tag", &name])
        .arg(app.folder())
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let text = app.compose();
    app.write_file("compose.yaml", &text.replace(docker_image(), &name));
}

/// Takes the images away again, once nothing runs them.
struct Images(String);

impl Drop for Images {
    fn drop(&mut self) {
        for version in ["v1", "v2", "v3"] {
            docker(&["rmi", "--force", &format!("{}:{version}", self.0)]);
        }
    }
}

fn life(engine: Engine) {
    let mut app = previewed(engine);
    let _images = (engine == Engine::Docker).then(|| Images(app.name().to_owned()));
    let machine = Machine::start();
    release(&mut app, "v1");
    machine.deploy(&app, &[]);
    let nothing_is_staged = || {
        let (status, _, page) = machine.get(PREVIEW, "/");
        assert_eq!(status, 503, "{page}");
        assert!(
            page.contains("Nothing is staged") && page.contains("baton stage"),
            "{page}"
        );
    };
    nothing_is_staged();

    // Both side by side, each with its own.
    release(&mut app, "v2");
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}\n{}", machine.log());
    let message = staged.result()["message"].to_string();
    assert!(message.contains(PREVIEW), "{message}");
    assert_eq!(who(&machine, app.host()), three("v1", "live", "db-live"));
    assert_eq!(who(&machine, PREVIEW), three("v2", "preview", "db-test"));
    assert_eq!(machine.role(&app, "green"), "preview");
    let tested = image(&machine, &app, "green");

    // A deploy takes its place, and gives it back.
    release(&mut app, "v3");
    machine.deploy(&app, &["--wait", "drained"]);
    assert_eq!(who(&machine, app.host()), three("v3", "live", "db-live"));
    wait_for("the preview to come back", PATIENCE, || {
        (who(&machine, PREVIEW) == three("v2", "preview", "db-test")).then_some(())
    });
    assert_eq!(machine.role(&app, "blue"), "preview");
    let other = image(&machine, &app, "green");

    // The same image, with the live environment of today: the file says v3 by now.
    let promoted = machine.baton(&app, &["promote", "--json", "--wait", "drained"]);
    assert_eq!(promoted.code, 0, "{promoted}\n{}", machine.log());
    assert_eq!(who(&machine, app.host()), three("v3", "live", "db-live"));
    let live = image(&machine, &app, &machine.live(&app));
    assert_eq!(live, tested);
    if engine == Engine::Docker {
        assert_ne!(live, other, "each version has an image of its own");
    }
    nothing_is_staged();
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
    let own = |environment: &str| {
        format!("{{ hosts: [{PREVIEW}], environment: {{ DB_URL: db-test{environment} }} }}")
    };
    for environment in ["", ", REDIS_STREAM_KEY: orders, REDIS_CONSUMER_GROUP: api"] {
        app.policy("preview", &own(environment));
        for command in ["stage", "deploy"] {
            let refused = machine.baton(&app, &[command, "--json"]);
            assert_eq!(refused.code, 2, "{refused}");
            let message = refused.result()["message"].to_string();
            assert!(
                message.contains("x-baton.preview") && message.contains("take messages from it"),
                "{message}"
            );
        }
    }

    // With a stream of its own it may.
    app.policy(
        "preview",
        &own(", REDIS_STREAM_KEY: orders-preview, REDIS_CONSUMER_GROUP: preview"),
    );
    machine.deploy(&app, &[]);
    app.version("v2");
    let staged = machine.baton(&app, &["stage", "--json"]);
    assert_eq!(staged.code, 0, "{staged}");
    assert_eq!(who(&machine, PREVIEW), three("v2", "preview", "db-test"));
}
