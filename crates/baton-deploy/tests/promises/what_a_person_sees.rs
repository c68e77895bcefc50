use std::os::unix::fs::PermissionsExt;

use baton_deploy::outcome::ExitCode;
use baton_deploy::release::ReleaseId;

use crate::kit::{self, World, app};

#[tokio::test]
async fn status_is_the_documented_json() {
    let world = World::new();
    let control = world.open().await;
    world.engine.state().usage.memory_bytes = 4096;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let status = serde_json::to_value(control.status().await).unwrap();
    let none = serde_json::json!({
        "handed_over": 0,
        "reconnected": 0,
        "drained": 0,
        "cut": 0,
        "events": 0,
        "websockets": 0,
        "sessions_ended": 0,
    });
    let expected = serde_json::json!({
        "apps": [{
            "name": "shop",
            "strategy": "blue-green",
            "live": "blue",
            "deploy": null,
            "colors": {
                "blue": {
                    "release": "r1",
                    "image": "shop/api:one",
                    "role": "live",
                    "weight": 100,
                    "streams": none,
                    "instances": [{
                        "id": "i1",
                        "service": "api",
                        "address": "127.0.0.1:20001",
                        "healthy": true,
                        "requests_in_flight": 0,
                        "sse": 0,
                        "websockets": 0,
                        "sessions": 0,
                        "memory_bytes": 4096,
                        "restarts": 0
                    }]
                },
                "green": {
                    "release": null,
                    "image": null,
                    "role": "empty",
                    "weight": 0,
                    "streams": none,
                    "instances": []
                }
            },
            "hosts": ["shop.example.com"],
            "certificates": [],
            "paused": false,
            "maintenance": false,
            "warnings": []
        }]
    });
    assert_eq!(status, expected);
}

#[tokio::test]
async fn a_pause_holds_requests_also_after_a_restart_and_through_a_deploy() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    control.pause(&app("shop")).await.unwrap();
    assert!(world.router().is_held("shop"));
    World::kill(control);
    let control = world.open().await;
    assert!(world.router().is_held("shop"));
    world.deploy_ok(&control, kit::project("shop"), "two").await;
    assert!(world.router().is_held("shop"));
    assert!(control.status().await.apps[0].paused);
    control.resume(&app("shop")).await.unwrap();
    assert!(!world.router().is_held("shop"));
}

#[tokio::test]
async fn remove_takes_everything_of_the_app_away_and_nothing_else() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world
        .deploy_ok(&control, kit::project("other"), "one")
        .await;
    control.remove(&app("shop")).await.unwrap();
    assert_eq!(control.app(None).await.unwrap(), app("other"));
    assert_eq!(world.router().serving("shop"), None);
    for color in baton_compose::Color::BOTH {
        assert!(world.engine.in_slot("shop", color).is_empty());
    }
    let error = control.remove(&app("shop")).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    world.assert_clean(&control, "other").await;
    // It can come back.
    let outcome = world.deploy_ok(&control, kit::project("shop"), "one").await;
    assert!(outcome.ok, "{}", outcome.message);
    assert!(
        control
            .app(None)
            .await
            .unwrap_err()
            .to_string()
            .contains("other, shop")
    );
}

#[tokio::test]
async fn events_come_from_the_past_and_then_as_they_happen() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let name = app("shop");
    let mut events = control.events(Some(&name), 100, true).await.unwrap();
    let first = events.recv().await.unwrap();
    assert_eq!(first.kind, "deploy_started");
    world.deploy_ok(&control, kit::project("shop"), "two").await;
    let mut switched = 0;
    while switched < 2 {
        let event = events.recv().await.unwrap();
        switched += usize::from(event.kind == "switched");
    }
    assert!(switched == 2);
}

#[tokio::test]
async fn logs_are_those_of_the_live_color() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut lines = control.logs(&app("shop"), None, 10, false).await.unwrap();
    assert_eq!(lines.recv().await.unwrap().text, "last words of i1");
    let green = Some(baton_compose::Color::Green);
    let error = control
        .logs(&app("shop"), green, 10, false)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("nothing in green"), "{error}");
}

#[tokio::test]
async fn check_shows_the_plan_and_what_would_refuse_it_and_changes_nothing() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let mut before = world.engine.state().calls.clone();
    before.dedup();
    let request = World::request(kit::project("shop"));
    let check = control.check(&request).await.unwrap();
    assert_eq!(check.plan.release, ReleaseId(2));
    assert!(check.refusals.is_empty(), "{:?}", check.refusals);
    assert!(
        check.figures.iter().any(|f| f.starts_with("memory:")),
        "{:?}",
        check.figures
    );
    assert!(
        check.figures.iter().any(|f| f.starts_with("disk:")),
        "{:?}",
        check.figures
    );
    assert_eq!(control.releases(&app("shop")).await.unwrap().len(), 1);
    // The keeper may say anew what is live.
    let mut calls = world.engine.state().calls.clone();
    calls.dedup();
    assert_eq!(calls, before, "a check changes nothing");
}

#[tokio::test]
async fn a_deploy_can_be_followed_from_its_beginning_at_any_time() {
    let world = World::new();
    let control = world.open().await;
    let outcome = world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let mut progress = control.follow(outcome.deploy.unwrap()).await.unwrap();
    let mut last = None;
    while let Some(progress) = progress.recv().await {
        last = Some(progress);
    }
    let Some(baton_deploy::progress::Progress::Drained(ended)) = last else {
        panic!("ends with what drained, not {last:?}");
    };
    assert_eq!(ended.message, outcome.message);
    assert!(control.follow(999).await.is_err());
}

#[tokio::test]
async fn the_database_is_the_owners_alone_and_a_newer_one_is_refused() {
    let world = World::new();
    let data = world.data().join("state");
    let open = || {
        let data = data.clone();
        baton_deploy::ControlPlane::open(baton_deploy::control::Settings {
            data,
            engines: Default::default(),
            certificates: None,
            router: world.router(),
            session: None,
        })
    };
    drop(open().await.unwrap());
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    assert_eq!(mode(&data.join("baton.db")), 0o600);
    kit::until("the first one to let go", async || {
        rusqlite::Connection::open(data.join("baton.db"))
            .and_then(|db| db.pragma_update(None, "user_version", 99))
            .is_ok()
    })
    .await;
    let error = open().await.unwrap_err();
    assert!(error.to_string().contains("newer Baton"), "{error}");
}
