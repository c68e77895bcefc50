use std::sync::Arc;
use std::time::Duration;

use baton_deploy::control::{ControlPlane, Running};
use baton_deploy::outcome::{ExitCode, Outcome};
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use baton_deploy::release::ReleaseId;

use crate::kit::{self, World};

/// A deploy that waits for its image and so holds the lock.
async fn holder(control: &Arc<ControlPlane>) -> Running {
    let mut running = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap();
    kit::started(&mut running.progress, StepName::Fetch).await;
    running
}

async fn waiter(control: &Arc<ControlPlane>, wait: Duration) -> Running {
    let mut request = World::request(kit::project("shop"));
    request.wait_lock = Some(wait);
    let mut running = control.deploy(request).await.unwrap();
    let waiting = kit::next(&mut running.progress).await;
    assert!(matches!(waiting, Progress::Waiting { .. }), "{waiting:?}");
    running
}

async fn finish(control: &ControlPlane, running: Running, tag: &str) -> Outcome {
    let images = kit::images(&kit::project("shop"), tag);
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::result(running).await
}

#[tokio::test]
async fn a_second_one_gets_exit_5() {
    let world = World::new();
    let control = world.open().await;
    let first = holder(&control).await;
    let error = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Locked);
    let text = error.to_string();
    assert!(
        text.contains("step fetch") && text.contains("--wait-lock"),
        "{text}"
    );
    // Another app is not held up.
    let other = world
        .deploy_ok(&control, kit::project("other"), "one")
        .await;
    assert!(other.ok, "{}", other.message);
    assert!(finish(&control, first, "one").await.ok);
}

#[tokio::test]
async fn one_that_waits_comes_next() {
    let world = World::new();
    let control = world.open().await;
    let first = holder(&control).await;
    let second = waiter(&control, Duration::from_secs(20)).await;
    assert!(finish(&control, first, "one").await.ok);
    let outcome = finish(&control, second, "two").await;
    assert_eq!(outcome.release, Some(ReleaseId(2)), "{}", outcome.message);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn of_two_that_wait_the_newer_stays() {
    let world = World::new();
    let control = world.open().await;
    let first = holder(&control).await;
    let older = waiter(&control, Duration::from_secs(20)).await;
    let newer = waiter(&control, Duration::from_secs(20)).await;
    let newer_id = newer.deploy;
    let outcome = kit::result(older).await;
    assert_eq!(outcome.exit_code, ExitCode::Locked);
    let named = format!("deploy {newer_id}");
    assert!(outcome.message.contains(&named), "{}", outcome.message);
    assert!(finish(&control, first, "one").await.ok);
    assert!(finish(&control, newer, "two").await.ok);
}

#[tokio::test]
async fn waiting_ends_with_exit_5_when_its_time_is_over() {
    let world = World::new();
    let control = world.open().await;
    let first = holder(&control).await;
    let second = waiter(&control, Duration::from_millis(100)).await;
    let outcome = kit::result(second).await;
    assert_eq!(outcome.exit_code, ExitCode::Locked, "{}", outcome.message);
    // Its place is free again.
    let third = waiter(&control, Duration::from_secs(20)).await;
    assert!(finish(&control, first, "one").await.ok);
    assert!(finish(&control, third, "two").await.ok);
}

#[tokio::test]
async fn the_lock_is_free_while_the_old_color_is_warm() {
    let world = World::new();
    let control = world.open().await;
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = Duration::from_secs(600);
    for tag in ["one", "two", "three", "four"] {
        let outcome = world.deploy_ok(&control, project.clone(), tag).await;
        assert!(outcome.ok, "{}", outcome.message);
    }
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(4));
    assert!(world.engine.state().violations.is_empty());
}
