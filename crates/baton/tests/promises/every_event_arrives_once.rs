//! Clients of event streams stay connected through deploys, and each event that the app accepted
//! arrives exactly once, whichever color emits it: at once, after a while, or through the color's
//! Redis stream.

use std::time::Duration;

use testapp::load::Kind;

use crate::kit::crowd::{Crowd, CrowdPlan};
use crate::kit::machine::{PATIENCE, get};
use crate::kit::redis::Redis;
use crate::kit::tls::certificate;
use crate::kit::{App, Engine, Machine, deploys, wait_for};

/// `/sse/**` in union, and the app says when it has no event left.
fn union_app(engine: Engine, name: &str) -> App {
    let mut app = App::new(engine, name);
    app.policy("sse", "[{ path: \"/sse/**\", mode: union }]");
    app.policy("drain", "{ until: { http: /drained } }");
    app
}

#[test]
fn two_hundred_clients_hear_everything_through_thirty_deploys() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = union_app(Engine::Process, "crowd");
    let files = certificate(machine.folder(), "app.test");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
    );
    app.policy(
        "redis",
        "{ url_env: REDIS_URL, streams: [{ key_env: REDIS_STREAM_KEY, group_env: REDIS_CONSUMER_GROUP }] }",
    );
    app.variable("REDIS_URL", &redis.url());
    app.variable("REDIS_STREAM_KEY", "orders-${BATON_COLOR:-blue}");
    app.variable("REDIS_CONSUMER_GROUP", "api-${BATON_COLOR:-blue}");
    app.variable("DELAY_MS", "2000");
    machine.deploy(&app, &[]);
    let crowd = Crowd::start(
        &machine,
        &app,
        CrowdPlan {
            http1: 100,
            http2: 100,
            tls: Some(&files),
            kinds: vec![Kind::Emit, Kind::EmitAndWait, Kind::Order],
            posters: 24,
            pause: Duration::from_millis(200),
        },
    );
    let deploys = deploys(30);
    for number in 2..=deploys + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
    }
    let account = crowd.finish();
    println!("{deploys} deploys: {}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
    account.colors_kept_apart();
    assert!(
        account.releases().len() as u64 > deploys / 2,
        "{:?}",
        account.releases()
    );
}

#[test]
fn clients_of_containers_hear_everything() {
    let machine = Machine::start();
    let mut app = union_app(Engine::Docker, "crowd");
    app.variable("DELAY_MS", "2000");
    machine.deploy(&app, &[]);
    let crowd = Crowd::start(&machine, &app, few(&[Kind::Emit, Kind::EmitAndWait]));
    for number in 2..=deploys(4) + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
    }
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
}

/// Plain HTTP/1.1 and h2c.
fn few(kinds: &[Kind]) -> CrowdPlan<'static> {
    CrowdPlan {
        http1: 20,
        http2: 20,
        tls: None,
        kinds: kinds.to_vec(),
        posters: 8,
        pause: Duration::from_millis(100),
    }
}

/// An app that closes its emitters is asked again at once; what it emits meanwhile it has to keep, as
/// it has to for a browser.
#[test]
fn emitters_that_time_out_are_not_noticed() {
    let machine = Machine::start();
    let mut app = union_app(Engine::Process, "timeout");
    app.variable("EMITTER_TIMEOUT_MS", "5000");
    app.variable("HOLD_UNHEARD", "1");
    app.variable("DELAY_MS", "1000");
    machine.deploy(&app, &[]);
    let crowd = Crowd::start(&machine, &app, few(&[Kind::Emit, Kind::EmitAndWait]));
    for number in 2..=deploys(10) + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
    }
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    // Without a handover the end of the only half ends the stream, so a client may have come back.
    for (user, heard) in &account.heard {
        assert_eq!(heard.broken, 0, "{user}: {heard:#?}");
        assert!(heard.failed.is_empty(), "{user}: {heard:#?}");
    }
}

/// Spring's `SseEmitter` sends its head with its first event.
#[test]
fn heads_that_come_with_the_first_event_lose_nothing() {
    let machine = Machine::start();
    let mut app = union_app(Engine::Process, "late");
    app.policy(
        "sse",
        "[{ path: \"/sse/**\", mode: union, attach_grace: 500ms }]",
    );
    app.variable("LATE_HEADERS", "1");
    app.variable("DELAY_MS", "1000");
    machine.deploy(&app, &[]);
    let crowd = Crowd::start(&machine, &app, few(&[Kind::Emit, Kind::EmitAndWait]));
    wait_for("every client to have heard something", PATIENCE, || {
        let heard = crowd.heard();
        (heard.len() == 40 && heard.values().all(|heard| !heard.events.is_empty())).then_some(())
    });
    for number in 2..=deploys(10) + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
    }
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
}

