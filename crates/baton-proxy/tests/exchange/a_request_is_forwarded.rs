//! The head is written anew, the body passes, the connections stay.

use crate::kit::{App, Front, Plan, Wire, ok};

#[test]
fn with_its_body_and_the_forwarded_fields() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            let body = wire.read_exact(head.length());
            let said = format!("{}\n{}", head.head, String::from_utf8(body).unwrap());
            wire.send(ok(&said));
        }
    });
    let front = Front::start(Plan::to(&[&app.instance]));
    let mut client = front.client();
    for _ in 0..3 {
        client.send(
            "POST /a?b=c HTTP/1.1\r\nHost: Shop.test:80\r\nX-A: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nContent-Length: 5\r\nForwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\nhello",
        );
        let answer = client.response();
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.text().replace("\r\n", "\n"),
            "POST /a?b=c HTTP/1.1\nHost: Shop.test:80\nX-A: 1\nForwarded: for=9.9.9.9\n\
             X-Real-IP: 127.0.0.1\nX-Forwarded-For: 127.0.0.1\nX-Forwarded-Proto: https\n\
             X-Forwarded-Host: Shop.test:80\nContent-Length: 5\nhello"
        );
    }
    assert_eq!(app.connections(), 1, "the connection is used again");
    assert_eq!(front.get("/").status(), 200);
}

#[test]
fn without_what_an_untrusted_client_says_of_itself() {
    let app = App::start(|mut wire: Wire| {
        let head = wire.head();
        wire.send(ok(&head.head));
    });
    let front = Front::with(Plan::to(&[&app.instance]), |settings| {
        settings.trusted_proxies.clear();
    });
    let mut client = front.client();
    client.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 1.1.1.1\r\n\
         Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Host: evil.test\r\n\r\n",
    );
    let seen = client.response();
    assert!(!seen.text().contains("1.1.1.1") && !seen.text().contains("evil"));
    for ours in ["X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http"] {
        assert!(seen.text().contains(ours), "{}", seen.text());
    }
}

#[test]
fn with_its_path_stripped_where_the_route_says_so() {
    let app = App::start(|mut wire| {
        while let Some(head) = wire.try_head() {
            wire.send(ok(head.head.split(' ').nth(1).unwrap()));
        }
    });
    let mut plan = Plan::to(&[&app.instance]);
    (plan.path, plan.strip_path) = ("/api", true);
    let front = Front::start(plan);
    assert_eq!(front.get("/api/x?y=1").text(), "/x?y=1");
    assert_eq!(front.get("/api").text(), "/");
    assert_eq!(front.get("/api?y").text(), "/?y");
    assert_eq!(front.get("/apix").status(), 404);
}
