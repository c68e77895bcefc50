//! Messages in a color's Redis stream: all of them are handled, by their own color or, when it could
//! not, by the next one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::kit::machine::PATIENCE;
use crate::kit::redis::Redis;
use crate::kit::{App, Engine, Machine, Ran, wait_for};
use testapp::load::{Watch, WatchPlan};

fn order_app(redis: &Redis, name: &str, leftover: &str) -> App {
    let mut app = App::new(Engine::Process, name);
    app.policy("sse", "[{ path: \"/sse/**\", mode: union }]");
    app.orders(redis, leftover);
    app.policy("drain", "{ requests: 1s, connections: 5s }");
    app
}

/// One client that listens to what becomes of its orders.
fn customer(machine: &Machine, app: &App) -> Watch {
    let watch = Watch::start(WatchPlan {
        address: machine.http,
        host: app.host().to_owned(),
        tls: None,
        streams_per_http2: 0,
        users: vec!["customer".to_owned()],
        fields: Vec::new(),
    });
    wait_for("the customer to listen", PATIENCE, || {
        (watch.open() == 1).then_some(())
    });
    watch
}

fn order(machine: &Machine, app: &App, count: usize, delay_ms: u64) {
    for number in 0..count {
        let path = format!("/orders?user=customer&token=order-{number}&delay_ms={delay_ms}");
        machine.post(app, &path);
    }
}

/// How often each order was heard of, and by which release last; None as long as one was not.
fn heard(watch: &Watch, count: usize) -> Option<Vec<(usize, String)>> {
    let heard = watch.heard().remove("customer")?;
    let mut orders: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for event in heard.events {
        let (times, by) = orders.entry(event.token).or_default();
        *times += 1;
        *by = event.release;
    }
    (0..count)
        .map(|number| orders.remove(&format!("order-{number}")))
        .collect()
}

fn last_receipt(machine: &Machine, app: &App) -> Value {
    let receipts = machine.baton(app, &["receipts", "1", "--json"]);
    receipts.result()["receipts"][0].clone()
}

fn wait_until_empty(machine: &Machine, app: &App, color: &str) {
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(app, color) == "empty").then_some(())
    });
}

/// Deploys, and does something while the new release boots.
fn deploy_meanwhile(machine: &Machine, app: &App, meanwhile: impl FnOnce()) {
    let deploy = machine
        .app_command(app, &["deploy", "--json"])
        .spawn()
        .unwrap();
    wait_for("the deploy to wait for the new release", PATIENCE, || {
        (machine.app_status(app)["deploy"]["step"] == "await_healthy").then_some(())
    });
    meanwhile();
    let ran = Ran::from(deploy.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
}

/// The old color finishes what it has in hand at the switch, however long that takes.
#[test]
fn orders_of_the_old_color_are_handled_by_it() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = order_app(&redis, "orders", "wait");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let watch = customer(&machine, &app);
    app.version("v2").variable("BOOT_MS", "1000");
    deploy_meanwhile(&machine, &app, || order(&machine, &app, 20, 5_000));
    wait_until_empty(&machine, &app, &old);
    let heard = heard(&watch, 20).expect("every order was heard of before the old color went");
    let by_old = |(count, by): &(usize, String)| *count == 1 && by == "r1";
    assert!(heard.iter().all(by_old), "{heard:?}");
    let pending = redis.ask(&["XPENDING", "orders-blue", "api-blue"]);
    assert_eq!(pending.lines().next(), Some("0"));
}

