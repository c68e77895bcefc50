use std::time::Duration;

use baton_compose::{Color, Project};
use baton_deploy::outcome::ExitCode;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::SwitchRequest;
use baton_deploy::slots::SlotRole;
use baton_engine::EngineError;

use crate::kit::{self, World, app};

fn warm() -> Project {
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = Duration::from_secs(60);
    project
}

fn starts(world: &World) -> usize {
    let state = world.engine.state();
    state
        .calls
        .iter()
        .filter(|c| c.starts_with("start "))
        .count()
}

async fn blue_is(world: &World, control: &baton_deploy::ControlPlane, role: SlotRole) {
    kit::until(&format!("blue {role:?}"), async || {
        control.status().await.apps[0].colors.blue.role == role
    })
    .await;
    drop(world.router());
}

#[tokio::test]
async fn a_warm_one_boots_nothing() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, warm(), "one").await;
    world.deploy_ok(&control, warm(), "two").await;
    blue_is(&world, &control, SlotRole::Warm).await;
    let before = starts(&world);
    let outcome = world.rollback(&control, "shop", None).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(starts(&world), before, "something booted");
    assert_eq!(
        world.live(&control, "shop").await,
        (Color::Blue, ReleaseId(1))
    );
    // And back again, just as warm.
    kit::until("green warm", async || {
        control.status().await.apps[0].colors.green.role == SlotRole::Warm
    })
    .await;
    let outcome = world.rollback(&control, "shop", None).await;
    assert_eq!(outcome.release, Some(ReleaseId(2)), "{}", outcome.message);
    assert_eq!(starts(&world), before, "something booted");
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test]
async fn one_that_still_drains_boots_nothing_either() {
    let world = World::new();
    let control = world.open().await;
    let mut slow = warm();
    slow.services[0].policy.drain.requests = Duration::from_secs(60);
    slow.services[0].policy.drain.connections = Duration::from_secs(60);
    world.deploy_ok(&control, slow.clone(), "one").await;
    let old = world.router().serving("shop").unwrap().1[0].clone();
    world.engine.state().in_flight.insert(old.clone(), 1);
    world.deploy_ok(&control, slow, "two").await;
    blue_is(&world, &control, SlotRole::Draining).await;
    let before = starts(&world);
    let outcome = world.rollback(&control, "shop", None).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(starts(&world), before);
    assert_eq!(world.router().serving("shop").unwrap().1, [old]);
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test]
async fn one_that_was_stopped_boots_its_own_image() {
    let world = World::new();
    let control = world.open().await;
    for tag in ["one", "two", "three"] {
        world.deploy_ok(&control, kit::project("shop"), tag).await;
        world.settled(&control).await;
    }
    let outcome = world.rollback(&control, "shop", Some(1)).await;
    assert!(outcome.ok, "{}", outcome.message);
    let (color, release) = world.live(&control, "shop").await;
    assert_eq!(release, ReleaseId(1));
    let there = world.engine.in_slot("shop", color);
    assert_eq!(there[0].release, Some(1));
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    // Without a number: what was live before.
    let outcome = world.rollback(&control, "shop", None).await;
    assert_eq!(outcome.release, Some(ReleaseId(3)), "{}", outcome.message);
}

#[tokio::test]
async fn with_todays_environment_it_is_a_new_release_of_the_old_image() {
    let world = World::new();
    let control = world.open().await;
    for tag in ["one", "two"] {
        world.deploy_ok(&control, kit::project("shop"), tag).await;
        world.settled(&control).await;
    }
    let mut today = kit::project("shop");
    today.services[0].policy.max_wait = Duration::from_secs(9);
    let request = baton_deploy::request::RollbackRequest {
        app: app("shop"),
        to: None,
        current: Some(today),
        wait_lock: None,
        by: None,
    };
    let outcome = kit::result(control.rollback(request).await.unwrap()).await;
    assert_eq!(outcome.release, Some(ReleaseId(3)), "{}", outcome.message);
    let release = control.release(&app("shop"), ReleaseId(3)).await.unwrap();
    assert_eq!(release.images["api"].id, "sha256:one");
    assert_eq!(
        release.project.services[0].policy.max_wait,
        Duration::from_secs(9)
    );
}

#[tokio::test]
async fn an_image_that_is_gone_is_named_and_refused() {
    let world = World::new();
    let control = world.open().await;
    for tag in ["one", "two"] {
        world.deploy_ok(&control, kit::project("shop"), tag).await;
        world.settled(&control).await;
    }
    world.engine.state().start_error = Some(EngineError::ImageGone {
        image: "sha256:one".to_owned(),
    });
    let outcome = world.rollback(&control, "shop", None).await;
    assert_eq!(outcome.exit_code, ExitCode::Refused);
    assert!(
        outcome.message.contains("sha256:one"),
        "{}",
        outcome.message
    );
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(2));
}

#[tokio::test]
async fn what_cannot_be_rolled_back_to_is_a_usage_error() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    for (to, word) in [
        (None, "no release"),
        (Some(1), "live already"),
        (Some(9), "known are: r1"),
    ] {
        let outcome = world.rollback(&control, "shop", to).await;
        assert_eq!(outcome.exit_code, ExitCode::Usage);
        assert!(outcome.message.contains(word), "{}", outcome.message);
    }
}

#[tokio::test]
async fn switch_goes_to_the_other_color_only_while_it_is_up() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, warm(), "one").await;
    world.deploy_ok(&control, warm(), "two").await;
    blue_is(&world, &control, SlotRole::Warm).await;
    let switch = |to| SwitchRequest {
        app: app("shop"),
        to,
        wait_lock: None,
        by: None,
    };
    let outcome = kit::result(control.switch(switch(None)).await.unwrap()).await;
    assert_eq!(outcome.live, Some(Color::Blue), "{}", outcome.message);
    let outcome = kit::result(control.switch(switch(Some(Color::Blue))).await.unwrap()).await;
    assert_eq!(outcome.exit_code, ExitCode::Usage);
    assert!(
        outcome.message.contains("live already"),
        "{}",
        outcome.message
    );
    // A color that is empty is not switched to.
    world
        .deploy_ok(&control, kit::project("shop"), "three")
        .await;
    world
        .deploy_ok(&control, kit::project("shop"), "four")
        .await;
    world.settled(&control).await;
    let outcome = kit::result(control.switch(switch(None)).await.unwrap()).await;
    assert_eq!(outcome.exit_code, ExitCode::Usage);
    assert!(
        outcome.message.contains("baton rollback"),
        "{}",
        outcome.message
    );
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn a_warm_one_that_is_ill_stays_where_it_is() {
    let world = World::new();
    let control = world.open().await;
    let mut project = warm();
    project.services[0].policy.startup_timeout = Duration::from_millis(500);
    world.deploy_ok(&control, project.clone(), "one").await;
    let old = world.router().serving("shop").unwrap().1[0].clone();
    world.deploy_ok(&control, project, "two").await;
    blue_is(&world, &control, SlotRole::Warm).await;
    world.engine.state().unhealthy.insert(old);
    let outcome = world.rollback(&control, "shop", None).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(2));
    // A later deploy finds the slot free.
    let next = world
        .deploy_ok(&control, kit::project("shop"), "three")
        .await;
    assert!(next.ok, "{}", next.message);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}
