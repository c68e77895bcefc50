use baton_compose::Color;
use baton_deploy::DeployError;
use baton_deploy::outcome::ExitCode;
use baton_deploy::plan::StepName;
use baton_deploy::release::ReleaseId;

use crate::kit::{self, World, app};

#[tokio::test]
async fn while_it_fetches() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut running = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap();
    kit::started(&mut running.progress, StepName::Fetch).await;
    let cancelled = control.cancel(&app("shop")).await.unwrap();
    assert!(cancelled.ok);
    let outcome = kit::result(running).await;
    assert_eq!(outcome.exit_code, ExitCode::Error);
    assert!(outcome.message.contains("cancelled"), "{}", outcome.message);
    assert!(outcome.message.contains("r1 (blue)"), "{}", outcome.message);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn while_it_waits_for_health() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.engine.state().new_are_unhealthy = true;
    let project = kit::project("shop");
    let images = kit::images(&project, "two");
    let mut running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::started(&mut running.progress, StepName::AwaitHealthy).await;
    control.cancel(&app("shop")).await.unwrap();
    let outcome = kit::result(running).await;
    assert_eq!(outcome.exit_code, ExitCode::Error);
    assert!(world.engine.in_slot("shop", Color::Green).is_empty());
    world.assert_clean(&control, "shop").await;
    // The boot's turn went back too: another app may boot.
    world.engine.state().new_are_unhealthy = false;
    let other = world
        .deploy_ok(&control, kit::project("other"), "one")
        .await;
    assert!(other.ok, "{}", other.message);
}

#[tokio::test]
async fn after_the_switch_it_points_to_rollback() {
    let world = World::new();
    let control = world.open().await;
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = std::time::Duration::from_secs(60);
    world.deploy_ok(&control, project.clone(), "one").await;
    world.deploy_ok(&control, project, "two").await;
    kit::until("the lock to be free", async || {
        control.status().await.apps[0].deploy.is_none()
    })
    .await;
    let error = control.cancel(&app("shop")).await.unwrap_err();
    assert!(error.to_string().contains("baton rollback"), "{error}");
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(2));
}

#[tokio::test]
async fn with_nothing_running_it_says_so() {
    let world = World::new();
    let control = world.open().await;
    let error = control.cancel(&app("shop")).await.unwrap_err();
    assert!(matches!(error, DeployError::NoSuchApp { .. }), "{error}");
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let error = control.cancel(&app("shop")).await.unwrap_err();
    assert!(
        error.to_string().contains("no deploy of shop is running"),
        "{error}"
    );
}

#[tokio::test]
async fn so_does_a_command_that_goes_away_while_it_fetches() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut running = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap();
    kit::started(&mut running.progress, StepName::Fetch).await;
    let deploy = running.deploy;
    drop(running);
    kit::until("the lock to be free", async || {
        control.status().await.apps[0].deploy.is_none()
    })
    .await;
    let mut again = control.follow(deploy).await.unwrap();
    let baton_deploy::progress::Progress::Result(outcome) = kit::next(&mut again).await else {
        panic!("a deploy that ended begins with its result");
    };
    assert!(outcome.message.contains("went away"), "{}", outcome.message);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn a_command_that_goes_away_later_ends_nothing() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let project = kit::project("shop");
    let images = kit::images(&project, "two");
    let running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    drop(running);
    kit::until("the second release", async || {
        world.live(&control, "shop").await.1 == ReleaseId(2)
    })
    .await;
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}
