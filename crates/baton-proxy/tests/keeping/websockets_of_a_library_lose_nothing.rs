//! A real library on both sides: every message that reaches the client is whole, and in order; every one
//! that the client has sent before its Close reaches the app.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_proxy::{EndWebSockets, Instance};
use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::kit::{Front, Plan, eventually};

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
async fn client(address: SocketAddr) -> (u16, u64, u64) {
    let stream = TcpStream::connect(address).await.unwrap();
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
                return (
                    close.code.into(),
                    came,
                    sent + {
                        // The answer goes out with the next look.
                        while hear.next().await.is_some_and(|m| m.is_ok()) {}
                        0
                    },
                );
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("no Close after {came} messages");
}

#[tokio::test]
async fn whole_messages_in_order_and_then_1012() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let instance = Instance::new("ws", listener.local_addr().unwrap(), false);
    let heard = Arc::new(AtomicU64::new(0));
    tokio::spawn(app(listener, Arc::clone(&heard)));
    let front = Front::start(Plan::to(&[&instance]));
    let clients: Vec<_> = (0..20)
        .map(|_| tokio::spawn(client(front.address)))
        .collect();
    tokio::time::timeout(Duration::from_secs(20), async {
        while instance.counters.body_bytes.load(Ordering::Relaxed) < 50_000_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
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
    eventually("the app has heard all", || {
        heard.load(Ordering::SeqCst) == sent
    });
    instance.drained().await;
    assert_eq!(instance.counters.websockets.load(Ordering::Relaxed), 0);
}
