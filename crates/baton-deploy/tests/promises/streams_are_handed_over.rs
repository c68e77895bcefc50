//! A client's event stream hears the new color before it serves, and the old one until it has nothing
//! left; sessions and WebSockets have their time.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Color;
use baton_compose::policy::Sessions;
use baton_deploy::ControlPlane;
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use baton_deploy::slots::SlotRole;
use baton_engine::InstanceId;
use tokio::sync::mpsc::Receiver;

use crate::kit::{self, World, app};

/// `r1` is live with three open streams; returns its instance.
async fn with_streams(
    world: &World,
    project: baton_compose::Project,
) -> (Arc<ControlPlane>, InstanceId) {
    let control = world.open().await;
    world.deploy_ok(&control, project, "one").await;
    world.settled(&control).await;
    world.engine.state().union = 3;
    world.router().settle_halves();
    let old = world.router().serving("shop").unwrap().1[0].clone();
    (control, old)
}

async fn begin(
    control: &Arc<ControlPlane>,
    project: baton_compose::Project,
    tag: &str,
) -> Receiver<Progress> {
    let images = kit::images(&project, tag);
    let running = control.deploy(World::request(project)).await.unwrap();
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    running.progress
}

#[tokio::test]
async fn nothing_switches_before_every_stream_is_on_the_new_color() {
    let world = World::new();
    let (control, old) = with_streams(&world, kit::project("shop")).await;
    world.engine.state().halves_stand_still = true;
    let mut progress = begin(&control, kit::project("shop"), "two").await;
    kit::started(&mut progress, StepName::AttachStreams).await;
    kit::until("both colors to have halves", async || {
        world.router().halves("shop").len() == 2
    })
    .await;
    assert_eq!(
        world.router().serving("shop").unwrap(),
        (Color::Blue, vec![old.clone()])
    );
    world.router().settle_halves();
    let outcome = kit::drained(&mut progress).await;
    assert!(outcome.ok, "{}", outcome.message);
    let (color, ids) = world.router().serving("shop").unwrap();
    assert_eq!(color, Color::Green);
    assert_eq!(
        world.router().halves("shop"),
        ids,
        "the old color's are over"
    );
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn the_old_color_is_heard_until_its_requests_are_over() {
    let world = World::new();
    let mut project = kit::project("shop");
    project.services[0].policy.drain.requests = Duration::from_secs(60);
    let (control, old) = with_streams(&world, project.clone()).await;
    world.engine.state().in_flight.insert(old.clone(), 1);
    let mut progress = begin(&control, project, "two").await;
    kit::started_any(&mut progress, StepName::DrainRequests).await;
    assert_eq!(world.router().halves("shop").len(), 2);
    assert!(world.router().halves("shop").contains(&old));
    kit::until("its WebSockets to be told", async || {
        world
            .router()
            .closed
            .lock()
            .unwrap()
            .contains(&(old.clone(), 1012))
    })
    .await;
    assert!(
        world.router().halves("shop").contains(&old),
        "requests go on"
    );
    // Neither may a stream that does not end be overlooked.
    world.engine.state().halves_stand_still = true;
    world.engine.state().in_flight.remove(&old);
    kit::started_any(&mut progress, StepName::EndStreams).await;
    kit::until("the old color's halves to be unwanted", async || {
        !world.router().halves("shop").contains(&old)
    })
    .await;
    assert_eq!(
        world.engine.in_slot("shop", Color::Blue).len(),
        1,
        "not stopped yet"
    );
    world.router().settle_halves();
    let outcome = kit::drained(&mut progress).await;
    assert!(outcome.ok, "{}", outcome.message);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn a_deploy_that_is_cancelled_leaves_the_streams_where_they_were() {
    let world = World::new();
    let (control, old) = with_streams(&world, kit::project("shop")).await;
    world.engine.state().halves_stand_still = true;
    let mut progress = begin(&control, kit::project("shop"), "two").await;
    kit::started(&mut progress, StepName::AttachStreams).await;
    kit::until("both colors to have halves", async || {
        world.router().halves("shop").len() == 2
    })
    .await;
    world.engine.state().halves_stand_still = false;
    control.cancel(&app("shop")).await.unwrap();
    assert_eq!(world.router().halves("shop"), [old]);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn a_way_back_attaches_first_too() {
    let world = World::new();
    let mut project = kit::project("shop");
    project.services[0].policy.keep_warm = Duration::from_secs(60);
    let (control, old) = with_streams(&world, project.clone()).await;
    world.deploy_ok(&control, project, "two").await;
    kit::until("blue to be warm", async || {
        control.status().await.apps[0].colors.blue.role == SlotRole::Warm
    })
    .await;
    assert!(!world.router().halves("shop").contains(&old));
    let outcome = world.rollback(&control, "shop", None).await;
    assert!(outcome.ok, "{}", outcome.message);
    // The router of the kit tells of any instance that serves without its streams.
    assert_eq!(world.router().serving("shop").unwrap().1, [old]);
    assert!(world.engine.state().violations.is_empty());
}

#[tokio::test]
async fn sessions_keep_the_old_color_until_they_are_idle() {
    let world = World::new();
    let mut project = kit::project("shop");
    project.services[0].policy.sessions = Some(Sessions {
        cookie: "JSESSIONID".to_owned(),
        keep: Duration::from_secs(60),
    });
    let (control, old) = with_streams(&world, project.clone()).await;
    world.engine.state().sessions.insert(old.clone(), 2);
    let mut progress = begin(&control, project.clone(), "two").await;
    kit::started_any(&mut progress, StepName::DrainMessages).await;
    assert_eq!(world.router().pinned("shop"), std::slice::from_ref(&old));
    assert!(
        world.router().halves("shop").contains(&old),
        "its events still come"
    );
    world.engine.state().sessions.remove(&old);
    let outcome = kit::drained(&mut progress).await;
    assert!(outcome.ok, "{}", outcome.message);
    world.assert_clean(&control, "shop").await;

    // The next deploy does not wait for them.
    let second = world.router().serving("shop").unwrap().1[0].clone();
    world.engine.state().sessions.insert(second.clone(), 1);
    let mut progress = begin(&control, project.clone(), "three").await;
    kit::started_any(&mut progress, StepName::DrainMessages).await;
    let outcome = world.deploy_ok(&control, project, "four").await;
    assert!(outcome.ok, "{}", outcome.message);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}
