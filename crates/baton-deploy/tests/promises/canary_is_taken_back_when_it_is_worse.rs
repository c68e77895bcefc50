//! A canary moves clients over by its steps, is steered by hand, and goes back as soon as the verdict
//! is against it.

use std::sync::Arc;
use std::time::Duration;

use baton_compose::Project;
use baton_compose::policy::{Canary, Gate, Strategy};
use baton_deploy::ControlPlane;
use baton_deploy::control::Running;
use baton_deploy::outcome::ExitCode;
use baton_deploy::plan::StepName;
use baton_deploy::progress::Progress;
use baton_deploy::release::ReleaseId;
use baton_deploy::request::Steer;
use baton_deploy::slots::{SlotRole, Weight};
use baton_engine::InstanceId;

use crate::kit::{self, World};

fn project(canary: Canary) -> Project {
    kit::project_with("shop", |service| {
        service.policy.strategy = Strategy::Canary;
        service.policy.canary = canary;
    })
}

fn slow() -> Canary {
    Canary {
        steps: vec![10, 50, 100],
        hold: Duration::from_secs(600),
        min_requests: 0,
        ..Canary::default()
    }
}

/// A canary that runs, with its old and its new instance.
async fn canary(
    world: &World,
    control: &Arc<ControlPlane>,
    rule: Canary,
) -> (Running, InstanceId, InstanceId) {
    let project = project(rule);
    world.deploy_ok(control, project.clone(), "one").await;
    world.settled(control).await;
    let (live, ids) = world.router().serving("shop").unwrap();
    let mut running = control
        .deploy(World::request(project.clone()))
        .await
        .unwrap();
    control
        .fetched(running.deploy, Ok(kit::images(&project, "two")))
        .await
        .unwrap();
    kit::started(&mut running.progress, StepName::Canary).await;
    kit::until("a first share of the clients", async || {
        world.router().weight("shop") == 10
    })
    .await;
    let new = world.engine.in_slot("shop", live.other())[0].id.clone();
    (running, ids[0].clone(), new)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_errors_end_it() {
    let world = World::new();
    let control = world.open().await;
    let (running, old, new) = canary(&world, &control, slow()).await;
    let status = control.status().await;
    let app = &status.apps[0];
    let weights = [app.colors.blue.weight, app.colors.green.weight].map(Weight::percent);
    assert_eq!(weights, [90, 10]);
    // It still has a request when it is taken back.
    {
        let mut state = world.engine.state();
        state.in_flight.insert(new.clone(), 1);
        state.answers.insert(old.clone(), (900, 4));
        state.answers.insert(new.clone(), (100, 20));
    }
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    for number in ["20 of 100", "4 of 900", "r1 (blue) serves"] {
        assert!(
            outcome.message.contains(number),
            "{number} in {}",
            outcome.message
        );
    }
    assert_eq!(outcome.receipt.unwrap().outcome, "taken back");
    assert_eq!(world.router().weight("shop"), 0);
    assert_eq!(world.router().serving("shop").unwrap().1, [old]);
    // What it has it finishes.
    assert_eq!(
        control.status().await.apps[0].colors.green.role,
        SlotRole::Draining
    );
    world.engine.state().in_flight.remove(&new);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_that_both_make_do_not() {
    let world = World::new();
    let control = world.open().await;
    let mut rule = slow();
    rule.hold = Duration::from_millis(300);
    let (running, old, new) = canary(&world, &control, rule).await;
    {
        let mut state = world.engine.state();
        state.answers.insert(old, (900, 90));
        state.answers.insert(new, (100, 11));
    }
    let outcome = kit::result(running).await;
    assert!(outcome.ok, "{}", outcome.message);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_ends_it_at_once() {
    let world = World::new();
    let control = world.open().await;
    let (running, _, new) = canary(&world, &control, slow()).await;
    world.engine.kill(&new);
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    assert!(outcome.message.contains("signal 9"), "{}", outcome.message);
    assert!(outcome.failure.is_some());
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_health_check_ends_it() {
    let world = World::new();
    let control = world.open().await;
    let (running, _, new) = canary(&world, &control, slow()).await;
    world.engine.state().unhealthy.insert(new);
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    assert!(
        outcome.message.contains("health check"),
        "{}",
        outcome.message
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_enough_requests_it_waits_for_a_person() {
    let world = World::new();
    let control = world.open().await;
    let mut rule = slow();
    rule.min_requests = 300;
    rule.hold = Duration::from_millis(50);
    let (mut running, _, new) = canary(&world, &control, rule).await;
    world.engine.state().answers.insert(new, (7, 0));
    let waits = waits_for(&mut running).await;
    assert!(waits.contains("of 300 requests"), "{waits}");
    control.steer(&kit::app("shop"), Steer::Resume).unwrap();
    kit::until("the next step", async || {
        world.router().weight("shop") == 50
    })
    .await;
    waits_for(&mut running).await;
    control.steer(&kit::app("shop"), Steer::Resume).unwrap();
    let outcome = kit::result(running).await;
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(outcome.release, Some(ReleaseId(2)));
}

async fn waits_for(running: &mut Running) -> String {
    loop {
        if let Progress::Canary(canary) = kit::next(&mut running.progress).await
            && let Some(waits) = canary.waits_for
        {
            return waits;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manual_gate_waits_for_a_person() {
    let world = World::new();
    let control = world.open().await;
    let mut rule = slow();
    rule.gate = Gate::Manual;
    rule.hold = Duration::ZERO;
    let (mut running, ..) = canary(&world, &control, rule).await;
    assert!(waits_for(&mut running).await.contains("manual"));
    control.steer(&kit::app("shop"), Steer::Abort).unwrap();
    let outcome = kit::result(running).await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::TakenBack,
        "{}",
        outcome.message
    );
    assert!(
        outcome.message.contains("baton canary abort"),
        "{}",
        outcome.message
    );
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_weight_by_hand_holds_until_it_is_resumed_and_all_is_the_switch() {
    let world = World::new();
    let control = world.open().await;
    let (mut running, ..) = canary(&world, &control, slow()).await;
    let app = kit::app("shop");
    let weight = |percent| Steer::Set(Weight::new(percent).unwrap());
    control.steer(&app, weight(30)).unwrap();
    kit::until("30 percent", async || world.router().weight("shop") == 30).await;
    assert!(waits_for(&mut running).await.contains("by hand"));
    control.steer(&app, Steer::Resume).unwrap();
    kit::until("the step above", async || {
        world.router().weight("shop") == 50
    })
    .await;
    control.steer(&app, weight(100)).unwrap();
    let outcome = kit::result(running).await;
    assert!(outcome.ok, "{}", outcome.message);
    world.settled(&control).await;
    assert!(control.steer(&app, Steer::Hold).is_err(), "no canary runs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_takes_it_back() {
    let world = World::new();
    let control = world.open().await;
    let (running, old, _) = canary(&world, &control, slow()).await;
    let outcome = control.cancel(&kit::app("shop")).await.unwrap();
    assert!(outcome.ok, "{}", outcome.message);
    assert_eq!(kit::result(running).await.exit_code, ExitCode::TakenBack);
    world.settled(&control).await;
    assert_eq!(world.router().serving("shop").unwrap().1, [old]);
    world.assert_clean(&control, "shop").await;
}
