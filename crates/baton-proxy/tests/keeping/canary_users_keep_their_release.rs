//! A canary (DESIGN.md §7): who has met the new release keeps it while the weight rises.

use std::sync::Arc;

use baton_proxy::{Instance, SessionRule, Split};

use crate::kit::{App, Front, Message, Plan, Wire, dead_address, h2c_echo};

const USERS: usize = 1_000;

fn plan(blue: &Arc<Instance>, green: &Arc<Instance>, weight: u8) -> Plan {
    let mut plan = Plan::to(&[blue]);
    plan.split = Some(Split {
        instances: vec![Arc::clone(green)],
        weight,
        release: "r2".into(),
        header: true,
    });
    plan
}

/// Blue, a canary of this weight, and the proxy before them.
fn canary(weight: u8) -> (Front, App, App) {
    let (blue, green) = (App::saying("blue"), App::saying("green"));
    let front = Front::start(plan(&blue.instance, &green.instance, weight));
    (front, blue, green)
}

/// `fields`: each with its CRLF.
fn ask(wire: &mut Wire, fields: &str) -> Message {
    wire.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    wire.response()
}

fn given(answer: &Message) -> Option<&str> {
    let cookie = answer.field("set-cookie")?;
    Some(cookie.split(';').next().unwrap())
}

/// Takes users through the steps of a canary; `visit` is one request of one of them, and whether the
/// canary has answered.
fn steps(mut visit: impl FnMut(usize) -> bool, publish: impl Fn(u8)) {
    let mut before = vec![false; USERS];
    for weight in [5, 25, 50, 100_u8] {
        publish(weight);
        for (user, before) in before.iter_mut().enumerate() {
            let now = visit(user);
            assert!(now || !*before, "user {user} is back at {weight}");
            assert_eq!(visit(user), now, "user {user} at {weight}");
            *before = now;
        }
        let share = before.iter().filter(|on| **on).count() * 100 / USERS;
        let weight = usize::from(weight);
        assert!(share.abs_diff(weight) <= 5, "{share} for {weight}");
        if weight == 100 {
            assert_eq!(share, 100);
        }
    }
}

#[test]
fn users_with_cookies_never_go_back() {
    let (front, blue, green) = canary(0);
    let mut wire = front.client();
    let mut jars = vec![String::new(); USERS];
    steps(
        |user| {
            let answer = ask(&mut wire, &jars[user]);
            match (given(&answer), jars[user].is_empty()) {
                (Some(cookie), true) => jars[user] = format!("Cookie: a=b; {cookie}\r\n"),
                (None, false) => {}
                (given, _) => panic!("user {user}: {given:?} with {:?}", jars[user]),
            }
            answer.text() == "green"
        },
        |weight| front.publish(plan(&blue.instance, &green.instance, weight)),
    );
}

#[test]
fn users_with_a_token_never_go_back() {
    let (front, blue, green) = canary(0);
    let mut wire = front.client();
    steps(
        |user| {
            let token = format!("Authorization: Bearer {user}\r\n");
            ask(&mut wire, &token).text() == "green"
        },
        |weight| front.publish(plan(&blue.instance, &green.instance, weight)),
    );
}

#[test]
fn users_behind_a_trusted_proxy_are_told_apart_by_their_address() {
    let (front, blue, green) = canary(0);
    let mut wire = front.client();
    steps(
        |user| {
            let chain = format!("198.51.100.9, 203.0.{}.{}", user / 250, user % 250);
            ask(&mut wire, &format!("X-Forwarded-For: {chain}\r\n")).text() == "green"
        },
        |weight| front.publish(plan(&blue.instance, &green.instance, weight)),
    );
}

/// The first request goes by the address, the second by the cookie that came with its answer.
#[test]
fn a_second_request_is_answered_as_the_first() {
    let (front, ..) = canary(50);
    let mut wire = front.client();
    let mut on = [0, 0];
    for user in 0..100 {
        let first = ask(&mut wire, &format!("X-Real-IP: 2001:db8:0:{user:x}::1\r\n"));
        let cookie = given(&first).expect("it had none").to_owned();
        let second = ask(
            &mut wire,
            &format!("X-Real-IP: 198.51.100.{user}\r\nCookie: {cookie}\r\n"),
        );
        assert_eq!(first.text(), second.text());
        on[usize::from(first.text() == "green")] += 1;
    }
    assert!(on[0] > 20 && on[1] > 20, "{on:?}");
}

#[test]
fn without_a_canary_nothing_is_set() {
    let (blue, green) = (App::saying("blue"), App::saying("green"));
    let front = Front::start(Plan::to(&[&blue.instance]));
    assert_eq!(front.get("/").field("set-cookie"), None);
    front.publish(plan(&blue.instance, &green.instance, 0));
    let plain = front.get("/");
    let cookie = plain.field("set-cookie").unwrap();
    assert!(
        cookie.ends_with("; Path=/; SameSite=Lax; HttpOnly"),
        "{cookie}"
    );
    let secure = ask(&mut front.client(), "X-Forwarded-Proto: https\r\n");
    assert!(
        secure
            .field("set-cookie")
            .unwrap()
            .ends_with("; HttpOnly; Secure")
    );
}

