use baton_compose::Color;
use baton_engine::InstanceState;

use crate::kit::{self, World};

#[tokio::test]
async fn an_instance_that_ends_is_unrouted_started_again_and_routed_at_its_new_address() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let before = world.router().addresses("shop");
    let id = world.router().serving("shop").unwrap().1[0].clone();
    world.engine.state().unhealthy.insert(id.clone());
    world.engine.kill(&id);
    kit::until("it to be unrouted", async || {
        world.router().serving("shop").unwrap().1.is_empty()
    })
    .await;
    // It runs again, and gets requests only when it is ready.
    kit::until("a restart", async || {
        let state = world.engine.state();
        state.calls.contains(&format!("restart {id}"))
    })
    .await;
    assert!(world.router().addresses("shop").is_empty());
    world.engine.state().unhealthy.clear();
    kit::until("it to be routed", async || {
        !world.router().addresses("shop").is_empty()
    })
    .await;
    assert_ne!(world.router().addresses("shop"), before);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn a_worker_is_started_again_too() {
    let world = World::new();
    let control = world.open().await;
    world
        .deploy_ok(&control, kit::project_with_worker("shop"), "one")
        .await;
    world.settled(&control).await;
    let there = world.engine.in_slot("shop", Color::Blue);
    let worker = there
        .iter()
        .find(|i| i.service == "jobs")
        .unwrap()
        .id
        .clone();
    world.engine.kill(&worker);
    kit::until("the worker", async || {
        let there = world.engine.in_slot("shop", Color::Blue);
        there
            .iter()
            .any(|i| i.id == worker && i.state == InstanceState::Running)
    })
    .await;
}

#[tokio::test]
async fn after_a_reboot_it_is_started_again() {
    let world = World::new();
    let control = world.open().await;
    world
        .deploy_ok(&control, kit::project_with_worker("shop"), "one")
        .await;
    world.settled(&control).await;
    World::kill(control);
    world.engine.state().instances.clear();
    world.engine.state().serving.clear();
    let control = world.open().await;
    kit::until("both services", async || {
        world.engine.in_slot("shop", Color::Blue).len() == 2
    })
    .await;
    kit::until("the route", async || {
        !world.router().addresses("shop").is_empty()
    })
    .await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn while_the_engine_hangs_it_is_served_where_it_was() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let before = world.router().addresses("shop");
    World::kill(control);
    world.engine.state().hangs = true;
    let control = world.open().await;
    assert_eq!(world.router().addresses("shop"), before);
    world.engine.state().hangs = false;
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn an_exit_of_the_old_color_starts_nothing() {
    let world = World::new();
    let control = world.open().await;
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = std::time::Duration::from_millis(700);
    world.deploy_ok(&control, project.clone(), "one").await;
    let old = world.router().serving("shop").unwrap().1[0].clone();
    world.deploy_ok(&control, project, "two").await;
    world.engine.kill(&old);
    world.settled(&control).await;
    let calls = world.engine.state().calls.clone();
    assert!(!calls.contains(&format!("restart {old}")), "{calls:#?}");
    world.assert_clean(&control, "shop").await;
}
