//! After the switch the new release is compared with the time before. A crash, failed health or clearly
//! more errors bring the old one back, which is still there.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Project;
use baton_deploy::ControlPlane;
use baton_deploy::control::Running;
use baton_deploy::outcome::ExitCode;
use baton_deploy::plan::StepName;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::RollbackRequest;
use baton_engine::InstanceId;

use crate::kit::{self, World};

fn project(watch: Duration) -> Project {
    let mut project = kit::project_with_worker("shop");
    project.services[0].policy.watch = watch;
    project
}

/// A deploy that is being watched, with the new instance.
async fn watched(world: &World, control: &Arc<ControlPlane>) -> (Running, InstanceId) {
    let project = project(Duration::from_secs(600));
    world.deploy_ok(control, project.clone(), "one").await;
    world.settled(control).await;
    {
        let mut state = world.engine.state();
        let old = state.serving.iter().next().unwrap().clone();
        state.answers.insert(old, (5_000, 5));
    }
    let mut running = control
        .deploy(World::request(project.clone()))
        .await
        .unwrap();
    control
        .fetched(running.deploy, Ok(kit::images(&project, "two")))
        .await
        .unwrap();
    kit::started(&mut running.progress, StepName::Watch).await;
    let (_, ids) = world.router().serving("shop").unwrap();
    (running, ids[0].clone())
}

async fn back(world: &World, control: &Arc<ControlPlane>, running: Running, says: &[&str]) {
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    for text in says {
        assert!(
            outcome.message.contains(text),
            "{text} in {}",
            outcome.message
        );
    }
    assert_eq!(outcome.receipt.unwrap().reason.unwrap(), outcome.message);
    world.settled(control).await;
    kit::until("the worker of what is live", async || {
        let (color, _) = world.live(control, "shop").await;
        world.engine.in_slot("shop", color).len() == 2
    })
    .await;
    world.assert_clean(control, "shop").await;
    assert_eq!(world.live(control, "shop").await.1, ReleaseId(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_errors() {
    let world = World::new();
    let control = world.open().await;
    let (running, new) = watched(&world, &control).await;
    world.engine.state().answers.insert(new, (100, 20));
    let says = [
        "20 in 100 requests (20.0 %)",
        "5 in 5000 (0.1 %)",
        "r1 (blue) serves",
    ];
    back(&world, &control, running, &says).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash() {
    let world = World::new();
    let control = world.open().await;
    let (running, new) = watched(&world, &control).await;
    world.engine.kill(&new);
    back(&world, &control, running, &["ended: ended by signal 9"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_health() {
    let world = World::new();
    let control = world.open().await;
    let (running, new) = watched(&world, &control).await;
    world.engine.state().unhealthy.insert(new);
    back(&world, &control, running, &["failed 3 health checks"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel() {
    let world = World::new();
    let control = world.open().await;
    let (running, _) = watched(&world, &control).await;
    let outcome = control.cancel(&kit::app("shop")).await.unwrap();
    assert!(outcome.ok, "{}", outcome.message);
    back(&world, &control, running, &["by hand"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_does_not_wait_for_the_watch() {
    let world = World::new();
    let control = world.open().await;
    let (running, _) = watched(&world, &control).await;
    let rollback = control
        .rollback(RollbackRequest {
            app: kit::app("shop"),
            to: None,
            current: None,
            wait_lock: None,
            by: None,
        })
        .await
        .unwrap();
    assert!(kit::result(running).await.ok, "it was good so far");
    // It is watched as well, for as long as the old file says.
    let mut rollback = rollback;
    kit::started(&mut rollback.progress, StepName::Watch).await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_does_not_wait_for_the_watch() {
    let world = World::new();
    let control = world.open().await;
    let (running, _) = watched(&world, &control).await;
    control.remove(&kit::app("shop")).await.unwrap();
    assert!(kit::result(running).await.ok, "it was good so far");
    assert!(control.status().await.apps.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_release_stays_and_the_receipt_compares() {
    let world = World::new();
    let control = world.open().await;
    let project = project(Duration::from_millis(300));
    world.deploy_ok(&control, project.clone(), "one").await;
    world.settled(&control).await;
    let outcome = world.deploy_ok(&control, project, "two").await;
    assert!(outcome.ok, "{}", outcome.message);
    assert!(outcome.receipt.unwrap().watch.is_some());
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_was_killed_goes_on_watching() {
    let world = World::new();
    let control = world.open().await;
    let (running, new) = watched(&world, &control).await;
    let deploy = running.deploy;
    drop(running);
    World::kill(control);
    let control = world.open().await;
    let mut again = control.follow(deploy).await.unwrap();
    kit::started(&mut again, StepName::Watch).await;
    world.engine.state().answers.insert(new, (100, 50));
    let running = Running {
        deploy,
        progress: again,
    };
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    world.settled(&control).await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
}
