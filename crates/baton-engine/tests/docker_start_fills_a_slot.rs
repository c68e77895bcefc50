//! `start` fills a slot, may be repeated, and touches nothing that is not Baton's.

mod support;

use baton_compose::Color;
use baton_compose::rendering::{Rendering, SharedResource};
use baton_engine::{Engine, EngineError, InstanceState};
use serde_json::json;
use support::{TestApp, answers, docker, eventually, get, json_of, look};

#[tokio::test(flavor = "multi_thread")]
async fn a_started_release_is_kept_and_another_one_takes_its_place() {
    let app = TestApp::new("start");
    app.engine.check().await.expect("an engine");
    let service =
        json!({"port": 8080, "scale": 2, "volumes": [{"type": "volume", "target": "/data"}]});
    let rendering = app.rendering(Color::Blue, &[("api", service)]);
    let first = app
        .start(Color::Blue, 3, &rendering)
        .await
        .expect("a start");
    assert_eq!(first.len(), 2);
    for instance in &first {
        let address = answers(instance).await;
        assert_eq!(json_of(&address, "/").await["color"], "blue");
        assert_eq!(instance.release, Some(3));
        assert_eq!(instance.state, InstanceState::Running);
        assert_eq!(
            look(&instance.id, "{{.HostConfig.RestartPolicy.Name}}"),
            "no"
        );
    }
    assert_eq!((first[0].replica, first[1].replica), (1, 2));

    // Again: nothing is made anew. One is killed: only that one is.
    let again = app
        .start(Color::Blue, 3, &rendering)
        .await
        .expect("a start");
    let ids = |instances: &[baton_engine::Instance]| -> Vec<String> {
        instances.iter().map(|i| i.id.0.clone()).collect()
    };
    assert_eq!(ids(&again), ids(&first));
    docker(&["kill", &first[1].id.0]);
    let healed = app
        .start(Color::Blue, 3, &rendering)
        .await
        .expect("a start");
    assert_eq!(healed.len(), 2);
    assert_eq!(healed[0].id, first[0].id);
    assert_ne!(healed[1].id, first[1].id);

    // Another release: everything anew, with volumes of its own.
    let volume = look(&first[0].id, "{{(index .Mounts 0).Name}}");
    assert_ne!(
        docker(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]),
        ""
    );
    let next = app
        .start(Color::Blue, 4, &rendering)
        .await
        .expect("a start");
    assert!(
        next.iter()
            .all(|i| i.release == Some(4) && !ids(&healed).contains(&i.id.0))
    );
    assert_eq!(
        docker(&["volume", "ls", "-q", "--filter", &format!("name={volume}")]),
        ""
    );
    let tag = format!("baton/{}-api:r4", app.name);
    assert_ne!(
        docker(&["image", "inspect", "--format", "{{.Id}}", &tag]),
        ""
    );

    app.engine
        .clear(&app.slot(Color::Blue), &[])
        .await
        .expect("clear");
    app.engine
        .clear(&app.slot(Color::Blue), &[])
        .await
        .expect("clear again");
    let left = app
        .engine
        .instances(&app.slot(Color::Blue))
        .await
        .expect("a list");
    assert_eq!(left, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_named_services_are_started_and_cleared() {
    let app = TestApp::new("some");
    let services = [
        ("api", json!({"port": 8080})),
        ("job", json!({"command": ["worker"]})),
    ];
    let rendering = app.rendering(Color::Green, &services);
    let slot = app.slot(Color::Green);
    let start = |services| baton_engine::Start {
        slot: &slot,
        release: 1,
        role: baton_compose::Role::Live,
        rendering: &rendering,
        services,
        replicas: baton_engine::Replicas::All,
        shielded: false,
    };
    let only_api = ["api".to_owned()];
    let api = app.engine.start(start(&only_api)).await.expect("a start");
    assert_eq!(api.len(), 1);
    let only_job = ["job".to_owned()];
    let job = app.engine.start(start(&only_job)).await.expect("a start");
    assert_eq!((job[0].service.as_str(), job[0].address), ("job", None));
    let all = app.engine.instances(&slot).await.expect("a list");
    assert_eq!(
        all.iter().map(|i| i.service.as_str()).collect::<Vec<_>>(),
        ["api", "job"]
    );
    assert_eq!(all[0].id, api[0].id);
    app.engine.clear(&slot, &only_job).await.expect("clear");
    let left = app.engine.instances(&slot).await.expect("a list");
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, api[0].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_networks_and_volumes_are_composes_own() {
    let app = TestApp::new("shared");
    let service =
        json!({"port": 8080, "volumes": [{"type": "volume", "source": "data", "target": "/data"}]});
    let mut rendering = app.rendering(Color::Blue, &[("api", service)]);
    let (volume, edge) = (format!("{}_data", app.name), format!("{}_edge", app.name));
    let Rendering::Docker(model) = &mut rendering else {
        panic!("docker")
    };
    model.model["volumes"] = json!({"data": {"external": true, "name": volume}});
    let shared = |key: &str, project: Option<String>| SharedResource {
        key: key.to_owned(),
        project,
        definition: json!({}),
    };
    model
        .volumes
        .insert(volume.clone(), shared("data", Some(app.name.to_string())));
    // An external network that does not exist yet is made.
    model.networks.insert(edge.clone(), shared("edge", None));
    app.start(Color::Blue, 1, &rendering)
        .await
        .expect("a start");
    assert_ne!(
        docker(&["network", "inspect", "--format", "{{.Id}}", &edge]),
        ""
    );

    // Plain Compose takes them as its own: no "incorrect label".
    let file = json!({
        "services": {"other": {"image": app.image, "command": ["worker"], "networks": ["shop"],
            "volumes": ["data:/data"]}},
        "networks": {"shop": {}}, "volumes": {"data": {}},
    });
    let said = app.compose(&file, &["up", "-d"]);
    assert!(!said.contains("label"), "{said}");
    // The user's volume outlives the color.
    app.engine
        .clear(&app.slot(Color::Blue), &[])
        .await
        .expect("clear");
    assert_ne!(
        docker(&["volume", "inspect", "--format", "{{.Name}}", &volume]),
        ""
    );
    // And the app's own network goes with the app.
    app.engine.forget(&app.name).await.expect("forget");
    app.engine.forget(&app.name).await.expect("forget again");
    let live = format!("{}_live", app.name);
    assert_eq!(
        docker(&["network", "ls", "-q", "--filter", &format!("name={live}")]),
        ""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_from_the_environment_reaches_the_start_and_no_other_variable_does() {
    let app = TestApp::new("secret");
    let service = json!({"port": 8080, "secrets": ["token"], "environment": {"SEEN": "${HOME_OF_NOBODY:-unset}"}});
    let mut rendering = app.rendering(Color::Blue, &[("api", service)]);
    let Rendering::Docker(model) = &mut rendering else {
        panic!("docker")
    };
    model.model["secrets"] = json!({"token": {"environment": "BATON_TEST_TOKEN"}});
    // A folder that is gone by now, as at a rollback long after.
    model.directory = "/nonexistent/of/the/user".into();
    app.start(Color::Blue, 1, &rendering)
        .await
        .expect_err("no value");
    let Rendering::Docker(model) = &mut rendering else {
        panic!("docker")
    };
    model
        .environment
        .insert("BATON_TEST_TOKEN".to_owned(), "s3cret".to_owned());
    let instance = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect("a start")
        .remove(0);
    let address = answers(&instance).await;
    let seen = get(&address, "/env?name=SEEN").await.expect("an answer");
    assert!(seen.contains("unset"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_of_somebody_elses_is_refused_and_left_alone() {
    let app = TestApp::new("foreign");
    let project = format!("{}-blue", app.name);
    let label = format!("com.docker.compose.project={project}");
    let name = format!("{project}-db");
    let id = docker(&[
        "run", "-d", "--name", &name, "--label", &label, &app.image, "worker",
    ]);
    let rendering = app.rendering(Color::Blue, &[("api", json!({"port": 8080}))]);
    let error = app
        .start(Color::Blue, 1, &rendering)
        .await
        .expect_err("refused");
    assert!(
        matches!(&error, EngineError::Foreign { containers, .. } if *containers == name),
        "{error}"
    );
    app.engine
        .clear(&app.slot(Color::Blue), &[])
        .await
        .expect("clear");
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.Running}}", &id]),
        "true"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_cannot_start_says_why() {
    let app = TestApp::new("bad");
    let bad = app.rendering(
        Color::Blue,
        &[("api", json!({"port": 8080, "entrypoint": ["/nope"]}))],
    );
    let error = app
        .start(Color::Blue, 1, &bad)
        .await
        .expect_err("no such entrypoint");
    let EngineError::Start { what, reason } = &error else {
        panic!("{error}")
    };
    assert!(
        what.contains("api") && reason.contains("/nope") && reason.contains("127"),
        "{error}"
    );
    let state = app
        .engine
        .instances(&app.slot(Color::Blue))
        .await
        .expect("a list");
    assert!(matches!(&state[0].state, InstanceState::Exited(exit) if exit.code == Some(127)));

    let gone = json!({"port": 8080, "image": format!("sha256:{}", "0".repeat(64))});
    let gone = app.rendering(Color::Blue, &[("api", gone)]);
    let error = app
        .start(Color::Blue, 2, &gone)
        .await
        .expect_err("no such image");
    assert!(matches!(error, EngineError::ImageGone { .. }), "{error}");

    // A good release takes the place of the bad one.
    let good = app.rendering(Color::Blue, &[("api", json!({"port": 8080}))]);
    let started = app.start(Color::Blue, 3, &good).await.expect("a start");
    answers(&started[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_instance_comes_back_even_when_its_network_is_gone() {
    let app = TestApp::new("revive");
    let (rendering, first) = app.serve(Color::Blue, 1).await;
    let slot = app.slot(Color::Blue);
    app.engine
        .set_live(&slot, &rendering, true)
        .await
        .expect("live");
    assert_eq!(
        look(&first.id, "{{.HostConfig.RestartPolicy.Name}}"),
        "unless-stopped"
    );
    let exit = app.engine.stop(&first.id).await.expect("stop");
    assert_eq!((exit.code, exit.oom_killed), (Some(0), false));
    assert_eq!(look(&first.id, "{{.HostConfig.RestartPolicy.Name}}"), "no");
    assert_eq!(app.engine.stop(&first.id).await.expect("stop again"), exit);
    assert_eq!(
        support::state(&app, &first.id).await,
        Some(InstanceState::Exited(exit))
    );
    let stopped = app
        .engine
        .inspect(&first.id)
        .await
        .expect("a look")
        .expect("it is there");
    assert_eq!(stopped.address, None);

    let revived = app.engine.restart(&first.id).await.expect("restart");
    assert_eq!(revived.id, first.id);
    answers(&revived).await;

    // `docker compose down` of the base takes the network of a stopped color.
    app.engine.stop(&first.id).await.expect("stop");
    docker(&["network", "rm", &format!("{}_shop", app.name)]);
    let anew = app.engine.restart(&first.id).await.expect("restart");
    assert_ne!(anew.id, first.id);
    let address = answers(&anew).await;
    eventually("it serves", || async { get(&address, "/").await.is_ok() }).await;
    assert_eq!(
        look(&anew.id, "{{.HostConfig.RestartPolicy.Name}}"),
        "unless-stopped"
    );
    let aliases = look(
        &anew.id,
        &format!(
            "{{{{json (index .NetworkSettings.Networks \"{}_live\").Aliases}}}}",
            app.name
        ),
    );
    assert!(aliases.contains("\"api\""), "{aliases}");
}
