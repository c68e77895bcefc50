//! Starts, ends, OOM kills and the loss of the engine itself are told as they happen.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use baton_compose::Color;
use baton_engine::{DockerEngine, Engine, EngineEvent, Instance};
use serde_json::{Value, json};
use support::{PATIENCE, TestApp, answers, docker, event_of, get};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout};

async fn one(app: &TestApp, definition: Value) -> Instance {
    let rendering = app.rendering(Color::Blue, &[("api", definition)]);
    let mut started = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect("a start");
    started.remove(0)
}

async fn exit_of(
    events: &mut broadcast::Receiver<EngineEvent>,
    instance: &Instance,
) -> baton_engine::Exit {
    loop {
        if let EngineEvent::Exited { exit, slot, .. } = event_of(events, &instance.id).await {
            assert_eq!(slot, instance.slot);
            return exit;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_told_with_its_code_and_a_start_after_it() {
    let app = TestApp::new("exit");
    let mut events = app.engine.events();
    let instance = one(&app, json!({"port": 8080})).await;
    let started = event_of(&mut events, &instance.id).await;
    assert!(matches!(
        started,
        EngineEvent::Started { slot: Some(_), .. }
    ));
    let address = answers(&instance).await;
    // The answer may be cut off by the exit.
    let _ = get(&address, "/exit?code=3").await;
    let exit = exit_of(&mut events, &instance).await;
    assert_eq!((exit.code, exit.oom_killed), (Some(3), false));
    app.engine.restart(&instance.id).await.expect("restart");
    let started = event_of(&mut events, &instance.id).await;
    assert!(matches!(started, EngineEvent::Started { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_is_told_apart_from_memory_that_ran_out() {
    let app = TestApp::new("oom");
    let mut events = app.engine.events();
    let instance = one(
        &app,
        json!({"port": 8080, "mem_limit": "64m", "memswap_limit": "64m"}),
    )
    .await;
    let address = answers(&instance).await;
    let before = Instant::now();
    docker(&["kill", "-s", "KILL", &instance.id.0]);
    let exit = exit_of(&mut events, &instance).await;
    assert_eq!((exit.code, exit.oom_killed), (Some(137), false));
    assert!(before.elapsed() < Duration::from_secs(2), "told at once");

    let instance = app.engine.restart(&instance.id).await.expect("restart");
    assert_eq!(
        answers(&instance).await.split(':').next(),
        address.split(':').next()
    );
    let _ = get(&answers(&instance).await, "/hog?mb=200").await;
    let exit = exit_of(&mut events, &instance).await;
    assert_eq!((exit.code, exit.oom_killed), (Some(137), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_containers_of_known_apps_are_told_of_too() {
    let app = TestApp::new("plain");
    let file = json!({"services": {"job": {"image": app.image, "command": ["worker"]}}});
    app.engine
        .plain_instances(&app.name, "job")
        .await
        .expect("a list");
    let mut events = app.engine.events();
    app.compose(&file, &["up", "-d"]);
    let found = app
        .engine
        .plain_instances(&app.name, "job")
        .await
        .expect("a list");
    let started = event_of(&mut events, &found[0].id).await;
    assert!(matches!(started, EngineEvent::Started { slot: None, .. }));
    docker(&["stop", "-t", "5", &found[0].id.0]);
    let exited = event_of(&mut events, &found[0].id).await;
    assert!(matches!(exited, EngineEvent::Exited { slot: None, .. }));
}

/// The engine's socket behind one that can be taken away.
struct Door {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    fn open(path: PathBuf) -> Door {
        let listener = UnixListener::bind(&path).expect("a socket");
        let task = tokio::spawn(async move {
            let mut through = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                through.spawn(async move {
                    let mut far = UnixStream::connect("/var/run/docker.sock")
                        .await
                        .expect("docker");
                    // Either side may hang up.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Door { path, task }
    }

    /// Every connection ends, as when the engine stops.
    async fn shut(self) -> PathBuf {
        self.task.abort();
        let _ = self.task.await;
        std::fs::remove_file(&self.path).expect("the socket's file");
        self.path
    }
}

async fn wait_for(events: &mut broadcast::Receiver<EngineEvent>, wanted: &EngineEvent) {
    let wait = async { while events.recv().await.expect("an event") != *wanted {} };
    timeout(PATIENCE, wait).await.expect("the event in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_and_comes_back_is_told_once_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("docker.sock");
    let app = TestApp::new("lost");
    let instance = one(&app, json!({"port": 8080})).await;
    let door = Door::open(path.clone());
    let engine = DockerEngine::at(format!("unix://{}", path.display()));
    let mut events = engine.events();
    engine.check().await.expect("an engine");
    // A stop and start seen through the door: the events are being followed.
    docker(&["kill", &instance.id.0]);
    assert!(matches!(
        event_of(&mut events, &instance.id).await,
        EngineEvent::Exited { .. }
    ));

    let path = door.shut().await;
    wait_for(&mut events, &EngineEvent::Lost).await;
    // What happens meanwhile is told afterwards, and nothing twice.
    docker(&["start", &instance.id.0]);
    docker(&["kill", &instance.id.0]);
    let error = engine.check().await.expect_err("no engine");
    assert!(
        error.to_string().contains("systemctl start docker"),
        "{error}"
    );
    let _door = Door::open(path);
    wait_for(&mut events, &EngineEvent::Back).await;
    engine.check().await.expect("an engine");
    let missed = event_of(&mut events, &instance.id).await;
    assert!(matches!(missed, EngineEvent::Started { .. }), "{missed:?}");
    let missed = event_of(&mut events, &instance.id).await;
    assert!(matches!(missed, EngineEvent::Exited { .. }), "{missed:?}");
    engine.restart(&instance.id).await.expect("restart");
    assert!(matches!(
        event_of(&mut events, &instance.id).await,
        EngineEvent::Started { .. }
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_an_error_and_not_a_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("docker.sock");
    // Accepted by the kernel, never answered.
    let _hung = UnixListener::bind(&path).expect("a socket");
    let engine = DockerEngine::at(format!("unix://{}", path.display()));
    let check = timeout(PATIENCE, engine.check()).await.expect("an end");
    let error = check.expect_err("no answer").to_string();
    assert!(error.contains("no answer in time"), "{error}");
}
