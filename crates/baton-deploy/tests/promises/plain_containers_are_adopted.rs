use std::time::Duration;

use baton_compose::Color;
use baton_deploy::outcome::ExitCode;
use baton_deploy::release::ReleaseId;
use baton_engine::InstanceState;

use crate::kit::{self, World, app};

#[tokio::test]
async fn it_serves_as_r0_until_the_switch_and_is_stopped_after_its_drain() {
    let world = World::new();
    let plain = world.engine.run_plain("shop", "api");
    let control = world.open().await;
    world.engine.state().new_are_unhealthy = true;
    let project = kit::project("shop");
    let images = kit::images(&project, "one");
    let running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::until("r0 to serve", async || {
        world.router().serving("shop") == Some((Color::Blue, vec![plain.clone()]))
    })
    .await;
    assert_eq!(
        world.live(&control, "shop").await,
        (Color::Blue, ReleaseId(0))
    );
    {
        let mut state = world.engine.state();
        // The new one may be there already, or yet to come.
        state.new_are_unhealthy = false;
        state.unhealthy.clear();
    }
    let outcome = kit::result(running).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(outcome.live, Some(Color::Green));
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    let state = world.engine.state();
    let old = state
        .instances
        .iter()
        .find(|i| i.id == plain)
        .expect("it is not removed");
    assert!(matches!(old.state, InstanceState::Exited(_)));
}

#[tokio::test]
async fn it_serves_on_when_the_first_release_is_broken() {
    let world = World::new();
    let plain = world.engine.run_plain("shop", "api");
    let control = world.open().await;
    world.engine.state().new_are_unhealthy = true;
    let mut project = kit::project("shop");
    project.services[0].policy.startup_timeout = Duration::from_millis(200);
    let outcome = world.deploy_ok(&control, project, "one").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    assert_eq!(
        world.router().serving("shop"),
        Some((Color::Blue, vec![plain]))
    );
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn it_can_be_rolled_back_to_while_it_is_warm_and_after() {
    let world = World::new();
    let plain = world.engine.run_plain("shop", "api");
    let control = world.open().await;
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = Duration::from_secs(60);
    let outcome = world.deploy_ok(&control, project, "one").await;
    assert!(outcome.ok, "{}", outcome.message);
    let outcome = world.rollback(&control, "shop", Some(0)).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(
        world.router().serving("shop"),
        Some((Color::Blue, vec![plain.clone()]))
    );

    for tag in ["two", "three"] {
        let outcome = world.deploy_ok(&control, kit::project("shop"), tag).await;
        assert!(outcome.ok, "{}", outcome.message);
    }
    world.settled(&control).await;
    let outcome = world.rollback(&control, "shop", Some(0)).await;
    assert!(outcome.ok, "{}", outcome.message);
    let (_, serving) = world.router().serving("shop").unwrap();
    assert_ne!(serving, [plain], "a stopped plain container is not revived");
    let release = control.release(&app("shop"), ReleaseId(0)).await.unwrap();
    assert_eq!(release.images["api"].id, "sha256:plain");
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test]
async fn it_is_served_at_once_after_a_restart_of_the_daemon() {
    let world = World::new();
    let plain = world.engine.run_plain("shop", "api");
    let control = world.open().await;
    world.engine.state().new_are_unhealthy = true;
    let mut project = kit::project("shop");
    project.services[0].policy.startup_timeout = Duration::from_millis(200);
    world.deploy_ok(&control, project, "one").await;
    World::kill(control);
    let control = world.open().await;
    assert_eq!(
        world.router().serving("shop"),
        Some((Color::Blue, vec![plain]))
    );
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn one_that_comes_back_is_warned_about() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    world.engine.run_plain("shop", "api");
    let id = world.router().serving("shop").unwrap().1[0].clone();
    // Any event of the engine has the app looked at.
    world.engine.kill(&id);
    kit::until("the warning", async || {
        let status = control.status().await;
        let warnings = status.apps[0].warnings.join("\n");
        warnings.contains("docker compose -p shop stop api")
    })
    .await;
}
