//! `allow` and `basic_auth`: networks, then user and password.

use std::sync::atomic::Ordering::Relaxed;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use baton_proxy::Access;

use crate::kit::{App, Front, Message, Plan, Wire, ok};

/// Quick to check, for tests.
const COST: u32 = 4;

/// Says which `Authorization` it has got.
fn says_authorization(mut wire: Wire) {
    while let Some(head) = wire.try_head() {
        wire.read_exact(head.length());
        wire.send(ok(head.field("authorization").unwrap_or("none")));
    }
}

fn behind(access: Access) -> (Front, App) {
    let app = App::start(says_authorization);
    let mut plan = Plan::to(&[&app.instance]);
    plan.access = Some(access);
    (Front::start(plan), app)
}

fn users() -> Access {
    let hash = |password| bcrypt::hash(password, COST).unwrap();
    Access {
        allow: Vec::new(),
        users: vec![
            ("ann".into(), hash("secret: ä")),
            ("bob".into(), hash("other")),
        ],
    }
}

fn basic(user: &str, password: &str) -> String {
    let pair = STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {pair}\r\n")
}

fn ask(wire: &mut Wire, fields: &str) -> Message {
    wire.send(format!(
        "GET / HTTP/1.1\r\nHost: a.test:8080\r\n{fields}\r\n"
    ));
    wire.response()
}

#[test]
fn the_right_password_lets_in_and_stays_with_baton() {
    let (front, app) = behind(users());
    let mut wire = front.client();
    for (user, password) in [("ann", "secret: ä"), ("bob", "other"), ("ann", "secret: ä")] {
        let answer = ask(&mut wire, &basic(user, password));
        assert_eq!((answer.status(), answer.text()), (200, "none"));
    }
    let body = basic("ann", "secret: ä");
    wire.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n{body}\r\nabc"
    ));
    assert_eq!(wire.response().status(), 200);
    assert_eq!(app.instance.counters.requests.load(Relaxed), 4);
}

#[test]
fn everyone_else_is_asked() {
    let (front, app) = behind(users());
    let mut wire = front.client();
    for fields in [
        String::new(),
        basic("ann", "wrong"),
        basic("ann", "wrong"),
        basic("ann", "other"),
        basic("nobody", "other"),
        basic("ann", ""),
        "Authorization: Basic !!!\r\n".into(),
        "Authorization: Basic YW5u\r\n".into(),
        "Authorization: Bearer secret\r\n".into(),
        "Authorization:\r\n".into(),
    ] {
        let answer = ask(&mut wire, &fields);
        assert_eq!(answer.status(), 401, "{fields}");
        assert_eq!(
            answer.field("www-authenticate"),
            Some("Basic realm=\"a.test\", charset=\"UTF-8\"")
        );
    }
    assert_eq!(app.connections(), 0);
}

#[test]
fn a_password_that_was_changed_is_asked_for_again() {
    let (front, app) = behind(users());
    assert_eq!(
        ask(&mut front.client(), &basic("bob", "other")).status(),
        200
    );
    let mut plan = Plan::to(&[&app.instance]);
    plan.access = Some(Access {
        allow: Vec::new(),
        users: vec![("bob".into(), bcrypt::hash("new", COST).unwrap())],
    });
    front.publish(plan);
    let mut wire = front.client();
    assert_eq!(ask(&mut wire, &basic("bob", "other")).status(), 401);
    assert_eq!(ask(&mut wire, &basic("bob", "new")).status(), 200);
}

/// One that is not known costs as much as one that is: a name cannot be guessed by the time.
#[test]
fn an_unknown_user_is_checked_like_a_known_one() {
    let (front, _app) = behind(Access {
        allow: Vec::new(),
        users: vec![("ann".into(), bcrypt::hash("x", 10).unwrap())],
    });
    let mut wire = front.client();
    let mut took = |user: &str| {
        let begun = std::time::Instant::now();
        assert_eq!(ask(&mut wire, &basic(user, "wrong")).status(), 401);
        begun.elapsed()
    };
    let (known, unknown) = (took("ann"), took("eve"));
    assert!(
        unknown * 4 > known && known * 4 > unknown,
        "{known:?} {unknown:?}"
    );
    // And what is known to be wrong costs nothing.
    assert!(took("ann") < known);
}

/// Others of the same worker are served meanwhile.
#[test]
fn a_check_holds_nobody_up() {
    let (front, _app) = behind(Access {
        allow: Vec::new(),
        users: vec![
            ("slow".into(), bcrypt::hash("x", 12).unwrap()),
            ("bob".into(), bcrypt::hash("other", COST).unwrap()),
        ],
    });
    let mut known = front.client();
    assert_eq!(ask(&mut known, &basic("bob", "other")).status(), 200);
    let mut slow = front.client();
    let fields = basic("slow", "wrong");
    slow.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n"));
    for _ in 0..5 {
        assert_eq!(ask(&mut known, &basic("bob", "other")).status(), 200);
    }
    slow.stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let waits = slow.stream.peek(&mut byte).is_err();
    slow.stream.set_nonblocking(false).unwrap();
    assert!(waits, "the slow one was answered first");
    assert_eq!(slow.response().status(), 401);
}

#[test]
fn without_users_the_field_is_the_apps() {
    let (front, _app) = behind(Access {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        users: Vec::new(),
    });
    let answer = ask(&mut front.client(), "Authorization: Bearer a\r\n");
    assert_eq!(answer.text(), "Bearer a");
}

#[test]
fn clients_of_other_networks_stay_outside() {
    let (front, app) = behind(Access {
        allow: vec![
            "198.51.100.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        ..users()
    });
    let mut wire = front.client();
    let mut status = |fields: &str| ask(&mut wire, fields).status();
    // Loopback is the proxy's own address, and a trusted one's.
    assert_eq!(status(""), 403);
    assert_eq!(status(&basic("ann", "secret: ä")), 403, "first allow");
    for outside in [
        "X-Forwarded-For: 203.0.113.1\r\n",
        "X-Forwarded-For: 198.51.100.7, 203.0.113.1\r\n",
        "X-Forwarded-For: unknown\r\n",
        "X-Real-IP: 203.0.113.1\r\n",
        // Whichever of the two the client has made up.
        "X-Real-IP: 198.51.100.7\r\nX-Forwarded-For: 203.0.113.1\r\n",
        "X-Real-IP: 203.0.113.1\r\nX-Forwarded-For: 198.51.100.7\r\n",
    ] {
        assert_eq!(status(outside), 403, "{outside}");
    }
    for inside in [
        "X-Forwarded-For: 203.0.113.1, 198.51.100.7\r\n",
        "X-Real-IP: 2001:db8::7\r\n",
        "X-Real-IP: 198.51.100.7\r\nX-Forwarded-For: 198.51.100.7\r\n",
        "X-Real-IP: 127.0.0.1\r\nX-Forwarded-For: 198.51.100.7, 127.0.0.1\r\n",
    ] {
        assert_eq!(status(inside), 401, "{inside}");
        let both = format!("{inside}{}", basic("bob", "other"));
        assert_eq!(status(&both), 200, "{inside}");
    }
    assert_eq!(app.instance.counters.requests.load(Relaxed), 4);
}
