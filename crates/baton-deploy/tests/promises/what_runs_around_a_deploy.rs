//! Migrations and hooks: once, in their place, and one that fails before the switch stops the deploy
//! with what it wrote.

use std::time::Duration;

use baton_compose::Project;
use baton_compose::policy::{HookCommand, Hooks, Migrate};
use baton_deploy::outcome::ExitCode;

use crate::kit::{self, World};

fn migrating() -> Project {
    kit::project_with("shop", |service| {
        service.policy.migrate = Some(Migrate {
            command: vec!["./migrate".to_owned()],
            timeout: Duration::from_secs(60),
        });
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_runs_once_a_release_before_it_starts() {
    let world = World::new();
    let control = world.open().await;
    assert!(world.deploy_ok(&control, migrating(), "one").await.ok);
    world.settled(&control).await;
    let calls = world.engine.state().calls.clone();
    let at = |what: &str| {
        calls
            .iter()
            .position(|call| call.starts_with(what))
            .unwrap()
    };
    assert!(
        at("once shop-blue api ./migrate") < at("start shop-blue"),
        "{calls:?}"
    );
    assert!(world.deploy_ok(&control, migrating(), "two").await.ok);
    world.settled(&control).await;
    // A rollback goes back in the image, not in the schema.
    assert!(world.rollback(&control, "shop", None).await.ok);
    let calls = world.engine.state().calls.clone();
    let times = calls.iter().filter(|call| call.starts_with("once")).count();
    assert_eq!(times, 2, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_fails_says_what_that_means() {
    let world = World::new();
    let control = world.open().await;
    assert!(world.deploy_ok(&control, migrating(), "one").await.ok);
    world.settled(&control).await;
    world.engine.state().exit_codes.push_back(9);
    let outcome = world.deploy_ok(&control, migrating(), "two").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    for text in [
        "exit code 9",
        "half changed",
        "./migrate",
        "r1 (blue) is untouched",
    ] {
        assert!(
            outcome.message.contains(text),
            "{text} in {}",
            outcome.message
        );
    }
    assert_eq!(outcome.failure.unwrap().log, ["migrating"]);
    world.assert_clean(&control, "shop").await;
}

/// A project in `folder` whose hooks write their names there.
fn hooked(folder: &std::path::Path, before_switch: &str) -> Project {
    let line = |text: &str| vec![HookCommand::Shell(text.to_owned())];
    let mut project = kit::project_with("shop", |service| {
        service.policy.hooks = Hooks {
            before_start: line("echo before_start $BATON_RELEASE >> hooks"),
            before_switch: line(before_switch),
            after_switch: line("echo after_switch >> hooks; exit 1"),
            after_deploy: line("echo after_deploy $BATON_OLD_RELEASE >> hooks"),
        };
    });
    project.directory = folder.to_owned();
    project
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_run_in_their_place_and_one_after_the_switch_may_fail() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let project = hooked(folder.path(), "echo before_switch >> hooks");
    let outcome = world.deploy_ok(&control, project, "two").await;
    assert!(outcome.ok, "{}", outcome.message);
    let written = std::fs::read_to_string(folder.path().join("hooks")).unwrap();
    assert_eq!(
        written,
        "before_start r2\nbefore_switch\nafter_switch\nafter_deploy r1\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_before_the_switch_stops_the_deploy() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let control = world.open().await;
    world.deploy_ok(&control, kit::project("shop"), "one").await;
    world.settled(&control).await;
    let project = hooked(folder.path(), "echo not today; exit 7");
    let outcome = world.deploy_ok(&control, project, "two").await;
    assert_eq!(
        outcome.exit_code,
        ExitCode::ReleaseFailed,
        "{}",
        outcome.message
    );
    assert!(
        outcome.message.contains("before_switch of api"),
        "{}",
        outcome.message
    );
    assert!(outcome.message.contains("code 7"), "{}", outcome.message);
    assert_eq!(outcome.failure.unwrap().log, ["not today"]);
    world.settled(&control).await;
    world.assert_clean(&control, "shop").await;
}
