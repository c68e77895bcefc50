use baton_compose::Color;
use baton_deploy::outcome::ExitCode;
use baton_deploy::release::ReleaseId;

use crate::kit::{self, World, app};

#[tokio::test]
async fn blue_then_green_then_blue() {
    let world = World::new();
    let control = world.open().await;
    for (n, color) in [(1, Color::Blue), (2, Color::Green), (3, Color::Blue)] {
        let tag = format!("tag{n}");
        let outcome = world.deploy_ok(&control, kit::project("shop"), &tag).await;
        assert_eq!(outcome.exit_code, ExitCode::Done, "{}", outcome.message);
        assert_eq!(outcome.live, Some(color));
        assert_eq!(world.live(&control, "shop").await, (color, ReleaseId(n)));
        world.settled(&control).await;
        world.assert_clean(&control, "shop").await;
    }
}

#[tokio::test]
async fn the_same_again_is_nothing_to_do_unless_forced() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    // Another folder and another tag of the same image change nothing that runs.
    let mut again = kit::project("shop");
    again.directory = "/home/ci/checkout-7".into();
    let outcome = world.deploy_ok(&control, again.clone(), "one").await;
    assert!(outcome.ok);
    assert!(
        outcome.message.contains("nothing to do"),
        "{}",
        outcome.message
    );
    assert_eq!(outcome.release, Some(ReleaseId(1)));
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));

    let mut request = World::request(again.clone());
    request.force = true;
    let running = control.deploy(request).await.unwrap();
    let images = kit::images(&again, "one");
    control.fetched(running.deploy, Ok(images)).await.unwrap();
    let outcome = kit::result(running).await;
    assert_eq!(outcome.release, Some(ReleaseId(2)), "{}", outcome.message);
}

#[tokio::test]
async fn another_configuration_is_something_to_do() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut project = kit::project("shop");
    project.services[0].policy.max_wait = std::time::Duration::from_secs(7);
    let outcome = world.deploy_ok(&control, project, "one").await;
    assert_eq!(outcome.release, Some(ReleaseId(2)), "{}", outcome.message);
}

#[tokio::test]
async fn the_release_number_and_the_image_are_filled_in() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let release = control.release(&app("shop"), ReleaseId(1)).await.unwrap();
    assert_eq!(release.images["api"].id, "sha256:one");
    kit::until("the receipt", async || {
        !control.receipts(&app("shop"), 10).await.unwrap().is_empty()
    })
    .await;
    let receipts = control.receipts(&app("shop"), 10).await.unwrap();
    assert_eq!(receipts[0].outcome, "live");
    let steps: Vec<_> = receipts[0].steps.iter().map(|s| s.step.as_str()).collect();
    assert_eq!(
        steps,
        [
            "preflight",
            "fetch",
            "start",
            "await_healthy",
            "warm_up",
            "switch"
        ]
    );
}

#[tokio::test]
async fn the_old_worker_ends_before_the_new_one_starts_and_after_the_switch() {
    let world = World::new();
    let control = world.open().await;
    for tag in ["one", "two"] {
        let project = kit::project_with_worker("shop");
        let outcome = world.deploy_ok(&control, project, tag).await;
        assert!(outcome.ok, "{}", outcome.message);
        world.settled(&control).await;
    }
    let calls = world.engine.state().calls.clone();
    let at = |wanted: &str| {
        let found = calls.iter().position(|call| call == wanted);
        found.unwrap_or_else(|| panic!("{wanted} in {calls:#?}"))
    };
    let order = [
        at("start shop-green api"),
        at("set_live shop-green true"),
        at("clear shop-blue jobs"),
        at("start shop-green jobs"),
        at("set_live shop-blue false"),
        at("clear shop-blue "),
    ];
    assert!(order.is_sorted(), "{calls:#?}");
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn two_apps_cannot_claim_one_host() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    let mut thief = kit::project("thief");
    thief.services[0].policy.hosts = vec!["shop.example.com".to_owned()];
    let outcome = world.deploy_ok(&control, thief, "one").await;
    assert_eq!(outcome.exit_code, ExitCode::Refused);
    for word in ["shop.example.com", "app shop", "thief"] {
        assert!(outcome.message.contains(word), "{}", outcome.message);
    }
    assert!(world.engine.in_slot("thief", Color::Blue).is_empty());
    let outcome = world
        .deploy_ok(&control, kit::project("other"), "one")
        .await;
    assert!(outcome.ok, "{}", outcome.message);
    world.assert_clean(&control, "shop").await;
}

#[tokio::test]
async fn memory_for_one_copy_only_is_refused_with_the_numbers() {
    let world = World::new();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.engine.state().usage.memory_bytes = 1 << 50;
    let outcome = world.deploy_ok(&control, kit::project("shop"), "two").await;
    assert_eq!(outcome.exit_code, ExitCode::Refused);
    assert!(outcome.message.contains("1024 TiB"), "{}", outcome.message);
    assert_eq!(world.live(&control, "shop").await.1, ReleaseId(1));
}
