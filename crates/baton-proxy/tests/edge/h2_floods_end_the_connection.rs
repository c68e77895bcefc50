//! Frames that cost a client nothing and us something: rapid reset, PING, SETTINGS, CONTINUATION,
//! PRIORITY, empty DATA. Each flood ends its connection, and nobody else's.

use std::net::SocketAddr;
use std::time::Duration;

use crate::origin;
use baton_proxy::Protocol;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method GET`, `:scheme http`, `:path /`, `:authority a.test`; the same with POST. HPACK without a
/// dynamic entry.
const GET: &[u8] = b"\x82\x86\x84\x01\x06a.test";
const POST: &[u8] = b"\x83\x86\x84\x01\x06a.test";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Writes `flood(n)` for n = 0, 1, … until the proxy has closed the connection; panics if it has not after
/// `most` of them. What it answers is read and thrown away, so that only the flood can be the reason.
async fn ends(address: SocketAddr, most: u32, flood: impl Fn(u32) -> Vec<u8>) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let closed = tokio::spawn(async move {
        let mut answer = [0; 16 * 1024];
        while !matches!(reader.read(&mut answer).await, Ok(0) | Err(_)) {}
    });
    writer.write_all(PREFACE).await.unwrap();
    writer.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    for n in 0..most {
        if writer.write_all(&flood(n)).await.is_err() || closed.is_finished() {
            return;
        }
    }
    tokio::time::timeout(Duration::from_secs(10), closed)
        .await
        .expect("the flood went on to its end")
        .unwrap();
}

async fn flood(most: u32, flood: impl Fn(u32) -> Vec<u8>) {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, origin::settings());
    let address = proxy.http_addrs()[0];
    let mut bystander = origin::h2c(address).await;
    ends(address, most, flood).await;
    bystander.ready().await.unwrap();
    let request = http::Request::get("http://a.test/")
        .body(String::new())
        .unwrap();
    let answer = bystander.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let idle = async {
        while proxy.table().routes()[0].instances[0].in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), idle)
        .await
        .expect("a request of the flood is still in flight");
}

/// CVE-2023-44487: each request is opened and reset at once.
#[tokio::test]
async fn rapid_reset() {
    flood(20_000, |n| {
        let stream = 2 * n + 1;
        let mut bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream, GET);
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        bytes
    })
    .await;
}

/// CVE-2019-9512.
#[tokio::test]
async fn pings() {
    flood(200_000, |_| frame(PING, 0, 0, &[1; 8])).await;
}

/// CVE-2019-9515.
#[tokio::test]
async fn settings() {
    flood(200_000, |_| frame(SETTINGS, 0, 0, &[])).await;
}

/// CVE-2024-27316: a head that never ends.
#[tokio::test]
async fn continuations() {
    flood(200_000, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, b"\x00\x01a\x01b"),
    })
    .await;
}

/// The same without a byte in it.
#[tokio::test]
async fn empty_continuations() {
    flood(200_000, |n| match n {
        0 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &[]),
    })
    .await;
}

#[tokio::test]
async fn priorities() {
    flood(200_000, |n| frame(PRIORITY, 0, 2 * n + 1, &[0, 0, 0, 0, 9])).await;
}

/// CVE-2019-9518.
#[tokio::test]
async fn empty_data() {
    flood(200_000, |n| match n {
        0 => frame(HEADERS, END_HEADERS, 1, POST),
        _ => frame(DATA, 0, 1, &[]),
    })
    .await;
}

#[tokio::test]
async fn window_updates() {
    flood(200_000, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
}
