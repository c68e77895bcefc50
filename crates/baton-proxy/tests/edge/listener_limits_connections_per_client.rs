//! One address gets so many connections over all workers, then 429; trusted proxies are not limited.

use crate::origin;

use std::time::Duration;

use baton_proxy::{ConnectionLimits, Protocol, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn limited(limit: usize) -> Settings {
    Settings {
        workers: 2,
        limits: ConnectionLimits {
            connections_per_client: limit,
            ..ConnectionLimits::default()
        },
        ..origin::settings()
    }
}

/// Status of one request on a fresh connection, and the connection.
async fn ask(address: std::net::SocketAddr) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    (String::from_utf8(status.to_vec()).unwrap(), stream)
}

#[tokio::test]
async fn over_the_limit_is_429_until_one_leaves() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, limited(3));
    let address = proxy.http_addrs()[0];
    let mut held = Vec::new();
    for _ in 0..3 {
        let (status, stream) = ask(address).await;
        assert_eq!(status, "HTTP/1.1 200");
        held.push(stream);
    }
    let (status, mut refused) = ask(address).await;
    assert_eq!(status, "HTTP/1.1 429");
    let mut rest = String::new();
    refused.read_to_string(&mut rest).await.unwrap();
    assert!(rest.contains("\r\nConnection: close\r\n"), "{rest}");
    drop((refused, held.pop()));
    let served = async {
        while ask(address).await.0 != "HTTP/1.1 200" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .expect("a connection that has ended still counts");
}

#[tokio::test]
async fn a_trusted_proxy_is_not_limited() {
    let app = origin::origin("app").await;
    let settings = Settings {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..limited(1)
    };
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let mut held = Vec::new();
    for _ in 0..5 {
        let (status, stream) = ask(proxy.http_addrs()[0]).await;
        assert_eq!(status, "HTTP/1.1 200");
        held.push(stream);
    }
}