#[test]
fn the_cookie_reaches_the_app_as_it_came() {
    let says = |mut wire: Wire| {
        while let Some(head) = wire.try_head() {
            let body = head.field("cookie").unwrap_or_default().to_owned();
            wire.send(crate::kit::ok(&body));
        }
    };
    let (blue, green) = (App::start(says), App::start(says));
    let front = Front::start(plan(&blue.instance, &green.instance, 50));
    let answer = ask(&mut front.client(), "Cookie: x=1; baton_id=0123; y=2\r\n");
    assert_eq!(answer.text(), "x=1; baton_id=0123; y=2");
    assert_eq!(answer.field("set-cookie"), None);
}

#[test]
fn the_header_decides() {
    let (front, blue, green) = canary(0);
    let mut wire = front.client();
    let mut with = |wish: &str| {
        let fields = format!("X-Baton-Canary: {wish}\r\nCookie: baton_id=0123\r\n");
        let answer = ask(&mut wire, &fields);
        assert_eq!(answer.field("set-cookie"), None);
        answer.text().to_owned()
    };
    assert_eq!(
        (with("always"), with("no")),
        ("green".into(), "blue".into())
    );
    front.publish(plan(&blue.instance, &green.instance, 100));
    assert_eq!((with("never"), with("no")), ("blue".into(), "green".into()));
    let mut plan = plan(&blue.instance, &green.instance, 100);
    plan.split.as_mut().unwrap().header = false;
    front.publish(plan);
    assert_eq!(with("never"), "green");
}

#[test]
fn a_side_that_has_nobody_left_is_served_by_the_other() {
    let (front, blue, green) = canary(100);
    assert_eq!(front.get("/").text(), "green");
    green.instance.close();
    assert_eq!(front.get("/").text(), "blue");
    green.instance.open();
    blue.instance.close();
    front.publish(plan(&blue.instance, &green.instance, 0));
    assert_eq!(front.get("/").text(), "green");
}

#[test]
fn a_canary_that_refuses_connections_costs_no_request() {
    let (blue, (_socket, address)) = (App::saying("blue"), dead_address());
    let green = Instance::new("green", address, false);
    let front = Front::start(plan(&blue.instance, &green, 100));
    assert_eq!(front.get("/").text(), "blue");
}

#[test]
fn a_session_wins_over_the_split() {
    let login = |body: &'static str| {
        move |mut wire: Wire| {
            while wire.try_head().is_some() {
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\nSet-Cookie: SID={body}\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ));
            }
        }
    };
    let (blue, green) = (App::start(login("blue")), App::start(login("green")));
    let with = |weight| {
        let mut plan = plan(&blue.instance, &green.instance, weight);
        plan.sessions = Some(Arc::new(SessionRule {
            cookie: "SID".into(),
            keep: std::time::Duration::from_secs(60),
        }));
        plan
    };
    let front = Front::start(with(100));
    let mut wire = front.client();
    assert_eq!(ask(&mut wire, "").text(), "green");
    front.publish(with(0));
    assert_eq!(ask(&mut wire, "").text(), "blue");
    assert_eq!(ask(&mut wire, "Cookie: SID=green\r\n").text(), "green");
    front.publish(with(100));
    assert_eq!(ask(&mut wire, "Cookie: SID=blue\r\n").text(), "blue");
}

#[test]
fn an_upgraded_connection_is_given_its_cookie_too() {
    let switch = |mut wire: Wire| {
        wire.try_head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    };
    let (blue, green) = (App::start(switch), App::start(switch));
    let front = Front::start(plan(&blue.instance, &green.instance, 50));
    let answer = ask(&mut front.client(), "Connection: Upgrade\r\nUpgrade: x\r\n");
    assert_eq!(answer.status(), 101);
    assert!(given(&answer).unwrap().starts_with("baton_id="));
}

#[test]
fn h2c_instances_have_a_canary_too() {
    let (blue, green) = (h2c_echo(), h2c_echo());
    let with = |weight| {
        let mut plan = plan(&blue, &green, weight);
        plan.protocol = baton_proxy::Protocol::H2c;
        plan
    };
    let front = Front::start(with(100));
    let mut wire = front.client();
    let first = ask(&mut wire, "");
    let cookie = given(&first).expect("it had none").to_owned();
    front.publish(with(50));
    for _ in 0..10 {
        let answer = ask(&mut wire, &format!("Cookie: {cookie}\r\n"));
        assert_eq!(answer.field("set-cookie"), None);
    }
    let requests = |i: &Instance| {
        i.counters
            .requests
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!(requests(&blue) + requests(&green), 11);
    assert!(matches!(requests(&blue), 0 | 10), "one side, not both");
}
