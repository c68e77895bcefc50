//! Usage, logs and healthchecks of a running instance; images for the command line.

mod support;

use std::time::Duration;

use baton_compose::Color;
use baton_compose::project::Image;
use baton_engine::docker::fetch::{self, Build};
use baton_engine::{Engine, EngineError};
use serde_json::json;
use support::{PATIENCE, TestApp, answers, docker, eventually, get};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_cpu_are_measured() {
    let app = TestApp::new("usage");
    let rendering = app.rendering(
        Color::Blue,
        &[("api", json!({"port": 8080, "mem_limit": "300m"}))],
    );
    let instance = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect("a start")
        .remove(0);
    let address = answers(&instance).await;
    let before = app.engine.usage(&instance.id).await.expect("usage");
    assert_eq!(before.memory_limit_bytes, Some(300 << 20));
    assert!(
        before.memory_bytes > 0 && before.memory_bytes < 100 << 20,
        "{before:?}"
    );
    assert!(before.memory_peak_bytes.expect("a peak") >= before.memory_bytes);
    get(&address, "/hog?mb=64").await.expect("an answer");
    let after = app.engine.usage(&instance.id).await.expect("usage");
    assert!(
        after.memory_bytes >= before.memory_bytes + (60 << 20),
        "{before:?} {after:?}"
    );
    assert!(after.cpu > Duration::ZERO && after.cpu >= before.cpu);
    app.engine.stop(&instance.id).await.expect("stop");
    let stopped = app.engine.usage(&instance.id).await.expect("usage");
    assert_eq!(stopped.memory_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_are_read_and_new_ones_followed() {
    let app = TestApp::new("logs");
    let rendering = app.rendering(Color::Blue, &[("job", json!({"command": ["worker"]}))]);
    let instance = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect("a start")
        .remove(0);
    let mut following = app.engine.logs(&instance.id, 0, true).await.expect("logs");
    for _ in 0..3 {
        let line = timeout(PATIENCE, following.recv())
            .await
            .expect("in time")
            .expect("a line");
        assert_eq!((line.service.as_str(), line.replica), ("job", 1));
        assert!(line.text.contains("tick") && line.at.is_some(), "{line:?}");
    }
    drop(following);
    eventually("five lines", || async {
        let mut tail = app.engine.logs(&instance.id, 5, false).await.expect("logs");
        let mut lines = 0;
        while let Some(line) = timeout(PATIENCE, tail.recv()).await.expect("an end") {
            assert!(!line.text.ends_with('\n'));
            lines += 1;
        }
        lines == 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_own_healthcheck_is_run_at_once() {
    let app = TestApp::new("health");
    let check =
        |url: &str| json!({"test": ["CMD", "/testapp", "healthcheck", url], "interval": "1h"});
    let good = check("http://127.0.0.1:8080/healthz");
    let bad = check("http://127.0.0.1:8080/status?code=503");
    let services = [
        ("good", json!({"port": 8080, "healthcheck": good})),
        ("bad", json!({"port": 8080, "healthcheck": bad})),
        (
            "hang",
            json!({"port": 8080, "healthcheck": check("http://127.0.0.1:8080/slow?ms=60000")}),
        ),
        (
            "missing",
            json!({"port": 8080, "healthcheck": {"test": ["CMD", "/nope"]}}),
        ),
        ("none", json!({"port": 8080})),
    ];
    let rendering = app.rendering(Color::Blue, &services);
    let instances = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect("a start");
    let limit = Duration::from_secs(5);
    for instance in &instances {
        answers(instance).await;
        let limit = if instance.service == "hang" {
            Duration::from_millis(300)
        } else {
            limit
        };
        let result = app
            .engine
            .healthcheck(&instance.id, limit)
            .await
            .expect("a check");
        match instance.service.as_str() {
            "none" => assert_eq!(result, None),
            "good" => assert!(result.as_ref().expect("a result").healthy, "{result:?}"),
            "bad" => {
                let result = result.expect("a result");
                assert!(
                    !result.healthy && result.output.contains("503"),
                    "{result:?}"
                );
            }
            "hang" => assert!(
                result
                    .expect("a result")
                    .output
                    .contains("no result after 300 ms")
            ),
            _ => assert!(!result.expect("a result").healthy),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_image_needs_no_registry_and_a_build_is_shown_live() {
    let app = TestApp::new("fetch");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("compose.yaml");
    let build = Build {
        project: app.name.as_str(),
        directory: folder.path(),
        files: std::slice::from_ref(&file),
        env_files: &[],
    };
    let mut lines = Vec::new();
    let mut on_line = |line: &str| lines.push(line.to_owned());
    for policy in [None, Some("missing"), Some("never")] {
        let image = Image {
            reference: app.image.clone(),
            build: false,
            pull_policy: policy.map(str::to_owned),
        };
        let fetched = fetch::fetch("api", &image, build, &mut on_line)
            .await
            .expect("it is here");
        assert!(fetched.id.starts_with("sha256:"));
        assert_eq!(fetched.repo_digest, None);
    }
    let unknown = Image {
        reference: "baton-test/unknown:1".to_owned(),
        build: false,
        pull_policy: Some("never".to_owned()),
    };
    let error = fetch::fetch("api", &unknown, build, &mut on_line)
        .await
        .expect_err("not here");
    assert!(matches!(error, EngineError::ImageGone { .. }), "{error}");

    std::fs::write(
        folder.path().join("Dockerfile"),
        format!("FROM {}\nENV BUILT=1\n", app.image),
    )
    .expect("a file");
    let reference = format!("{}-api", app.name);
    std::fs::write(
        &file,
        format!("services:\n  api:\n    build: .\n    image: {reference}\n"),
    )
    .expect("a file");
    let built = Image {
        reference: reference.clone(),
        build: true,
        pull_policy: None,
    };
    let fetched = fetch::fetch("api", &built, build, &mut on_line).await;
    docker(&["image", "rm", &reference]);
    let fetched = fetched.expect("a build");
    assert_eq!(fetched.reference, reference);
    assert!(lines.iter().any(|line| line.contains("FROM")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_images_are_pruned_but_never_one_that_a_container_holds() {
    let app = TestApp::new("prune");
    for release in 1..=7 {
        // An image of its own for each release.
        let image = format!("baton/{}-api:r{release}", app.name);
        let made = docker(&[
            "create",
            "--label",
            &format!("baton.app={}", app.name),
            &app.image,
        ]);
        docker(&[
            "commit",
            "--change",
            &format!("ENV RELEASE={release}"),
            &made,
            &image,
        ]);
        docker(&["rm", &made]);
    }
    let held = docker(&[
        "create",
        "--label",
        &format!("baton.app={}", app.name),
        &format!("baton/{}-api:r1", app.name),
    ]);
    assert!(!held.is_empty());
    let pruned = app
        .engine
        .prune_images(&app.name, "api", &[3, 4, 5, 6, 7])
        .await
        .expect("a prune");
    assert_eq!(pruned, [format!("baton/{}-api:r2", app.name)]);
    let again = app
        .engine
        .prune_images(&app.name, "api", &[3, 4, 5, 6, 7])
        .await
        .expect("a prune");
    assert!(again.is_empty());
    let filter = format!("reference=baton/{}-api", app.name);
    assert_eq!(
        docker(&["image", "ls", "-q", "--filter", &filter])
            .lines()
            .count(),
        6
    );
}
