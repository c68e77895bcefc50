//! The visitors see who answers, over HTTP/1.1 and HTTP/2.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use testapp::load::{FIRST_PHASE, Load, Plan, VisitPlan, Visitor, Visitors};

use crate::kit::{App, wait_for};

fn plan(address: SocketAddr, visitors: Vec<Visitor>) -> VisitPlan {
    VisitPlan {
        pause: Duration::from_millis(1),
        ..VisitPlan::new(address, "app", visitors)
    }
}

#[test]
fn every_answer_is_counted_by_release() {
    let app = App::start(&[("BATON_RELEASE", "r5"), ("BATON_COLOR", "blue")]);
    let visits = Visitors::start(VisitPlan {
        requests_each: 10,
        threads: 2,
        ..plan(
            app.address,
            vec![Visitor::plain("one"), Visitor::plain("two").over_http2()],
        )
    })
    .wait();
    assert_eq!((visits.requests, visits.failed()), (20, 0), "{visits:?}");
    assert_eq!(visits.by_release, [("r5".to_owned(), 20)].into());
    assert_eq!(visits.latency[FIRST_PHASE].count(), 20);
    for name in ["one", "two"] {
        let trail = &visits.trails[name];
        assert_eq!(trail.releases(), ["r5"]);
        assert_eq!(
            (trail.stays[0].requests, trail.stays[0].instances.len()),
            (10, 1)
        );
    }
}

#[test]
fn errors_of_the_release_are_its_own() {
    let app = App::start(&[("BATON_RELEASE", "r5"), ("FAIL_PERCENT", "100")]);
    let visits = Visitors::start(VisitPlan {
        requests_each: 5,
        fresh: true,
        ..plan(app.address, vec![Visitor::plain("one")])
    })
    .wait();
    assert_eq!(
        (visits.errors_of("r5"), visits.failed()),
        (5, 5),
        "{visits:?}"
    );
    assert!(visits.by_baton.is_empty() && visits.transport == 0);
    assert_eq!(visits.trails["one"].stays[0].errors, 5);
}

#[test]
fn nobody_there_is_a_failure_of_the_transport() {
    let mut app = App::start(&[("BATON_RELEASE", "r5")]);
    let visitors = Visitors::start(plan(app.address, vec![Visitor::browser("one")]));
    wait_for("an answer", || {
        (visitors.visits().requests > 5).then_some(())
    });
    app.kill();
    wait_for("failures", || {
        (visitors.visits().transport > 3).then_some(())
    });
    let visits = visitors.stop();
    assert_eq!(visits.failed(), visits.transport, "{visits:?}");
    assert!(!visits.errors.is_empty());
}

#[test]
fn phases_have_percentiles_of_their_own() {
    let app = App::start(&[]);
    let visitors = Visitors::start(plan(app.address, vec![Visitor::plain("one")]));
    let load = Load::start(Plan::small(app.address, "app"));
    wait_for("requests", || {
        (visitors.visits().requests > 10 && load.report().succeeded > 10).then_some(())
    });
    visitors.phase("deploy");
    load.phase("deploy");
    wait_for("the other phase", || {
        let both = [visitors.visits().latency, load.report().latency];
        let seen = |phases: &std::collections::BTreeMap<_, testapp::load::Latency>| {
            phases
                .get("deploy")
                .is_some_and(|deploy| deploy.count() > 10)
        };
        both.iter().all(seen).then_some(())
    });
    for latency in [visitors.stop().latency, load.stop().latency] {
        assert_eq!(latency.len(), 2, "{latency:?}");
        let deploy = &latency["deploy"];
        assert!(deploy.p50() <= deploy.p99() && deploy.p99() <= deploy.longest());
        assert!(deploy.p50() > Duration::ZERO, "{deploy:?}");
    }
}

/// Answers each request with the fields that it got, a cookie that counts them, and without a release's name.
fn nameless_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let length = head.len();
            let answer = format!(
                "HTTP/1.1 503 Busy\r\nSet-Cookie: seen={number}; Path=/\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(&head).unwrap();
        }
    });
    address
}

#[test]
fn an_answer_without_a_release_is_baton_s_own() {
    let visitor = Visitor::browser("one").with("x-baton-canary", "always");
    let visits = Visitors::start(VisitPlan {
        requests_each: 3,
        ..plan(nameless_server(), vec![visitor])
    })
    .wait();
    assert_eq!(
        (visits.by_baton.clone(), visits.failed()),
        ([(503, 3)].into(), 3)
    );
    let trail = &visits.trails["one"];
    assert_eq!((trail.unanswered, trail.cookies_set), (3, 3));
    assert_eq!(trail.cookies, [("seen".to_owned(), "2".to_owned())].into());
    let said = &visits.errors;
    assert!(!said[0].contains("cookie:"), "{said:?}");
    assert!(said[2].contains("cookie: seen=1") && said[2].contains("x-baton-canary: always"));
}

#[test]
fn identities_arrive_at_the_app() {
    for (visitor, line) in [
        (
            Visitor::authorized("a", "Bearer x"),
            "authorization: Bearer x",
        ),
        (
            Visitor::forwarded_for("f", "203.0.113.7"),
            "x-forwarded-for: 203.0.113.7",
        ),
    ] {
        let visits = Visitors::start(VisitPlan {
            requests_each: 1,
            ..plan(nameless_server(), vec![visitor])
        })
        .wait();
        assert!(visits.errors[0].contains(line), "{:?}", visits.errors);
    }
}

#[test]
fn the_app_says_who_it_is() {
    let app = App::start(&[
        ("BATON_RELEASE", "r5"),
        ("BATON_ROLE", "preview"),
        ("DB_URL", "mysql://db/test"),
        ("HOSTNAME", "box"),
    ]);
    let (status, body) = app.ask("GET", "/who?env=DB_URL,UNSET", "");
    let who: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (status, &who["release"], &who["role"]),
        (200, &"r5".into(), &"preview".into())
    );
    assert_eq!(who["id"], format!("box/{}", app.pid()));
    assert_eq!(who["env"]["DB_URL"], "mysql://db/test");
    assert!(who["env"]["UNSET"].is_null());
}
