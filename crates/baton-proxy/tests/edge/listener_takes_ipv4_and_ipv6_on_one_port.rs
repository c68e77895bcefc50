//! `[::]` takes IPv4 too, all workers share one port, and an app sees an IPv4 client as IPv4.

use crate::origin;

use std::net::SocketAddr;

use baton_proxy::{Protocol, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn get_headers(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /headers HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn both_families_reach_every_worker() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(
        &app,
        Protocol::Http1,
        Settings {
            http: vec!["[::]:0".parse().unwrap()],
            workers: 3,
            ..origin::settings()
        },
    );
    let port = proxy.http_addrs()[0].port();
    // Enough for the kernel to meet each of three sockets.
    for _ in 0..30 {
        let v4 = get_headers(SocketAddr::from(([127, 0, 0, 1], port))).await;
        assert!(v4.contains("\nx-real-ip: 127.0.0.1\n"), "{v4}");
        let v6 = get_headers(SocketAddr::new("::1".parse().unwrap(), port)).await;
        assert!(v6.contains("\nx-real-ip: ::1\n"), "{v6}");
    }
    proxy.shutdown(std::time::Duration::from_secs(5)).await;
}
