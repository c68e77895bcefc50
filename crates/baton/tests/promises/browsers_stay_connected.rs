//! A real browser: its `EventSource` and its streaming `fetch` stay connected through switches and
//! get every event once (`union`, and `cut` where the app replays); in `reconnect` it is back on the
//! new color at once; its WebSocket is closed with 1012 and comes back.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use testapp::load::{Accepted, Kind, PostPlan, Posts, Told};

use crate::kit::browser::Browser;
use crate::kit::machine::PATIENCE;
use crate::kit::redis::Redis;
use crate::kit::tls::{Certificate, certificate};
use crate::kit::{App, Engine, Machine, deploys, wait_for};

/// Two pages listen while the app is deployed again and again; with a certificate over HTTP/2.
fn stays_connected(machine: &Machine, app: &mut App, tls: Option<&Certificate>) {
    machine.deploy(app, &[]);
    let (origin, address) = match tls {
        Some(_) => {
            let port = machine.https.port();
            (format!("https://{}:{port}", app.host()), machine.https)
        }
        None => (format!("http://{}", machine.http), machine.http),
    };
    let streams = [("eventsource", "/sse/page"), ("fetch", "/sse/reader")];
    let mut browser = Browser::open(&origin, &streams);
    let posts = Posts::start(PostPlan {
        address,
        host: app.host().to_owned(),
        tls: tls.map(|certificate| certificate.authority.clone()),
        users: vec!["page".to_owned(), "reader".to_owned()],
        kinds: vec![Kind::Emit, Kind::EmitAndWait],
        connections: 4,
        pause: Duration::from_millis(100),
    });
    for number in 2..=deploys(20) + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(app, &[]);
        never_parted(&browser.look());
    }
    let accepted = posts.stop();
    assert!(accepted.failed.is_empty(), "{:#?}", accepted.failed);
    let seen = wait_for("every event to arrive", PATIENCE, || {
        let seen = browser.look();
        never_parted(&seen);
        let heard = told(&seen[0]).len() + told(&seen[1]).len();
        (heard >= accepted.owed.len()).then_some(seen)
    });
    for (seen, user) in seen.iter().zip(["page", "reader"]) {
        each_once(&accepted, user, &told(seen));
    }
    let protocol = if tls.is_some() { "h2" } else { "http/1.1" };
    assert_eq!(seen[1]["protocol"], protocol);
    println!(
        "{} switches, {} events for Chromium, no error, none twice",
        deploys(20),
        accepted.owed.len()
    );
}

/// Each stream was opened once, and is open.
fn never_parted(seen: &[Value]) {
    for (seen, user) in seen.iter().zip(["page", "reader"]) {
        assert_eq!(seen["errors"], serde_json::json!([]), "{user}");
        assert_eq!(seen["opens"].as_array().unwrap().len(), 1, "{user}");
        assert_ne!(seen["ended"], true, "{user}");
    }
}

/// The events of a page, whether its `EventSource` or its reader took them.
fn told(seen: &Value) -> Vec<Told> {
    let read = |text: &str| -> Told {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: no whole event: {text}"))
    };
    match seen["events"].as_array() {
        Some(events) => events
            .iter()
            .map(|event| read(event["data"].as_str().unwrap()))
            .collect(),
        None => seen["text"]
            .as_str()
            .unwrap()
            .split_inclusive("\n\n")
            .filter(|block| block.ends_with("\n\n"))
            .flat_map(str::lines)
            .filter_map(|line| line.strip_prefix("data: "))
            .map(read)
            .collect(),
    }
}

fn each_once(accepted: &Accepted, user: &str, told: &[Told]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for event in told {
        *counts.entry(&event.token).or_default() += 1;
    }
    let owed = accepted.owed.iter().filter(|(_, (whose, _))| whose == user);
    for (token, _) in owed {
        let count = counts.remove(token.as_str()).unwrap_or(0);
        assert_eq!(count, 1, "{token} for {user}");
    }
    assert!(
        counts.is_empty(),
        "{user} heard what nobody owed: {counts:?}"
    );
}

