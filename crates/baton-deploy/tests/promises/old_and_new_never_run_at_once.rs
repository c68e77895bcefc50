//! Stop-first (`overlap`): the old color ends before the new one starts, requests are held meanwhile,
//! and a new release that fails brings the old one back.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Project;
use baton_compose::policy::{Overlap, Strategy};
use baton_deploy::outcome::ExitCode;
use baton_deploy::plan::StepName;
use baton_deploy::release::ReleaseId;
use baton_engine::{Exit, InstanceState};

use crate::kit::{self, World};

fn project() -> Project {
    kit::project_with("shop", |service| service.policy.overlap = Overlap::Never)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_one_ends_first_and_requests_are_held() {
    let world = Arc::new(World::new());
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    let mut running = control.deploy(World::request(project())).await.unwrap();
    let images = kit::images(&project(), "two");
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::started(&mut running.progress, StepName::Start).await;
    assert!(world.router().is_held("shop"));
    let running_now = world.engine.state().instances.clone();
    let up = running_now
        .iter()
        .filter(|i| i.state == InstanceState::Running);
    assert!(
        up.clone().all(|i| i.release != Some(1)),
        "r1 still runs: {running_now:?}"
    );
    let outcome = kit::result(running).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert!(!world.router().is_held("shop"));
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_fails_brings_the_old_one_back() {
    let world = Arc::new(World::new());
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
        state.ends_only = Some((2, 1));
    }
    let outcome = world.deploy_ok(&control, project(), "two").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    kit::until("r1 to serve again", async || {
        let serving = world.router().serving("shop");
        serving.is_some_and(|(_, ids)| ids.len() == 1) && !world.router().is_held("shop")
    })
    .await;
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_goes_back_with_one_at_a_time_too() {
    let world = World::new();
    let control = world.open().await;
    let mut project = project();
    project.services[0].policy.watch = Duration::from_secs(600);
    world.deploy_ok(&control, project.clone(), "one").await;
    world.settled(&control).await;
    let mut running = control
        .deploy(World::request(project.clone()))
        .await
        .unwrap();
    let images = kit::images(&project, "two");
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::started(&mut running.progress, StepName::Watch).await;
    let (_, ids) = world.router().serving("shop").unwrap();
    world
        .engine
        .state()
        .answers
        .insert(ids[0].clone(), (50, 30));
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_is_refused() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, project(), "one").await;
    world.settled(&control).await;
    let mut request = World::request(project());
    request.strategy = Some(Strategy::Canary);
    let outcome = kit::result(control.deploy(request).await.unwrap()).await;
    assert_eq!(outcome.exit_code, ExitCode::Refused, "{}", outcome.message);
    assert!(outcome.message.contains("overlap"), "{}", outcome.message);
}
