//! Rolling exchanges one instance after the other: never fewer than `deploy.replicas` serve, never more
//! than one is there twice, and what fails in the middle is taken back with all old ones up again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use baton_compose::Project;
use baton_compose::policy::Strategy;
use baton_deploy::outcome::ExitCode;
use baton_deploy::release::ReleaseId;
use baton_engine::Exit;

use crate::kit::{self, World};

fn project() -> Project {
    kit::project_with("shop", |service| {
        service.policy.strategy = Strategy::Rolling;
        service.replicas = 3;
    })
}

/// The fewest that served, and the most that there were, while `work` went on.
async fn counted<T>(world: &Arc<World>, work: impl Future<Output = T>) -> (T, usize, usize) {
    let (fewest, most) = (
        Arc::new(AtomicUsize::new(usize::MAX)),
        Arc::new(AtomicUsize::new(0)),
    );
    let over = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn({
        let (world, fewest, most, over) = (
            Arc::clone(world),
            Arc::clone(&fewest),
            Arc::clone(&most),
            Arc::clone(&over),
        );
        async move {
            while !over.load(Ordering::SeqCst) {
                let serving = world
                    .router()
                    .serving("shop")
                    .map_or(0, |(_, ids)| ids.len());
                fewest.fetch_min(serving, Ordering::SeqCst);
                most.fetch_max(world.engine.state().instances.len(), Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let result = work.await;
    over.store(true, Ordering::SeqCst);
    looking.await.unwrap();
    (
        result,
        fewest.load(Ordering::SeqCst),
        most.load(Ordering::SeqCst),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_are_exchanged_one_by_one() {
    let world = Arc::new(World::new());
    world.engine.state().mixed = true;
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    let (outcome, fewest, most) =
        counted(&world, world.deploy_ok(&control, project(), "two")).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!((fewest, most), (3, 4));
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(world.router().serving("shop").unwrap().1.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_that_fails_has_touched_nothing() {
    let world = Arc::new(World::new());
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    let (_, before) = world.router().serving("shop").unwrap();
    world.engine.state().ends_at_start = Some(Exit {
        code: Some(3),
        oom_killed: false,
        error: None,
    });
    let outcome = world.deploy_ok(&control, project(), "two").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    assert_eq!(world.router().serving("shop").unwrap().1, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_one_that_fails_brings_all_old_ones_back() {
    let world = Arc::new(World::new());
    world.engine.state().mixed = true;
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    {
        let mut state = world.engine.state();
        state.ends_at_start = Some(Exit {
            code: Some(3),
            oom_killed: false,
            error: None,
        });
        state.ends_only = Some((2, 2));
    }
    let (outcome, fewest, _) = counted(&world, world.deploy_ok(&control, project(), "two")).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    assert_eq!(fewest, 3);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
    assert_eq!(world.router().serving("shop").unwrap().1.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_turns_unhealthy_is_taken_out_and_comes_back() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    let (_, ids) = world.router().serving("shop").unwrap();
    world.engine.state().unhealthy.insert(ids[1].clone());
    kit::until("it to be taken out", async || {
        let (_, serving) = world.router().serving("shop").unwrap();
        serving.len() == 2 && !serving.contains(&ids[1])
    })
    .await;
    world.engine.state().unhealthy.clear();
    kit::until("it to be back", async || {
        world.router().serving("shop").unwrap().1.len() == 3
    })
    .await;
    // All of them ill: the last one serves on.
    world.engine.state().unhealthy.extend(ids);
    kit::until("one to be left", async || {
        world.router().serving("shop").unwrap().1.len() == 1
    })
    .await;
}
