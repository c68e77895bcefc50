//! The daemon is killed before and after the effect of every call that a deploy makes to the engine or
//! the router. After the next start the live color serves at once, nothing is left behind, nothing that
//! serves was stopped.

use baton_deploy::release::ReleaseId;
use baton_deploy::slots::SlotRole;

use crate::kit::{self, When, World};

/// Kills the daemon at call number `call` of the second deploy; false when it made fewer.
async fn killed_at(call: u64, when: When, warm: bool) -> bool {
    let world = World::new();
    let control = world.open().await;
    let mut project = kit::project_with_worker("shop");
    if warm {
        project.services[0].policy.keep_warm = std::time::Duration::from_millis(100);
    }
    world.deploy_ok(&control, project.clone(), "one").await;
    world.settled(&control).await;

    world.freezer.set(call, when);
    let images = kit::images(&project, "two");
    let mut running = control
        .deploy(World::request(project.clone()))
        .await
        .unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    let name = tokio::select! {
        name = world.freezer.reached() => name,
        _ = kit::drained(&mut running.progress) => return false,
    };
    drop(running);
    World::kill(control);
    world.freezer.clear();

    let place = format!("{when:?} call {call} ({name})");
    let control = world.open().await;
    let (_, ids) = world
        .router()
        .serving("shop")
        .unwrap_or_else(|| panic!("{place}: unrouted"));
    assert!(!ids.is_empty(), "{place}: nothing serves at once");
    world.settled(&control).await;
    kit::until(
        &format!("{place}: a worker of the live color"),
        async || {
            let (color, release) = world.live(&control, "shop").await;
            let there = world.engine.in_slot("shop", color);
            there
                .iter()
                .filter(|i| i.release == Some(release.0))
                .count()
                == 2
        },
    )
    .await;
    world.assert_clean(&control, "shop").await;
    let (_, release) = world.live(&control, "shop").await;
    assert!([ReleaseId(1), ReleaseId(2)].contains(&release), "{place}");

    let next = world.deploy_ok(&control, project, "three").await;
    assert!(next.ok, "{place}: {}", next.message);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    true
}

async fn everywhere(when: When, warm: bool) -> u64 {
    let mut call = 0;
    while killed_at(call, when, warm).await {
        call += 1;
    }
    call
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_before_every_call() {
    // start, publish, set_live, clear of the worker, start of the worker, set_live false, clear.
    assert!(everywhere(When::Before, false).await >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_every_call() {
    assert!(everywhere(When::After, false).await >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_the_old_color_is_warm() {
    assert!(everywhere(When::After, true).await >= 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_waits_for_the_image() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut running = control
        .deploy(World::request(kit::project("shop")))
        .await
        .unwrap();
    let deploy = running.deploy;
    kit::started(&mut running.progress, baton_deploy::plan::StepName::Fetch).await;
    drop(running);
    World::kill(control);
    let control = world.open().await;
    let mut again = control.follow(deploy).await.unwrap();
    let outcome = loop {
        if let baton_deploy::progress::Progress::Result(outcome) = kit::next(&mut again).await {
            break outcome;
        }
    };
    assert!(!outcome.ok);
    assert!(
        outcome.message.contains("taken back"),
        "{}",
        outcome.message
    );
    assert!(outcome.message.contains("r1 serves"), "{}", outcome.message);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_killed_at_every_call() {
    let mut call = 0;
    loop {
        let world = World::new();
        let control = world.open().await;
        let mut project = kit::project("shop");
        project.services[0].policy.keep_warm = std::time::Duration::from_secs(60);
        world.deploy_ok(&control, project.clone(), "one").await;
        world.deploy_ok(&control, project.clone(), "two").await;
        kit::until("a warm color", async || {
            control.status().await.apps[0].colors.blue.role == SlotRole::Warm
        })
        .await;
        world.freezer.set(call, When::After);
        let request = baton_deploy::request::RollbackRequest {
            app: kit::app("shop"),
            to: None,
            current: None,
            wait_lock: None,
            by: None,
        };
        let running = control.rollback(request).await.unwrap();
        let reached = tokio::select! {
            _ = world.freezer.reached() => true,
            outcome = kit::result(running) => {
                assert!(outcome.ok, "{}", outcome.message);
                false
            }
        };
        World::kill(control);
        world.freezer.clear();
        let control = world.open().await;
        assert!(world.router().serving("shop").is_some());
        kit::until("what had not switched to be taken back", async || {
            control.status().await.apps[0].deploy.is_none()
        })
        .await;
        // What is warm ends with the next deploy.
        let next = world
            .deploy_ok(&control, kit::project("shop"), "three")
            .await;
        assert!(next.ok, "call {call}: {}", next.message);
        let last = world
            .deploy_ok(&control, kit::project("shop"), "four")
            .await;
        assert!(last.ok, "call {call}: {}", last.message);
        world.settled(&control).await;
        world.assert_clean(&control, "shop").await;
        if !reached {
            break;
        }
        call += 1;
    }
    assert!(call >= 2, "{call}");
}
