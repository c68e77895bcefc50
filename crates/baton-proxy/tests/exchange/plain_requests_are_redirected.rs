//! Port 80 of an app with TLS, and hosts that only stand for another.

use crate::kit::{App, Front, Plan};

#[test]
fn plain_requests_are_redirected() {
    let app = App::saying("plain");
    let mut plan = Plan::to(&[&app.instance]);
    plan.redirect_https = Some(443);
    let front = Front::start(plan);
    let answer = front.get("/a?b");
    assert_eq!(
        (answer.status(), answer.field("location")),
        (301, Some("https://a.test/a?b"))
    );
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test:8080\r\nContent-Length: 2\r\n\r\nhi");
    let answer = client.response();
    assert_eq!(
        (answer.status(), answer.field("location")),
        (308, Some("https://a.test/"))
    );
    assert!(client.is_closed());
    // What a certificate is asked for with, and what a trusted proxy has taken over TLS.
    assert_eq!(front.get("/.well-known/acme-challenge/x").text(), "plain");
    let mut client = front.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n");
    assert_eq!(client.response().text(), "plain");

    let mut plan = Plan::to(&[&app.instance]);
    plan.redirect_https = Some(8443);
    front.publish(plan);
    assert_eq!(
        front.get("/").field("location"),
        Some("https://a.test:8443/")
    );
}

#[test]
fn a_host_that_stands_for_another_is_redirected() {
    let app = App::saying("plain");
    let mut plan = Plan::to(&[&app.instance]);
    plan.redirect_host = Some("apex.test");
    let front = Front::start(plan);
    let location = |request: &str| {
        let mut client = front.client();
        client.send(request);
        let answer = client.response();
        (answer.status(), answer.field("location").map(str::to_owned))
    };
    assert_eq!(
        location("GET /a?b HTTP/1.1\r\nHost: a.test:8080\r\n\r\n"),
        (301, Some("http://apex.test:8080/a?b".to_owned()))
    );
    assert_eq!(
        location("DELETE /a HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n"),
        (308, Some("https://apex.test/a".to_owned()))
    );
    // One hop, not two.
    let mut plan = Plan::to(&[&app.instance]);
    (plan.redirect_host, plan.redirect_https) = (Some("apex.test"), Some(443));
    front.publish(plan);
    assert_eq!(
        location("GET / HTTP/1.1\r\nHost: a.test:80\r\n\r\n"),
        (301, Some("https://apex.test/".to_owned()))
    );
}
