use std::time::Duration;

use baton_compose::{Color, Project};
use baton_deploy::progress::Progress;

use crate::kit::{self, World};

/// Deploys twice while a request is in flight on the first release; returns its instance.
async fn second_with_one_in_flight(
    world: &World,
    control: &std::sync::Arc<baton_deploy::ControlPlane>,
    project: Project,
) -> (
    baton_engine::InstanceId,
    tokio::sync::mpsc::Receiver<Progress>,
) {
    world.deploy_ok(control, project.clone(), "one").await;
    world.settled(control).await;
    let old = world.router().serving("shop").unwrap().1[0].clone();
    world.engine.state().in_flight.insert(old.clone(), 1);
    let images = kit::images(&project, "two");
    let running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    let mut progress = running.progress;
    loop {
        if let Progress::Result(outcome) = kit::next(&mut progress).await {
            assert!(outcome.ok, "{}", outcome.message);
            let receipt = outcome.receipt.unwrap();
            assert_eq!(receipt.in_flight_at_switch, 1);
            return (old, progress);
        }
    }
}

fn project(requests_ms: u64, connections_ms: u64) -> Project {
    let mut project = kit::project("shop");
    let drain = &mut project.services[0].policy.drain;
    drain.requests = Duration::from_millis(requests_ms);
    drain.connections = Duration::from_millis(connections_ms);
    project
}

#[tokio::test]
async fn a_request_in_flight_is_waited_for() {
    let world = World::new();
    let control = world.open().await;
    let (old, mut progress) =
        second_with_one_in_flight(&world, &control, project(60_000, 60_000)).await;
    assert_eq!(
        world.engine.in_slot("shop", Color::Blue).len(),
        1,
        "it is there"
    );
    assert_eq!(world.router().serving("shop").unwrap().0, Color::Green);
    world.engine.state().in_flight.remove(&old);
    let outcome = kit::drained(&mut progress).await;
    assert_eq!(outcome.receipt.unwrap().cut, 0);
    assert!(world.engine.in_slot("shop", Color::Blue).is_empty());
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn one_whose_bytes_move_is_waited_for_beyond_the_time_for_requests() {
    let world = World::new();
    let control = world.open().await;
    let (old, mut progress) =
        second_with_one_in_flight(&world, &control, project(50, 60_000)).await;
    world.router().moving.lock().unwrap().insert(old.clone(), 0);
    // A new deploy must not shorten that either.
    let project = project(50, 60_000);
    let images = kit::images(&project, "three");
    let third = control.deploy(World::request(project)).await.unwrap();
    control.fetched(third.deploy, Ok(images)).await.unwrap();
    kit::until("the drain to look several times", async || {
        world.router().moving.lock().unwrap()[&old] > 6
    })
    .await;
    assert!(world.router().cuts.lock().unwrap().is_empty());
    world.engine.state().in_flight.remove(&old);
    let outcome = kit::drained(&mut progress).await;
    assert_eq!(outcome.receipt.unwrap().cut, 0);
    assert!(kit::result(third).await.ok);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn one_that_moves_no_more_is_cut_and_counted() {
    let world = World::new();
    let control = world.open().await;
    let (_, mut progress) = second_with_one_in_flight(&world, &control, project(100, 60_000)).await;
    let outcome = kit::drained(&mut progress).await;
    assert_eq!(outcome.receipt.unwrap().cut, 1);
    assert_eq!(world.router().cuts.lock().unwrap().len(), 1);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn one_that_moves_for_ever_is_cut_at_the_time_for_connections() {
    let world = World::new();
    let control = world.open().await;
    let (old, mut progress) = second_with_one_in_flight(&world, &control, project(50, 1_200)).await;
    world.router().moving.lock().unwrap().insert(old, 0);
    let outcome = kit::drained(&mut progress).await;
    assert_eq!(outcome.receipt.unwrap().cut, 1);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn other_services_of_the_machine_are_waited_for_too() {
    let world = World::new();
    let control = world.open().await;
    world
        .deploy_ok(&control, project(60_000, 60_000), "one")
        .await;
    world.engine.state().direct = 2;
    world
        .deploy_ok(&control, project(60_000, 60_000), "two")
        .await;
    kit::until("the old color to leave the live network", async || {
        let calls = world.engine.state().calls.clone();
        calls.contains(&"set_live shop-blue false".to_owned())
    })
    .await;
    assert_eq!(world.engine.in_slot("shop", Color::Blue).len(), 1);
    world.engine.state().direct = 0;
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}
