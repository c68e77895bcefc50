//! A graceful end: nothing new is accepted, what is in flight ends, and only the grace's end cuts it.

use crate::origin;

use std::time::{Duration, Instant};

use baton_proxy::{Protocol, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn open(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nab");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until the request of `open` has reached the app.
async fn in_flight(proxy: &baton_proxy::Proxy, count: u64) {
    let reached = async {
        while proxy.table().routes()[0].instances[0].in_flight() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached)
        .await
        .expect("the request reaches the app");
}

#[tokio::test]
async fn a_request_in_flight_is_answered() {
    let app = origin::origin("app").await;
    let settings = Settings {
        workers: 2,
        ..origin::settings()
    };
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let mut client = open(proxy.http_addrs()[0], "/count").await;
    in_flight(&proxy, 1).await;
    let ending = tokio::spawn({
        let proxy = std::sync::Arc::clone(&proxy);
        async move { proxy.shutdown(Duration::from_secs(20)).await }
    });
    let refused = async {
        while TcpStream::connect(proxy.http_addrs()[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused)
        .await
        .expect("it stops accepting");
    client.write_all(b"cd").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with('4'), "{answer}");
    tokio::time::timeout(Duration::from_secs(10), ending)
        .await
        .expect("it ends with the last request")
        .unwrap();
}

#[tokio::test]
async fn the_end_of_the_grace_cuts_the_rest() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, origin::settings());
    let mut client = open(proxy.http_addrs()[0], "/count").await;
    in_flight(&proxy, 1).await;
    let instance = std::sync::Arc::clone(&proxy.table().routes()[0].instances[0]);
    let begin = Instant::now();
    proxy.shutdown(Duration::from_millis(300)).await;
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5));
    assert_eq!(instance.in_flight(), 0, "a guard outlived its worker");
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
}

#[tokio::test]
async fn an_idle_proxy_ends_at_once() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, origin::settings());
    tokio::time::timeout(
        Duration::from_secs(2),
        proxy.shutdown(Duration::from_secs(60)),
    )
    .await
    .expect("nothing is in flight");
}
