use std::time::Duration;

use baton_compose::Color;
use baton_deploy::outcome::{ExitCode, Outcome};
use baton_deploy::release::ReleaseId;
use baton_engine::{EngineError, Exit};

use crate::kit::{self, World, app};

/// Deploys `one`, then lets `break_it` happen to `two`; returns how that ended.
async fn second_is_broken(world: &World, break_it: impl FnOnce(&World)) -> Outcome {
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let before = world.router().serving("shop");
    break_it(world);
    let mut project = kit::project("shop");
    project.services[0].policy.startup_timeout = Duration::from_millis(1500);
    let outcome = world.deploy_ok(&control, project, "two").await;
    assert_eq!(
        world.router().serving("shop"),
        before,
        "the old one serves on"
    );
    assert_eq!(
        world.live(&control, "shop").await,
        (Color::Blue, ReleaseId(1))
    );
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    assert!(
        outcome.message.contains("r1 (blue) is untouched"),
        "{}",
        outcome.message
    );
    let receipts = control.receipts(&app("shop"), 1).await.unwrap();
    assert_eq!(receipts[0].outcome, "failed");

    // The next one is not held up by it.
    {
        let mut state = world.engine.state();
        state.ends_at_start = None;
        state.new_are_unhealthy = false;
        state.start_error = None;
    }
    let next = world
        .deploy_ok(&control, kit::project("shop"), "three")
        .await;
    assert!(next.ok, "{}", next.message);
    outcome
}

#[tokio::test]
async fn one_that_crashes_at_start() {
    let world = World::new();
    let outcome = second_is_broken(&world, |world| {
        world.engine.state().ends_at_start = Some(Exit {
            code: Some(3),
            oom_killed: false,
            error: None,
        });
    })
    .await;
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.exit_code, Some(3));
    assert_eq!(failure.exit.as_deref(), Some("exit code 3"));
    assert!(failure.log[0].starts_with("last words"), "{failure:?}");
    assert_eq!(failure.instance, "api 1 (green)");
}

#[tokio::test]
async fn one_that_runs_out_of_memory_at_start() {
    let world = World::new();
    let outcome = second_is_broken(&world, |world| {
        world.engine.state().ends_at_start = Some(Exit {
            code: Some(137),
            oom_killed: true,
            error: None,
        });
    })
    .await;
    assert!(
        outcome.message.contains("memory ran out"),
        "{}",
        outcome.message
    );
    assert!(outcome.failure.unwrap().oom_killed);
}

#[tokio::test]
async fn one_that_never_gets_healthy() {
    let world = World::new();
    let outcome = second_is_broken(&world, |world| {
        world.engine.state().new_are_unhealthy = true;
    })
    .await;
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.probes.len(), 1, "{failure:?}");
    assert!(failure.probes[0].times >= 2, "{failure:?}");
    assert!(failure.probes[0].result.contains("starting"), "{failure:?}");
}

#[tokio::test]
async fn one_that_the_engine_cannot_start() {
    let world = World::new();
    let outcome = second_is_broken(&world, |world| {
        world.engine.state().start_error = Some(EngineError::Start {
            what: "api".to_owned(),
            reason: "address already in use".to_owned(),
        });
    })
    .await;
    assert!(
        outcome.message.contains("address already in use"),
        "{}",
        outcome.message
    );
}

#[tokio::test]
async fn one_whose_image_cannot_be_fetched() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let running = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap();
    let reason = "manifest for shop/api:nope not found".to_owned();
    control.fetched(running.deploy, Err(reason)).await.unwrap();
    let outcome = kit::result(running).await;
    assert_eq!(outcome.exit_code, ExitCode::ReleaseFailed);
    assert!(
        outcome.message.contains("manifest for shop/api:nope"),
        "{}",
        outcome.message
    );
    // Its number was never used.
    let next = world.deploy_ok(&control, kit::project("shop"), "two").await;
    assert_eq!(next.release, Some(ReleaseId(2)));
}

#[tokio::test]
async fn a_candidate_that_dies_while_it_is_waited_for_fails_at_once() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    world.engine.state().new_are_unhealthy = true;
    let project = kit::project("shop");
    let images = kit::images(&project, "two");
    let running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::until("the candidate", async || {
        !world.engine.in_slot("shop", Color::Green).is_empty()
    })
    .await;
    let candidate = world.engine.in_slot("shop", Color::Green)[0].id.clone();
    let begun = std::time::Instant::now();
    world.engine.kill(&candidate);
    let outcome = kit::result(running).await;
    assert_eq!(outcome.exit_code, ExitCode::ReleaseFailed);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(outcome.failure.unwrap().exit_code, Some(137));
    world.assert_clean(&control, "shop").await;
}
