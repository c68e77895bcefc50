//! Over HTTP/2, too: a page instead of the app, networks, passwords.

use std::sync::Arc;

use baton_proxy::{Access, Instance, Page, Proxy, Route, RoutingTable};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::origin::{Sender, h2c, origin, route, settings, whole};

async fn ask(
    client: &mut Sender<Empty<Bytes>>,
    method: &str,
    authorization: Option<&str>,
) -> (u16, http::HeaderMap, Bytes) {
    let mut request = Request::builder()
        .method(method)
        .uri("http://a.test/headers");
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    let answer = client.send_request(request.body(Empty::new()).unwrap());
    let (status, fields, body, _) = whole(answer.await.unwrap()).await;
    (status, fields, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_requests_meet_shields_and_pages() {
    let origin = origin("app").await;
    let instance = Instance::new("app", origin.address, false);
    let proxy = Proxy::start(settings()).unwrap();
    let publish = |access: Option<Access>, page: Option<Page>| {
        let route = Route {
            instances: vec![Arc::clone(&instance)],
            access: access.map(Arc::new),
            page: page.map(Arc::new),
            ..route("shop", &["*"], "/")
        };
        proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)]).unwrap()));
    };
    let access = |allow: &str| Access {
        allow: vec![allow.parse().unwrap()],
        users: vec![("ann".into(), bcrypt::hash("secret", 4).unwrap())],
    };
    let mut client = h2c::<Empty<Bytes>>(proxy.http_addrs()[0]).await;
    publish(Some(access("127.0.0.0/8")), None);
    let (status, fields, _) = ask(&mut client, "GET", None).await;
    assert_eq!(status, 401);
    assert_eq!(
        fields["www-authenticate"],
        "Basic realm=\"a.test\", charset=\"UTF-8\""
    );
    // ann:wrong, then ann:secret twice.
    assert_eq!(
        ask(&mut client, "GET", Some("Basic YW5uOndyb25n")).await.0,
        401
    );
    for _ in 0..2 {
        let (status, _, body) = ask(&mut client, "GET", Some("Basic YW5uOnNlY3JldA==")).await;
        assert_eq!(status, 200);
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(!body.contains("authorization"), "{body}");
    }
    publish(Some(access("192.0.2.0/24")), None);
    assert_eq!(
        ask(&mut client, "GET", Some("Basic YW5uOnNlY3JldA=="))
            .await
            .0,
        403
    );
    let page = Page {
        status: 404,
        body: "<p>nothing staged".into(),
        retry_after: None,
    };
    publish(None, Some(page));
    let (status, fields, body) = ask(&mut client, "GET", None).await;
    assert_eq!((status, &body[..]), (404, &b"<p>nothing staged"[..]));
    assert_eq!(fields["cache-control"], "no-store");
    let (status, fields, body) = ask(&mut client, "HEAD", None).await;
    assert_eq!((status, body.len()), (404, 0));
    assert_eq!(fields["content-length"], "17");
}
