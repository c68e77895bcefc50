//! HTTP/2 clients meet a canary as others do.

use std::sync::Arc;

use baton_proxy::{Instance, Protocol, Proxy, Route, RoutingTable, Split};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;

use crate::origin::{Origin, h2c, origin, route, settings, whole};

#[tokio::test(flavor = "multi_thread")]
async fn h2_users_keep_their_canary() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let (blue, green) = (origin("blue").await, origin("green").await);
        let instance = |o: &Origin| Instance::new(o.name, o.address, false);
        let (old, new) = (instance(&blue), instance(&green));
        let proxy = Proxy::start(settings()).unwrap();
        let publish = |weight| {
            let route = Route {
                protocol,
                instances: vec![Arc::clone(&old)],
                split: Some(Arc::new(Split {
                    instances: vec![Arc::clone(&new)],
                    weight,
                    release: "r2".into(),
                    header: true,
                })),
                ..route("shop", &["*"], "/")
            };
            proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)]).unwrap()));
        };
        publish(100);
        let mut client = h2c::<Empty<Bytes>>(proxy.http_addrs()[0]).await;
        let mut request = |fields: &[(&str, &str)]| {
            let mut asked = Request::builder().uri("http://a.test/");
            for (name, value) in fields {
                asked = asked.header(*name, *value);
            }
            client.send_request(asked.body(Empty::new()).unwrap())
        };
        let (status, fields, body, _) = whole(request(&[]).await.unwrap()).await;
        assert_eq!((status, &body[..]), (200, &b"green"[..]));
        let cookie = fields["set-cookie"].to_str().unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        publish(50);
        let mut heard = Vec::new();
        for _ in 0..6 {
            // Split in crumbs, as browsers do.
            let crumbs = [("cookie", "a=b"), ("cookie", cookie.as_str())];
            let (_, fields, body, _) = whole(request(&crumbs).await.unwrap()).await;
            assert!(!fields.contains_key("set-cookie"));
            heard.push(body);
        }
        assert!(heard.windows(2).all(|two| two[0] == two[1]), "{heard:?}");
        let never = [("x-baton-canary", "never")];
        let (_, _, body, _) = whole(request(&never).await.unwrap()).await;
        assert_eq!(&body[..], b"blue");
    }
}
