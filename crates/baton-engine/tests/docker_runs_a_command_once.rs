//! A command that runs to its end in a release's image is no instance, and nothing of it is left.

mod support;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use baton_compose::rendering::Rendering;
use baton_compose::{Color, Role};
use baton_engine::{DockerEngine, Engine, EngineError, Once, OnceResult};
use serde_json::{Value, json};
use support::{PATIENCE, TestApp, docker, eventually};

/// Runs `command` in `api` of green, as release 7.
async fn run(
    (app, engine): (&TestApp, &DockerEngine),
    rendering: &Rendering,
    command: &[&str],
    timeout: Duration,
    line: &(dyn Fn(String) + Send + Sync),
) -> Result<OnceResult, EngineError> {
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let slot = app.slot(Color::Green);
    let once = Once {
        slot: &slot,
        release: 7,
        role: Role::Live,
        rendering,
        service: "api",
        command: &command,
        timeout,
    };
    engine.run_once(once, line).await
}

/// Ids of what was started for it, running or not.
fn containers(app: &TestApp) -> Vec<String> {
    let of_app = format!("label=baton.app={}", app.name);
    let found = docker(&[
        "ps",
        "-aq",
        "--no-trunc",
        "--filter",
        &of_app,
        "--filter",
        "label=baton.once",
    ]);
    found.split_whitespace().map(str::to_owned).collect()
}

fn api(environment: Value) -> Value {
    json!({"port": 8080, "environment": environment})
}

