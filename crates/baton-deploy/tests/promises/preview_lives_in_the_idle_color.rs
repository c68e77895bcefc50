//! What is staged runs in the idle color, apart from what is live; makes room for a deploy and comes
//! back; and is promoted with its images and today's configuration.

use std::sync::Arc;

use baton_compose::{Color, Project, Role};
use baton_deploy::ControlPlane;
use baton_deploy::outcome::{ExitCode, Outcome};
use baton_deploy::release::ReleaseId;
use baton_deploy::request::Intent;
use baton_deploy::slots::SlotRole;
use baton_engine::{Exit, Shield, Slot};

use crate::a_crash_of_any_strategy_loses_nothing::{preview, request};
use crate::kit::{self, World};

fn project() -> Project {
    kit::project_with("shop", |service| service.policy.preview = Some(preview()))
}

async fn run(control: &Arc<ControlPlane>, intent: Intent, tag: &str) -> Outcome {
    let project = project();
    let running = control.deploy(request(&project, intent)).await.unwrap();
    let images = kit::images(&project, tag);
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    kit::result(running).await
}

async fn role(control: &ControlPlane, color: Color) -> SlotRole {
    let status = control.status().await;
    match color {
        Color::Blue => status.apps[0].colors.blue.role,
        Color::Green => status.apps[0].colors.green.role,
    }
}

/// One is live, and nothing is going on.
async fn with_live(world: &World) -> Arc<ControlPlane> {
    let control = world.open().await;
    assert!(run(&control, Intent::Deploy, "one").await.ok);
    world.settled(&control).await;
    control
}

fn page(world: &World) -> Option<String> {
    world.router().previewed("shop").and_then(|(_, page)| page)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preview_hosts_say_when_nothing_is_staged() {
    let world = World::new();
    let _control = with_live(&world).await;
    kit::until("a page", async || {
        page(&world).is_some_and(|page| page.contains("Nothing is staged"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_serves_the_preview_hosts_and_leaves_what_is_live() {
    let world = World::new();
    let control = with_live(&world).await;
    let before = world.router().serving("shop");
    let outcome = run(&control, Intent::Stage, "two").await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(outcome.live, Some(Color::Blue));
    assert!(
        outcome.message.contains("test.shop.example.com"),
        "{}",
        outcome.message
    );
    assert_eq!(world.router().serving("shop"), before);
    let (ids, page) = world.router().previewed("shop").unwrap();
    assert_eq!((ids.len(), page), (1, None));
    assert_eq!(role(&control, Color::Green).await, SlotRole::Preview);
    let green = Slot {
        app: kit::app("shop"),
        color: Color::Green,
    };
    let state = world.engine.state();
    assert_eq!(state.roles[&green], Role::Preview);
    assert_eq!(state.shields[&green], Shield::Candidate);
    assert!(!state.live.contains_key(&green), "it has no live name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_again_is_nothing_to_do() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    let again = run(&control, Intent::Stage, "two").await;
    assert_eq!(again.exit_code, ExitCode::Done);
    assert!(again.message.contains("staged"), "{}", again.message);
    assert_eq!(role(&control, Color::Green).await, SlotRole::Preview);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_stage_takes_its_place() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    assert!(run(&control, Intent::Stage, "three").await.ok);
    assert_eq!(world.engine.in_slot("shop", Color::Green).len(), 1);
    assert_eq!(
        world.engine.in_slot("shop", Color::Green)[0].release,
        Some(3)
    );
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_fails_leaves_what_was_staged() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    world.engine.state().ends_at_start = Some(Exit {
        code: Some(3),
        oom_killed: false,
        error: None,
    });
    let outcome = run(&control, Intent::Stage, "three").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    world.engine.state().ends_at_start = None;
    kit::until("r2 to be previewed again", async || {
        let there = world.engine.in_slot("shop", Color::Green);
        there.len() == 1 && there[0].release == Some(2) && page(&world).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_evicts_it_and_it_comes_back_in_the_other_color() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    let outcome = run(&control, Intent::Deploy, "three").await;
    assert!(outcome.ok, "{}", outcome.message);
    kit::until("the preview in blue", async || {
        let there = world.engine.in_slot("shop", Color::Blue);
        there.len() == 1
            && there[0].release == Some(2)
            && role(&control, Color::Blue).await == SlotRole::Preview
            && page(&world).is_none()
    })
    .await;
    assert_eq!(
        world.live(&control, "shop").await,
        (Color::Green, ReleaseId(3))
    );
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promote_brings_the_staged_images_live() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    let outcome = run(&control, Intent::Promote, "of no meaning").await;
    assert!(outcome.ok, "{}", outcome.message);
    let (color, release) = world.live(&control, "shop").await;
    assert_eq!((color, release), (Color::Green, ReleaseId(3)));
    let promoted = control.release(&kit::app("shop"), release).await.unwrap();
    assert_eq!(promoted.images["api"].id, "sha256:two");
    let green = Slot {
        app: kit::app("shop"),
        color,
    };
    assert_eq!(world.engine.state().roles[&green], Role::Live);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
    let again = control.deploy(request(&project(), Intent::Promote)).await;
    assert!(
        again
            .unwrap_err()
            .to_string()
            .contains("nothing of shop is staged")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_that_fails_leaves_it_staged() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    world.engine.state().ends_at_start = Some(Exit {
        code: Some(3),
        oom_killed: false,
        error: None,
    });
    let outcome = run(&control, Intent::Promote, "").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    world.engine.state().ends_at_start = None;
    kit::until("the preview to be back", async || {
        role(&control, Color::Green).await == SlotRole::Preview && page(&world).is_none()
    })
    .await;
    assert!(run(&control, Intent::Promote, "").await.ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ends_is_started_again() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    let (ids, _) = world.router().previewed("shop").unwrap();
    world.engine.kill(&ids[0]);
    kit::until("another one", async || {
        let previewed = world.router().previewed("shop");
        previewed.is_some_and(|(now, page)| now.len() == 1 && now != ids && page.is_none())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_restart_of_the_daemon_and_goes_with_the_app() {
    let world = World::new();
    let control = with_live(&world).await;
    assert!(run(&control, Intent::Stage, "two").await.ok);
    let there = world.engine.in_slot("shop", Color::Green);
    World::kill(control);
    let control = world.open().await;
    kit::until("the preview", async || {
        world
            .router()
            .previewed("shop")
            .is_some_and(|(ids, _)| ids.len() == 1)
    })
    .await;
    assert_eq!(world.engine.in_slot("shop", Color::Green), there);
    control.remove(&kit::app("shop")).await.unwrap();
    assert!(world.engine.state().instances.is_empty());
    assert!(world.engine.state().violations.is_empty());
}
