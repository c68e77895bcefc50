//! An HTTP/2 client that has gone without a word answers no PING; its requests must not stay for ever.

use std::time::Duration;

use baton_proxy::{ConnectionLimits, Protocol, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::origin;

/// The preface, empty SETTINGS, and a GET of `/hang` from `a.test` on stream 1 (HPACK without indexing).
fn opening() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let mut fields = vec![0x82, 0x86, 0x04, 5];
    fields.extend(b"/hang");
    fields.extend([0x01, 6]);
    fields.extend(b"a.test");
    bytes.extend([0, 0, fields.len() as u8, 1, 0x05, 0, 0, 0, 1]);
    bytes.extend(fields);
    bytes
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go() {
    let app = origin::origin("app").await;
    let settings = Settings {
        limits: ConnectionLimits {
            ping_interval: Duration::from_millis(200),
            ping_timeout: Duration::from_millis(200),
            ..ConnectionLimits::default()
        },
        ..origin::settings()
    };
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let mut client = TcpStream::connect(proxy.http_addrs()[0]).await.unwrap();
    client.write_all(&opening()).await.unwrap();
    let instance = std::sync::Arc::clone(&proxy.table().routes()[0].instances[0]);
    let gone = async {
        while instance.in_flight() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It reads, but says nothing.
        let mut said = Vec::new();
        let _ = client.read_to_end(&mut said).await;
        let ping = said.windows(4).any(|head| head == [0, 0, 8, 6]);
        assert!(ping, "it was asked before: {said:?}");
        while instance.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone)
        .await
        .expect("the connection is closed");
}