#[test]
fn browser_stays_connected_in_union() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "union");
    app.policy("sse", "[{ path: \"/sse/**\", mode: union }]");
    app.policy("drain", "{ until: { http: /drained } }");
    app.variable("SSE_IDS", "token");
    app.variable("DELAY_MS", "500");
    let files = certificate(machine.folder(), "app.test");
    app.policy("hosts", "[app.test]");
    app.policy(
        "tls",
        &format!("{{ cert: {:?}, key: {:?} }}", files.cert, files.key),
    );
    stays_connected(&machine, &mut app, Some(&files));
}

/// Both colors see every event (a shared bus), and the app replays after `Last-Event-ID`.
#[test]
fn browser_stays_connected_in_cut() {
    let (machine, redis) = (Machine::start(), Redis::start());
    let mut app = App::new(Engine::Process, "cut");
    app.policy("sse", "[{ path: \"/sse/**\", mode: cut }]");
    app.policy("drain", "{ until: { http: /drained } }");
    app.variable("REDIS_URL", &redis.url());
    app.variable("SSE_BUS", "events");
    app.variable("SSE_REPLAY", "1");
    app.variable("DELAY_MS", "500");
    stays_connected(&machine, &mut app, None);
}

/// The default for an `EventSource`: the browser is told to come back, and does, with its last id.
#[test]
fn browser_is_back_on_the_new_color_in_reconnect() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "reconnect");
    app.variable("SSE_IDS", "token");
    app.variable("SSE_HELLO", "1");
    machine.deploy(&app, &[]);
    let origin = format!("http://{}", machine.http);
    let mut browser = Browser::open(&origin, &[("eventsource", "/sse/page")]);
    for number in 2..=6 {
        let token = format!("before-{number}");
        machine.post(&app, &format!("/emit/page?token={token}&wait=1"));
        wait_for("the event", PATIENCE, || {
            told(&browser.look()[0])
                .iter()
                .any(|event| event.token == token)
                .then_some(())
        });
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
        // What the app says to who comes: its release, and the Last-Event-ID that it was given.
        let hello = format!("r{number} {token}");
        let seen = wait_for("the browser to be back", PATIENCE, || {
            let seen = browser.look().remove(0);
            let hellos = seen["hellos"].as_array().unwrap();
            (hellos.last().unwrap()["data"] == hello.as_str()).then_some(seen)
        });
        let at = |list: &str| {
            seen[list].as_array().unwrap().last().unwrap()["at"]
                .as_f64()
                .unwrap()
        };
        let away = at("hellos") - at("errors");
        println!("back after {away:.0} ms");
        assert!((0.0..2_000.0).contains(&away), "away for {away} ms: {seen}");
        let errors = seen["errors"].as_array().unwrap();
        // 0 is CONNECTING: an EventSource that gave up for good is 2, CLOSED.
        assert!(errors.iter().all(|error| error["state"] == 0), "{seen}");
        assert_eq!(
            errors.len(),
            number - 1,
            "one interruption a switch: {seen}"
        );
    }
}

#[test]
fn browser_websocket_gets_1012_and_comes_back() {
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "socket");
    app.policy("drain", "{ websockets: 2s }");
    machine.deploy(&app, &[]);
    let origin = format!("http://{}", machine.http);
    let path = "/ws/room?every_ms=50&fragments=3&size=500";
    let mut browser = Browser::open(&origin, &[("websocket", path)]);
    app.version("v2");
    machine.deploy(&app, &[]);
    let seen = wait_for("the browser to be back", PATIENCE, || {
        let seen = browser.look().remove(0);
        let visits = seen["visits"].as_array().unwrap();
        let again = visits.get(1)?["messages"].as_array().unwrap();
        (!again.is_empty()).then(|| seen.clone())
    });
    let (first, second) = (&seen["visits"][0], &seen["visits"][1]);
    assert_eq!(first["code"], 1012, "{seen}");
    assert_eq!(first["clean"], true, "{seen}");
    for (visit, release) in [(first, "r1"), (second, "r2")] {
        for (number, message) in visit["messages"].as_array().unwrap().iter().enumerate() {
            let whole = format!("{release} tick {number} {}", "x".repeat(500));
            assert_eq!(
                message.as_str(),
                Some(whole.as_str()),
                "a message arrives whole"
            );
        }
    }
    let (closed, back) = (
        first["closed"].as_f64().unwrap(),
        second["opened"].as_f64().unwrap(),
    );
    assert!(back - closed < 2_000.0, "{seen}");
}
