//! HTTP/1.1 under TLS: rustls takes bytes before the socket does, so a client that reads slowly must still
//! get every byte, and must not make the proxy hold what it does not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_proxy::{Instance, Proxy, RoutingTable, Settings};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsConnector;

use crate::origin;
use crate::tls_certificate_is_chosen_by_name::client;

const LENGTH: usize = 32 << 20;
/// What the sockets on the way may hold together (`net.ipv4.tcp_wmem`, `tcp_rmem`: 4 and 6 MiB at most).
const ON_THE_WAY: usize = 16 << 20;

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

/// Says the pattern, chunked or not, to every request; counts what it could write.
async fn app(written: Arc<AtomicUsize>) -> Arc<Instance> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance::new("app", listener.local_addr().unwrap(), false);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            let chunked = head[..read].starts_with(b"GET /chunked");
            let framing = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {LENGTH}")
            };
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut at = 0;
            while at < LENGTH {
                let piece: Vec<u8> = (at..LENGTH.min(at + 50_000)).map(pattern).collect();
                at += piece.len();
                let framed = if chunked {
                    let size = format!("{:x}\r\n", piece.len());
                    [size.as_bytes(), &piece, b"\r\n"].concat()
                } else {
                    piece
                };
                if stream.write_all(&framed).await.is_err() {
                    return;
                }
                written.store(at, Ordering::SeqCst);
            }
            if chunked {
                stream.write_all(b"0\r\n\r\n").await.unwrap();
            }
        }
    });
    instance
}

async fn slow_reader(path: &str) {
    let written = Arc::new(AtomicUsize::new(0));
    let instance = app(Arc::clone(&written)).await;
    let proxy = Proxy::start(Settings {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        certificates: vec![origin::certificate(&["a.test"])],
        ..origin::settings()
    })
    .unwrap();
    let mut route = origin::route("shop", &["*"], "/");
    route.instances = vec![instance];
    proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)]).unwrap()));
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    let stream = socket.connect(proxy.https_addrs()[0]).await.unwrap();
    let name = ServerName::try_from("a.test").unwrap();
    let mut tls = TlsConnector::from(client(&[b"http/1.1"]))
        .connect(name, stream)
        .await
        .unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: a.test\r\n\r\n");
    tls.write_all(request.as_bytes()).await.unwrap();
    // Until nothing moves any more.
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) || before == 0 {
        before = written.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(
        before < ON_THE_WAY,
        "{before} bytes were taken for a client that reads nothing"
    );
    let mut answer = Vec::new();
    let mut piece = vec![0; 10_000];
    let end = loop {
        // In odd sizes, and with the writer always ahead.
        let size = 1 + answer.len() * 7 % piece.len();
        match tls.read(&mut piece[..size]).await {
            Ok(0) => break answer.len(),
            Ok(read) => answer.extend_from_slice(&piece[..read]),
            Err(error) => panic!("after {} bytes: {error}", answer.len()),
        }
    };
    let head = answer
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap()
        + 4;
    assert_eq!(end - head, LENGTH, "{path}");
    let wrong = answer[head..]
        .iter()
        .enumerate()
        .find(|(at, byte)| **byte != pattern(*at));
    assert_eq!(wrong, None, "{path}");
}

#[tokio::test]
async fn of_a_known_length() {
    tokio::time::timeout(Duration::from_secs(120), slow_reader("/"))
        .await
        .expect("it comes to an end");
}

#[tokio::test]
async fn chunked() {
    tokio::time::timeout(Duration::from_secs(120), slow_reader("/chunked"))
        .await
        .expect("it comes to an end");
}
