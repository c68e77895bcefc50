//! The daemon is killed before and after the effect of every call that a rolling deploy, a canary, a
//! watched deploy, a stop-first one, a stage and a promotion make. After the next start the live color
//! is served, nothing is left behind, and the next deploy goes through.

use std::time::Duration;

use baton_compose::Project;
use baton_compose::policy::{Canary, Overlap, Preview, Strategy};
use baton_deploy::release::ReleaseId;
use baton_deploy::request::{DeployRequest, Intent};
use baton_deploy::slots::SlotRole;

use crate::kit::{self, When, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rolling,
    Canary,
    Watched,
    StopFirst,
    Stage,
    Promote,
    /// A deploy while something is staged.
    Evict,
}

fn project(way: Way) -> Project {
    kit::project_with("shop", |service| {
        let policy = &mut service.policy;
        match way {
            Way::Rolling => {
                service.replicas = 3;
                policy.strategy = Strategy::Rolling;
            }
            Way::Canary => {
                policy.strategy = Strategy::Canary;
                policy.canary = Canary {
                    steps: vec![10, 50, 100],
                    hold: Duration::from_millis(20),
                    min_requests: 0,
                    ..Canary::default()
                };
            }
            Way::Watched => policy.watch = Duration::from_millis(50),
            Way::StopFirst => policy.overlap = Overlap::Never,
            Way::Stage | Way::Promote | Way::Evict => policy.preview = Some(preview()),
        }
    })
}

pub(crate) fn preview() -> Preview {
    Preview {
        hosts: vec!["test.shop.example.com".to_owned()],
        basic_auth: Default::default(),
        allow: Vec::new(),
        share: true,
        environment: Default::default(),
        redis: None,
    }
}

pub(crate) fn request(project: &Project, intent: Intent) -> DeployRequest {
    DeployRequest {
        intent,
        ..World::request(project.clone())
    }
}

/// False when the deploy made fewer calls.
async fn killed_at(call: u64, when: When, way: Way) -> bool {
    let world = World::new();
    world.engine.state().mixed = way == Way::Rolling;
    let control = world.open().await;
    let project = project(way);
    world.deploy_ok(&control, project.clone(), "one").await;
    world.settled(&control).await;
    if matches!(way, Way::Promote | Way::Evict) {
        let staged = control
            .deploy(request(&project, Intent::Stage))
            .await
            .unwrap();
        let images = kit::images(&project, "staged");
        control.fetched(staged.deploy, Ok(images)).await.unwrap();
        let outcome = kit::result(staged).await;
        assert!(outcome.ok, "{}", outcome.message);
    }

    world.freezer.set(call, when);
    let intent = match way {
        Way::Stage => Intent::Stage,
        Way::Promote => Intent::Promote,
        _ => Intent::Deploy,
    };
    let mut running = control.deploy(request(&project, intent)).await.unwrap();
    let images = kit::images(&project, "two");
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    let name = tokio::select! {
        name = world.freezer.reached() => name,
        outcome = kit::drained(&mut running.progress) => {
            assert!(outcome.ok, "{}", outcome.message);
            return false;
        }
    };
    drop(running);
    World::kill(control);
    world.freezer.clear();

    let place = format!("{way:?}: {when:?} call {call} ({name})");
    let control = world.open().await;
    kit::until(&format!("{place}: something to serve"), async || {
        let serving = world.router().serving("shop");
        serving.is_some_and(|(_, ids)| !ids.is_empty()) && !world.router().is_held("shop")
    })
    .await;
    idle(&world, &control, &place).await;
    let (_, release) = world.live(&control, "shop").await;
    let known = [1, 2, 3].map(ReleaseId);
    assert!(known.contains(&release), "{place}: {release} is live");

    let next = world.deploy_ok(&control, project, "three").await;
    assert!(next.ok, "{place}: {}", next.message);
    idle(&world, &control, &place).await;
    let violations = world.engine.state().violations.clone();
    assert!(violations.is_empty(), "{place}: {violations:?}");
    true
}

/// No deploy, and each color is live, empty, or holds what is staged.
async fn idle(world: &World, control: &baton_deploy::ControlPlane, place: &str) {
    kit::until(&format!("{place}: nothing to be going on"), async || {
        let status = control.status().await;
        let app = &status.apps[0];
        let roles = [app.colors.blue.role, app.colors.green.role];
        app.deploy.is_none()
            && roles
                .iter()
                .all(|role| matches!(role, SlotRole::Live | SlotRole::Empty | SlotRole::Preview))
    })
    .await;
    let (color, _) = {
        let status = control.status().await;
        let live = status.apps[0].live.expect("something is live");
        (live, ())
    };
    kit::until(&format!("{place}: all instances of {color}"), async || {
        let serving = world
            .router()
            .serving("shop")
            .map_or(0, |(_, ids)| ids.len());
        let there = world.engine.in_slot("shop", color).len();
        serving == there && serving > 0
    })
    .await;
}

async fn everywhere(way: Way, least: u64) {
    for when in [When::Before, When::After] {
        let mut call = 0;
        while killed_at(call, when, way).await {
            call += 1;
        }
        assert!(call >= least, "{way:?}: {call} calls");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling() {
    everywhere(Way::Rolling, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canary() {
    everywhere(Way::Canary, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched() {
    everywhere(Way::Watched, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_first() {
    everywhere(Way::StopFirst, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stage() {
    everywhere(Way::Stage, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote() {
    everywhere(Way::Promote, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploy_over_a_preview() {
    everywhere(Way::Evict, 8).await;
}
