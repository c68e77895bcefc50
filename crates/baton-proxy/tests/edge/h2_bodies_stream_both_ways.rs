//! HTTP/2 clients before HTTP/1.1 and h2c apps: bodies, trailers, events, cancellation, shutdown.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::origin::{self, Origin, Sender};
use baton_proxy::{Protocol, Proxy, RoutingTable};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;

type Body = BoxBody<Bytes, Infallible>;

async fn client(protocol: Protocol) -> (Origin, Arc<Proxy>, Sender<Body>) {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, protocol, origin::settings());
    let sender = origin::h2c(proxy.http_addrs()[0]).await;
    (app, proxy, sender)
}

fn get(path: &str) -> Request<Body> {
    let uri = format!("http://a.test{path}");
    Request::get(uri).body(Empty::new().boxed()).unwrap()
}

fn post(path: &str, body: Body) -> Request<Body> {
    let uri = format!("http://a.test{path}");
    Request::post(uri).body(body).unwrap()
}

/// A body that is sent frame by frame.
fn channel() -> (mpsc::Sender<Frame<Bytes>>, Body) {
    let (frames, body) = mpsc::channel::<Frame<Bytes>>(1);
    let stream = futures_util::stream::unfold(body, |mut body| async move {
        body.recv().await.map(|frame| (Ok(frame), body))
    });
    (frames, BodyExt::boxed(StreamBody::new(stream)))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(10), future).await {
        Ok(done) => done,
        Err(_) => panic!("{what} did not happen"),
    }
}

