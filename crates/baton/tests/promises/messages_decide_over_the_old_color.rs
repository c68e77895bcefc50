//! A color whose messages cannot be seen, or are not handled, decides how far a deploy goes.

use crate::kit::machine::PATIENCE;
use crate::kit::redis::Redis;
use crate::kit::{App, Engine, Machine, Ran, wait_for};

fn app(redis: &Redis, name: &str, leftover: &str) -> App {
    let mut app = App::new(Engine::Process, name);
    app.orders(redis, leftover);
    app.policy("drain", "{ requests: 1s, connections: 3s }");
    app
}

/// Nothing is changed as long as the live color's messages cannot be seen.
#[test]
fn a_redis_that_is_away_refuses_the_deploy() {
    let (machine, mut redis) = (Machine::start(), Redis::start());
    let mut app = app(&redis, "refused", "move");
    machine.deploy(&app, &[]);
    let before = machine.get("app.test", "/").2;
    redis.down();
    app.version("v2");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 6, "{ran}");
    assert!(ran.message().contains("Redis at"), "{ran}");
    assert_eq!(machine.get("app.test", "/").2, before);
    redis.up();
    machine.deploy(&app, &["--wait", "drained"]);
}

/// `leftover: fail`: a consumer that died leaves messages, and traffic goes back to its release. The
/// command has ended by then, unless it waits for the drain.
#[test]
fn messages_that_are_left_take_the_deploy_back() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = app(&redis, "takenback", "fail");
    app.variable("CONSUMER_DIES_AFTER", "2");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    app.without_variable("CONSUMER_DIES_AFTER").version("v2");
    app.variable("BOOT_MS", "2000");
    let deploy = machine
        .app_command(&app, &["deploy", "--json", "--wait", "drained"])
        .spawn()
        .unwrap();
    wait_for("the deploy to wait for the new release", PATIENCE, || {
        (machine.app_status(&app)["deploy"]["step"] == "await_healthy").then_some(())
    });
    for number in 0..10 {
        machine.post(
            &app,
            &format!("/orders?user=nobody&token=order-{number}&delay_ms=0"),
        );
    }
    let ran = Ran::from(deploy.wait_with_output().unwrap());
    assert_eq!(ran.code, 4, "{ran}");
    assert_eq!(ran.result()["receipt"]["outcome"], "taken back", "{ran}");
    wait_for("the old release to serve again", PATIENCE, || {
        (machine.live(&app) == old).then_some(())
    });
    assert_eq!(machine.answering_release(&app), "r1");
    let warnings = machine.app_status(&app)["warnings"].to_string();
    assert!(warnings.contains("taken back"), "{warnings}");
}