#[tokio::test(flavor = "multi_thread")]
async fn it_runs_as_its_service_would_and_its_lines_come_as_they_are_written() {
    let app = TestApp::new("once");
    let folder = tempfile::tempdir().expect("a folder");
    let writable = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(folder.path(), writable).expect("writable");
    let definition = json!({
        "port": 8080, "user": "12345:12345", "restart": "always", "scale": 3,
        "environment": {"DB_URL": "mysql://$$db", "MIGRATE_FILE": "/data/migrated",
            "MIGRATE_MS": "300", "BATON_RELEASE": "r7", "BATON_ROLE": "live"},
        "volumes": [format!("{}:/data", folder.path().display())],
    });
    let rendering = app.rendering(Color::Green, &[("api", definition), ("job", json!({}))]);
    let lines = Mutex::new(Vec::new());
    let running_at_first = Mutex::new(None);
    let result = run(
        (&app, &app.engine),
        &rendering,
        &["/testapp", "migrate"],
        PATIENCE,
        &|line| {
            let mut running = running_at_first.lock().expect("not poisoned");
            running.get_or_insert_with(|| containers(&app));
            lines.lock().expect("not poisoned").push(line);
        },
    )
    .await
    .expect("a result");
    let lines = lines.into_inner().expect("not poisoned");
    let wanted: Vec<String> = (1..=3)
        .map(|n| format!("migrating: step {n} of 3"))
        .collect();
    assert_eq!(lines, wanted);
    assert_eq!((result.exit.code, result.timed_out), (Some(0), false));
    assert_eq!(result.log, lines);
    let running = running_at_first.into_inner().expect("not poisoned");
    assert_eq!(
        running.map(|found| found.len()),
        Some(1),
        "told while it ran"
    );
    let file = folder.path().join("migrated");
    let written = std::fs::read_to_string(&file).expect("written");
    assert_eq!(written, "r7 live mysql://$db\n");
    assert_eq!(
        std::os::unix::fs::MetadataExt::uid(&file.metadata().expect("there")),
        12345
    );
    assert_eq!(containers(&app), [""; 0]);
    let networks = docker(&["network", "ls", "--format", "{{.Name}}"]);
    let made = format!("{}-green-once", app.name);
    assert!(!networks.contains(&made), "{networks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_it_failed_is_told_with_its_last_lines() {
    let app = TestApp::new("oncefail");
    let environment = json!({"MIGRATE_LINES": "40", "MIGRATE_CODE": "3"});
    let rendering = app.rendering(Color::Green, &[("api", api(environment))]);
    let both = (&app, &app.engine);
    let result = run(both, &rendering, &["/testapp", "migrate"], PATIENCE, &drop).await;
    let result = result.expect("a result");
    assert_eq!(result.exit.code, Some(3), "{result:?}");
    assert_eq!(result.log.len(), 30);
    assert!(
        result
            .log
            .contains(&"migrating: told to fail with 3".to_owned())
    );

    let result = run(both, &rendering, &["./nowhere"], PATIENCE, &drop).await;
    let result = result.expect("a result");
    assert_eq!(result.exit.code, Some(127), "{result:?}");
    assert!(result.exit.to_string().contains("nowhere"), "{result:?}");

    let gone = json!({"image": "sha256:".to_owned() + &"0".repeat(64)});
    let rendering = app.rendering(Color::Green, &[("api", gone)]);
    let error = run(both, &rendering, &["/testapp"], PATIENCE, &drop).await;
    let error = error.expect_err("no image").to_string();
    assert!(error.contains("is not on this machine"), "{error}");
    assert_eq!(containers(&app), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_time_is_limited() {
    let app = TestApp::new("oncelong");
    let rendering = app.rendering(
        Color::Green,
        &[("api", api(json!({"MIGRATE_MS": "600000"})))],
    );
    let limit = Duration::from_secs(5);
    let both = (&app, &app.engine);
    let result = run(both, &rendering, &["/testapp", "migrate"], limit, &drop).await;
    let result = result.expect("a result");
    assert!(result.timed_out, "{result:?}");
    // On a busy machine it may not have come so far.
    let first = result.log.first();
    assert!(first.is_none_or(|line| line == "migrating: step 1 of 3"));
    assert_eq!(containers(&app), [""; 0]);
}

/// Starts one that does not end, and leaves it alone once it runs.
async fn left_alone(app: &TestApp, engine: &DockerEngine, rendering: &Rendering) -> String {
    let said = tokio::sync::Notify::new();
    let line = |_: String| said.notify_one();
    let command = ["/testapp", "migrate"];
    tokio::select! {
        result = run((app, engine), rendering, &command, PATIENCE * 10, &line) => panic!("{result:?}"),
        () = said.notified() => {}
    }
    let found = containers(app);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_no_instance_and_a_later_daemon_clears_it() {
    let app = TestApp::new("oncecut");
    let mut definition = api(json!({"MIGRATE_MS": "600000"}));
    definition["secrets"] = json!([{"source": "token", "target": "/token"}]);
    let mut rendering = app.rendering(Color::Green, &[("api", definition)]);
    if let Rendering::Docker(model) = &mut rendering {
        model.model["secrets"] = json!({"token": {"environment": "TOKEN"}});
        model
            .environment
            .insert("TOKEN".to_owned(), "s3cret".to_owned());
    }
    let slot = app.slot(Color::Green);
    let former = DockerEngine::open();
    let mut events = app.engine.events();
    let first = left_alone(&app, &former, &rendering).await;
    let instances = app.engine.instances(&slot).await.expect("a list");
    assert!(instances.is_empty(), "{instances:?}");
    let copied = tempfile::tempdir().expect("a folder");
    let from = format!("{first}:/token");
    docker(&[
        "cp",
        &from,
        &copied.path().join("token").display().to_string(),
    ]);
    assert_eq!(text(&copied.path().join("token")), "s3cret");
    assert_eq!(score(&first), 500);

    // Another run takes the place of one that was cut off, and starts of the slot do not see it.
    let second = left_alone(&app, &former, &rendering).await;
    assert_ne!(first, second);
    app.start(Color::Green, 7, &rendering)
        .await
        .expect("a start");
    assert_eq!(containers(&app), [second]);
    drop(former);
    for _ in 0..2 {
        app.engine.clear_once(&slot).await.expect("cleared");
        assert_eq!(containers(&app), [""; 0]);
    }
    eventually("compose has ended too", || async { composes(&app) == 0 }).await;
    assert_eq!(app.engine.instances(&slot).await.expect("a list").len(), 1);
    left_alone(&app, &app.engine, &rendering).await;
    app.engine.clear(&slot, &[]).await.expect("cleared");
    assert_eq!(containers(&app), [""; 0]);
    while let Ok(event) = events.try_recv() {
        let told = format!("{event:?}");
        assert!(!told.contains(&first), "{told}");
    }
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a file")
}

fn score(container: &str) -> i32 {
    let pid = docker(&["inspect", "--format", "{{.State.Pid}}", container]);
    let score = text(Path::new(&format!("/proc/{pid}/oom_score_adj")));
    score.trim().parse().expect("a number")
}

/// Compose's command lines that run something once in this app.
fn composes(app: &TestApp) -> usize {
    let project = format!("{}-green-once", app.name);
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let lines =
        processes.filter_map(|one| std::fs::read_to_string(one.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&project)).count()
}
