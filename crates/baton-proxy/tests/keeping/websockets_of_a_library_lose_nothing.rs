//! A real library on both sides: every message that reaches the client is whole, and in order; every one
//! that the client has sent before its Close reaches the app.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_proxy::{Certificate, EndWebSockets, Instance};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::{Front, PATIENCE, Plan};

/// Each message says its number and is large; every other one goes in three fragments.
fn message(number: u64) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.resize(50_000 + (number as usize * 7_919) % 150_000, number as u8);
    bytes
}

/// Sends numbered messages for ever, and counts what it hears.
async fn app(listener: TcpListener, heard: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let heard = Arc::clone(&heard);
        tokio::spawn(async move {
            let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let (mut say, mut hear) = socket.split();
            tokio::spawn(async move {
                for number in 0.. {
                    let bytes = message(number);
                    if number % 2 == 0 {
                        if say.send(Message::binary(bytes)).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    let pieces: Vec<_> = bytes.chunks(bytes.len() / 3 + 1).collect();
                    for (index, piece) in pieces.iter().enumerate() {
                        let code = if index == 0 {
                            Data::Binary
                        } else {
                            Data::Continue
                        };
                        let last = index + 1 == pieces.len();
                        let frame = Frame::message(piece.to_vec(), OpCode::Data(code), last);
                        if say.send(Message::Frame(frame)).await.is_err() {
                            return;
                        }
                    }
                }
            });
            while let Some(Ok(message)) = hear.next().await {
                heard.fetch_add(u64::from(message.is_text()), Ordering::SeqCst);
            }
        });
    }
}

/// Reads until the Close; returns its code and how many messages came and went.
async fn client(stream: impl AsyncRead + AsyncWrite + Unpin) -> (u16, u64, u64) {
    let (socket, _) = tokio_tungstenite::client_async("ws://a.test/ws", stream)
        .await
        .unwrap();
    let (mut say, mut hear) = socket.split();
    let (mut came, mut sent) = (0, 0);
    while let Some(message) = hear.next().await {
        match message.unwrap() {
            Message::Binary(bytes) => {
                assert!(bytes == self::message(came), "message {came}");
                came += 1;
                // The Close may have come meanwhile.
                sent += u64::from(say.send(Message::text("tick")).await.is_ok());
            }
            Message::Close(Some(close)) => {
                // The answer goes out with the next look.
                while hear.next().await.is_some_and(|message| message.is_ok()) {}
                return (close.code.into(), came, sent);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("no Close after {came} messages");
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// A certificate for `a.test`, and what a client needs to believe it.
fn certificate() -> (Arc<Certificate>, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (
        folder.path().join("chain.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let certificate = Certificate::load(&chain, &key).unwrap();
    (certificate, TlsConnector::from(Arc::new(config)))
}

#[tokio::test]
async fn whole_messages_in_order_and_then_1012() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance::new("ws", listener.local_addr().unwrap(), false);
    let heard = Arc::new(AtomicU64::new(0));
    tokio::spawn(app(listener, Arc::clone(&heard)));
    let (certificate, tls) = certificate();
    let front = Front::with(Plan::to(&[&instance]), |settings| {
        settings.https = vec![([127, 0, 0, 1], 0).into()];
        settings.certificates = vec![certificate];
    });
    let (plain, secure) = (front.address, front.proxy.https_addrs()[0]);
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let tls = tls.clone();
            tokio::spawn(async move {
                if number % 2 == 0 {
                    return client(TcpStream::connect(plain).await.unwrap()).await;
                }
                let stream = TcpStream::connect(secure).await.unwrap();
                let name = ServerName::try_from("a.test").unwrap();
                client(tls.connect(name, stream).await.unwrap()).await
            })
        })
        .collect();
    let gauge = &instance.counters.websockets;
    let moved = &instance.counters.body_bytes;
    until("all of them are busy", || {
        gauge.load(Ordering::Relaxed) == 20 && moved.load(Ordering::Relaxed) > 50_000_000
    })
    .await;
    instance.close();
    instance.end_websockets(EndWebSockets {
        spread: Duration::from_millis(500),
        ..EndWebSockets::default()
    });
    let (mut came, mut sent) = (0, 0);
    for client in clients {
        let (code, here, there) = client.await.unwrap();
        assert_eq!(code, 1012);
        came += here;
        sent += there;
    }
    assert!(came > 0);
    until("the app has heard all", || {
        heard.load(Ordering::SeqCst) == sent
    })
    .await;
    instance.drained().await;
    assert_eq!(gauge.load(Ordering::Relaxed), 0);
}