/// The consumer dies while the new release boots: some orders are handled, some are given to it and
/// never handled, some it never sees. What it left moves to the new color, and the receipt says how
/// many. (What was left before a deploy began would not move: that would run history again.)
#[test]
fn orders_that_a_dead_consumer_left_move_to_the_new_color() {
    const ORDERS: usize = 30;
    const HANDLED: usize = 5;
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = order_app(&redis, "dead", "move");
    app.variable("CONSUMER_DIES_AFTER", &HANDLED.to_string());
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let watch = customer(&machine, &app);
    app.without_variable("CONSUMER_DIES_AFTER").version("v2");
    app.variable("BOOT_MS", "2000");
    deploy_meanwhile(&machine, &app, || order(&machine, &app, ORDERS, 0));
    wait_until_empty(&machine, &app, &old);
    let heard = wait_for("every order to be handled", PATIENCE, || {
        heard(&watch, ORDERS)
    });
    let by_new = heard.iter().filter(|(_, by)| by == "r2").count();
    assert_eq!(by_new, ORDERS - HANDLED, "{heard:?}");
    let receipt = last_receipt(&machine, &app);
    println!("{}", receipt["messages"]);
    assert_eq!(receipt["messages"]["moved"], by_new, "{receipt}");
}

/// The old color only produced: what nobody has read moves as a whole.
#[test]
fn ten_thousand_unread_orders_move_to_the_new_color() {
    const ORDERS: usize = 10_000;
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = order_app(&redis, "unread", "move");
    app.variable("REDIS_CONSUME", "0");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let watch = customer(&machine, &app);
    let script = format!(
        "for n = 0, {} do redis.call('XADD', KEYS[1], '*', 'user', 'customer', 'token', 'order-' .. n, 'delay_ms', '0', 'by', 'blue') end",
        ORDERS - 1
    );
    redis.ask(&["EVAL", &script, "1", "orders-blue"]);
    assert_eq!(redis.ask(&["XLEN", "orders-blue"]), ORDERS.to_string());
    app.without_variable("REDIS_CONSUME").version("v2");
    machine.deploy(&app, &[]);
    wait_until_empty(&machine, &app, &old);
    let heard = wait_for("every order to be handled", PATIENCE, || {
        heard(&watch, ORDERS)
    });
    let once = |(count, by): &(usize, String)| *count == 1 && by == "r2";
    assert!(heard.iter().all(once), "an order was handled twice");
    let receipt = last_receipt(&machine, &app);
    println!("{}", receipt["messages"]);
    assert_eq!(receipt["messages"]["moved"], ORDERS, "{receipt}");
    assert_eq!(redis.ask(&["XLEN", "orders-blue"]), "0");
}

/// Redis goes away after the switch and comes back: the old color stays until its messages can be
/// seen, and none is lost.
#[test]
fn old_color_stays_while_redis_is_away() {
    let (machine, mut redis) = (Machine::start(), Redis::start());
    let mut app = order_app(&redis, "away", "wait");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let watch = customer(&machine, &app);
    order(&machine, &app, 5, 3_000);
    app.version("v2");
    machine.deploy(&app, &[]);
    redis.down();
    // Longer than `drain.requests` and the orders' delay: without its messages in sight it stays.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(machine.role(&app, &old), "draining");
    redis.up();
    wait_until_empty(&machine, &app, &old);
    let heard = wait_for("every order to be handled", PATIENCE, || heard(&watch, 5));
    assert!(heard.iter().all(|(count, _)| *count >= 1), "{heard:?}");
}

/// The old color finishes what it had read when the deploy began.
#[test]
fn orders_in_hand_when_a_deploy_begins_are_waited_for() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = order_app(&redis, "orders", "wait");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let watch = customer(&machine, &app);
    order(&machine, &app, 20, 4_000);
    app.version("v2");
    machine.deploy(&app, &[]);
    wait_until_empty(&machine, &app, &old);
    let heard = heard(&watch, 20).expect("every order was heard of before the old color went");
    assert!(
        heard
            .iter()
            .all(|(count, by)| (*count, by.as_str()) == (1, "r1")),
        "{heard:?}"
    );
    assert_eq!(
        redis
            .ask(&["XPENDING", "orders-blue", "api-blue"])
            .lines()
            .next(),
        Some("0")
    );
}
