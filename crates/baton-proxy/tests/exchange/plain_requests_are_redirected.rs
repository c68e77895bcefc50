//! Port 80 of an app with TLS.

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