/// The way back attaches first, too: rollback and switch, to a color that is warm.
#[test]
fn clients_hear_everything_on_the_way_back() {
    let machine = Machine::start();
    let mut app = union_app(Engine::Process, "back");
    app.policy("keep_warm", "1m");
    app.variable("DELAY_MS", "1000");
    machine.deploy(&app, &[]);
    let crowd = Crowd::start(&machine, &app, few(&[Kind::Emit, Kind::EmitAndWait]));
    for number in 2..=deploys(4) + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
        for command in ["rollback", "switch"] {
            let before = machine.live(&app);
            let ran = machine.baton(&app, &[command, "--json"]);
            assert_eq!(ran.code, 0, "{command}: {ran}");
            assert_ne!(machine.live(&app), before, "{command}");
        }
    }
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
}

/// The map is in the memory of each process, so each client listens to each replica.
#[test]
fn clients_hear_every_replica() {
    let machine = Machine::start();
    let mut app = union_app(Engine::Process, "replicas");
    app.variable("DELAY_MS", "1000");
    let two = |app: &App| {
        let text = app.compose();
        let text = text.replace(
            "    x-baton:\n",
            "    deploy: { replicas: 2 }\n    x-baton:\n",
        );
        app.write_file("compose.yaml", &text);
    };
    two(&app);
    machine.deploy(&app, &[]);
    // A client that comes now is given its second half at once, but not in the same moment.
    let crowd = Crowd::start_when(
        &machine,
        &app,
        few(&[Kind::Emit, Kind::EmitAndWait]),
        || {
            let status = machine.app_status(&app);
            let instances = &status["colors"]["blue"]["instances"];
            (0..2).all(|at| instances[at]["sse"] == 40)
        },
    );
    for number in 2..=deploys(4) + 1 {
        app.version(&format!("v{number}"));
        two(&app);
        machine.deploy(&app, &[]);
    }
    let account = crowd.finish();
    println!("{}", account.summary());
    account.nothing_is_lost();
    account.nobody_was_disconnected();
    let processes: std::collections::BTreeSet<_> = account
        .events()
        .map(|event| (&event.release, event.pid))
        .collect();
    assert!(processes.len() > account.releases().len(), "{processes:?}");
}

/// Each event is written in two pieces, a second apart, and the old instance is killed between them.
#[test]
fn killed_old_color_leaves_no_broken_event() {
    const CLIENTS: usize = 20;
    let machine = Machine::start();
    let mut app = union_app(Engine::Process, "killed");
    app.variable("SPLIT_MS", "1000");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let (address, pid) = instance(&machine, &app, &old);
    let plan = CrowdPlan {
        posters: 0,
        ..few(&[Kind::Emit])
    };
    let crowd = Crowd::start(
        &machine,
        &app,
        CrowdPlan {
            http1: CLIENTS / 2,
            http2: CLIENTS / 2,
            ..plan
        },
    );
    let users: Vec<String> = crowd.heard().into_keys().collect();
    for user in &users {
        machine.post(
            &app,
            &format!("/emit/{user}?token=old-{user}&delay_ms=4000"),
        );
    }
    app.version("v2");
    machine.deploy(&app, &[]);
    assert_eq!(
        machine.role(&app, &old),
        "draining",
        "it has events to come"
    );
    wait_for("the old color to begin its events", PATIENCE, || {
        let (_, _, body) = get(address, app.host(), "/scene").ok()?;
        let scene: serde_json::Value = serde_json::from_str(&body).ok()?;
        (scene["emitted"] == CLIENTS).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for user in &users {
        machine.post(&app, &format!("/emit/{user}?token=new-{user}"));
    }
    wait_for("the new color's events", PATIENCE, || {
        let heard = crowd.heard();
        users
            .iter()
            .all(|user| !heard[user].events.is_empty())
            .then_some(())
    });
    let heard = crowd.heard();
    for (user, heard) in &heard {
        let tokens: Vec<&str> = heard
            .events
            .iter()
            .map(|event| event.token.as_str())
            .collect();
        assert_eq!(tokens, [format!("new-{user}")], "{user}: {heard:#?}");
        assert!(heard.torn.is_empty(), "{user}: {heard:#?}");
        assert_eq!(heard.interruptions(), 0, "{user}: {heard:#?}");
    }
}

/// Address and process of the only instance of a color that serves.
fn instance(machine: &Machine, app: &App, color: &str) -> (std::net::SocketAddr, i32) {
    let status = machine.app_status(app);
    let address = &status["colors"][color]["instances"][0]["address"];
    let (_, _, body) = machine.get(app.host(), "/");
    let who: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(who["color"], color);
    let pid = who["pid"].as_i64().unwrap();
    (address.as_str().unwrap().parse().unwrap(), pid as i32)
}