async fn in_flight(proxy: &Proxy, count: u64) {
    within(&format!("{count} in flight"), async {
        while proxy.table().routes()[0].instances[0].in_flight() != count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

const BOTH: [Protocol; 2] = [Protocol::Http1, Protocol::H2c];

#[tokio::test]
async fn ten_megabytes_down_and_up() {
    for protocol in BOTH {
        let (_app, proxy, mut sender) = client(protocol).await;
        let answer = sender.send_request(get("/bytes")).await.unwrap();
        let (status, _, body, _) = within("the download", origin::whole(answer)).await;
        assert_eq!((status, body.len()), (200, 10 << 20), "{protocol:?}");
        let body = Full::new(Bytes::from(vec![b'u'; 10 << 20])).boxed();
        let answer = within("the upload", sender.send_request(post("/count", body)))
            .await
            .unwrap();
        let (_, _, count, _) = origin::whole(answer).await;
        assert_eq!(count, "10485760", "{protocol:?}");
        in_flight(&proxy, 0).await;
    }
}

#[tokio::test]
async fn the_app_sees_one_cookie_and_the_forwarded_fields() {
    for protocol in BOTH {
        let (_app, _proxy, mut sender) = client(protocol).await;
        let mut request = get("/headers?q=1");
        for crumb in ["a=1", "b=2"] {
            request
                .headers_mut()
                .append("cookie", crumb.parse().unwrap());
        }
        let forged = "192.0.2.9".parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", forged);
        let answer = sender.send_request(request).await.unwrap();
        let (_, _, body, _) = origin::whole(answer).await;
        let text = String::from_utf8(body.to_vec()).unwrap();
        let mut expected = vec![
            "cookie: a=1; b=2",
            "x-real-ip: 127.0.0.1",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-host: a.test",
        ];
        expected.push(match protocol {
            Protocol::Http1 => "host: a.test",
            Protocol::H2c => "GET http://a.test/headers?q=1",
        });
        for line in expected {
            let count = text.lines().filter(|l| *l == line).count();
            assert_eq!(count, 1, "{protocol:?} {line}: {text}");
        }
        assert!(!text.contains("192.0.2.9"), "{text}");
    }
}

#[tokio::test]
async fn head_gets_no_body() {
    for protocol in BOTH {
        let (_app, proxy, mut sender) = client(protocol).await;
        let head = |path: &str| {
            let mut request = get(path);
            *request.method_mut() = http::Method::HEAD;
            request
        };
        let answer = sender.send_request(head("/")).await.unwrap();
        let (status, fields, body, _) = within("the app's answer", origin::whole(answer)).await;
        assert_eq!((status, body.len()), (200, 0), "{protocol:?}");
        assert_eq!(fields["content-length"], "5", "{protocol:?}");
        proxy.publish(Arc::default());
        let answer = sender.send_request(head("/")).await.unwrap();
        let (status, fields, body, _) = within("our own answer", origin::whole(answer)).await;
        assert_eq!((status, body.len()), (404, 0), "{protocol:?}");
        assert_ne!(fields["content-length"], "0");
    }
}

/// gRPC's bidirectional streaming: an answer while the request is still being sent.
#[tokio::test]
async fn both_ways_at_once_with_trailers() {
    let (_app, proxy, mut sender) = client(Protocol::H2c).await;
    let (frames, body) = channel();
    let mut request = post("/echo", body);
    let trailers = "trailers".parse().unwrap();
    request.headers_mut().insert("te", trailers);
    let answer = within("the head", sender.send_request(request))
        .await
        .unwrap();
    let mut body = answer.into_body();
    for message in ["one", "two", "three"] {
        frames
            .send(Frame::data(Bytes::from(message)))
            .await
            .unwrap();
        let echo = within(message, body.frame()).await.unwrap().unwrap();
        assert_eq!(echo.into_data().unwrap(), message);
    }
    let mut last = HeaderMap::new();
    last.insert("grpc-status", "0".parse().unwrap());
    frames.send(Frame::trailers(last)).await.unwrap();
    drop(frames);
    let echo = within("the trailers", body.frame()).await.unwrap().unwrap();
    assert_eq!(echo.into_trailers().unwrap()["grpc-status"], "0");
    in_flight(&proxy, 0).await;
}

#[tokio::test]
async fn an_answer_of_nothing_but_trailers() {
    let (_app, _proxy, mut sender) = client(Protocol::H2c).await;
    let answer = sender.send_request(get("/trailers-only")).await.unwrap();
    let (status, head, body, _) = within("the end", origin::whole(answer)).await;
    assert_eq!((status, body.len()), (200, 0));
    assert_eq!(head["grpc-status"], "5");
}

#[tokio::test]
async fn events_are_not_buffered_and_a_client_that_leaves_ends_them() {
    for protocol in BOTH {
        let (app, proxy, mut sender) = client(protocol).await;
        let answer = sender.send_request(get("/sse")).await.unwrap();
        let mut body = answer.into_body();
        for _ in 0..3 {
            let event = within("an event", body.frame()).await.unwrap().unwrap();
            assert_eq!(event.into_data().unwrap(), "data: x\n\n");
        }
        let table = proxy.table();
        let counters = &table.routes()[0].instances[0].counters;
        assert_eq!(counters.sse.load(std::sync::atomic::Ordering::Relaxed), 1);
        drop(body);
        let ended = within("the app's end of the stream", app.cancelled.acquire()).await;
        ended.unwrap().forget();
        in_flight(&proxy, 0).await;
    }
}

#[tokio::test]
async fn a_reset_before_the_answer_cancels_the_request() {
    for protocol in BOTH {
        let (app, proxy, mut sender) = client(protocol).await;
        let waiting = tokio::spawn(sender.send_request(get("/hang")));
        let reached = within("the request", app.hanging.acquire()).await;
        reached.unwrap().forget();
        waiting.abort();
        in_flight(&proxy, 0).await;
        let ended = within("the app's cancellation", app.cancelled.acquire()).await;
        ended.unwrap().forget();
        let answer = sender.send_request(get("/")).await.unwrap();
        assert_eq!(answer.status(), 200, "the connection lives on");
    }
}

/// Bytes of bodies that have moved, once that number stands still.
async fn stands_still(proxy: &Proxy) -> u64 {
    let table = proxy.table();
    let counters = &table.routes()[0].instances[0].counters;
    let moved = || {
        counters
            .body_bytes
            .load(std::sync::atomic::Ordering::Relaxed)
    };
    within("the standstill", async {
        let mut before = moved();
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if before > 0 && moved() == before {
                return before;
            }
            before = moved();
        }
    })
    .await
}

/// A client that does not read stops the app, and does not fill the proxy's memory.
#[tokio::test]
async fn a_slow_client_holds_the_app_back() {
    for protocol in BOTH {
        let (_app, proxy, mut sender) = client(protocol).await;
        let answer = sender.send_request(get("/bytes")).await.unwrap();
        let moved = stands_still(&proxy).await;
        // hyper's client gives a window of 2 MB.
        assert!(moved < 3 << 20, "{protocol:?}: {moved} bytes were taken");
        let (_, _, body, _) = within("the rest", origin::whole(answer)).await;
        assert_eq!(body.len(), 10 << 20);
    }
}

/// An app that does not read stops the client. The kernel holds a few MB between them.
#[tokio::test]
async fn a_slow_app_holds_the_client_back() {
    for protocol in BOTH {
        let (_app, proxy, mut sender) = client(protocol).await;
        let (frames, body) = channel();
        let hanging = tokio::spawn(sender.send_request(post("/hang", body)));
        let piece = Bytes::from(vec![b'u'; 64 << 10]);
        let mut taken = 0;
        let standstill = Duration::from_millis(500);
        while let Ok(sent) =
            tokio::time::timeout(standstill, frames.send(Frame::data(piece.clone()))).await
        {
            sent.unwrap();
            taken += piece.len();
            assert!(taken < 32 << 20, "{protocol:?}: {taken} bytes were taken");
        }
        assert!(taken > 0);
        hanging.abort();
        in_flight(&proxy, 0).await;
    }
}

#[tokio::test]
async fn a_shutdown_says_goodbye_and_finishes_what_is_in_flight() {
    let (_app, proxy, mut sender) = client(Protocol::H2c).await;
    let (frames, body) = channel();
    let answer = sender.send_request(post("/echo", body)).await.unwrap();
    let mut echo = answer.into_body();
    let ending = tokio::spawn({
        let proxy = Arc::clone(&proxy);
        async move { proxy.shutdown(Duration::from_secs(20)).await }
    });
    within("GOAWAY", async {
        while sender.send_request(get("/")).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    frames.send(Frame::data(Bytes::from("late"))).await.unwrap();
    let frame = within("the echo", echo.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "late");
    drop(frames);
    let rest = within("the end", echo.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
    within("the shutdown", ending).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_ended() {
    let app = origin::origin("app").await;
    let mut settings = origin::settings();
    settings.limits.keep_alive = Duration::from_millis(200);
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let mut sender: Sender<Body> = origin::h2c(proxy.http_addrs()[0]).await;
    let answer = sender.send_request(get("/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    within("the close", async {
        while sender.ready().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_long_upload_is_no_silence() {
    for protocol in BOTH {
        let (_app, proxy, mut sender) = client(protocol).await;
        let mut route = origin::route("shop", &["*"], "/");
        let instance = Arc::clone(&proxy.table().routes()[0].instances[0]);
        route.limits.idle = Duration::from_millis(400);
        (route.protocol, route.instances) = (protocol, vec![Arc::clone(&instance)]);
        proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)]).unwrap()));
        let (frames, body) = channel();
        let answer = tokio::spawn(sender.send_request(post("/count", body)));
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let sent = frames.send(Frame::data(Bytes::from_static(b"x"))).await;
            sent.unwrap();
        }
        drop(frames);
        let answer = within("the answer", answer).await.unwrap().unwrap();
        let (status, _, count, _) = origin::whole(answer).await;
        assert_eq!((status, &count[..]), (200, &b"12"[..]), "{protocol:?}");
        let moved = instance.counters.body_bytes.load(Ordering::Relaxed);
        assert_eq!(moved, 14, "{protocol:?}");

        let (frames, body) = channel();
        let answer = tokio::spawn(sender.send_request(post("/count", body)));
        let sent = frames.send(Frame::data(Bytes::from_static(b"x"))).await;
        sent.unwrap();
        let answer = within("the answer", answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), 408, "{protocol:?}");
        in_flight(&proxy, 0).await;
    }
}
