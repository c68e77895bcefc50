//! A WebSocket stays with its color for `drain.websockets`; then it is closed with 1012 ("service
//! restart"), between two messages, and its client is back on the new color.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::kit::machine::PATIENCE;
use crate::kit::{App, Engine, Machine, wait_for};

/// What one client saw until its socket was closed.
#[derive(Debug)]
struct Visit {
    messages: Vec<String>,
    code: Option<u16>,
    closed_at: Instant,
}

/// A message of 2 KB in four fragments every 50 ms.
const PATH: &str = "/ws/room?every_ms=50&fragments=4&size=2000";

async fn visit(address: SocketAddr) -> Visit {
    let mut request = format!("ws://{address}{PATH}")
        .into_client_request()
        .unwrap();
    request
        .headers_mut()
        .insert("host", "app.test".parse().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .unwrap();
    let mut visit = Visit {
        messages: Vec::new(),
        code: None,
        closed_at: Instant::now(),
    };
    while let Some(message) = socket.next().await {
        match message.unwrap_or_else(|error| panic!("{error} after {:?}", visit.messages.len())) {
            Message::Text(text) => visit.messages.push(text.to_string()),
            Message::Close(frame) => {
                visit.code = frame.map(|frame| frame.code.into());
                visit.closed_at = Instant::now();
            }
            _ => {}
        }
    }
    visit
}

#[test]
fn websocket_clients_get_1012_and_come_back() {
    const CLIENTS: usize = 20;
    let machine = Machine::start();
    let mut app = App::new(Engine::Process, "rooms");
    app.policy("drain", "{ websockets: 2s }");
    machine.deploy(&app, &[]);
    let old = machine.live(&app);
    let address = machine.http;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let visits: Vec<_> = (0..CLIENTS)
        .map(|_| runtime.spawn(visit(address)))
        .collect();
    wait_for("every client to be there", PATIENCE, || {
        let status = machine.app_status(&app);
        (status["colors"][&old]["instances"][0]["websockets"] == CLIENTS).then_some(())
    });
    app.version("v2");
    machine.deploy(&app, &[]);
    let switched = Instant::now();
    let visits = runtime.block_on(async {
        let mut ended = Vec::new();
        for visit in visits {
            ended.push(
                tokio::time::timeout(PATIENCE, visit)
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        ended
    });
    for visit in &visits {
        assert_eq!(visit.code, Some(1012), "{visit:?}");
        assert!(
            visit.messages.len() > 20,
            "it stayed with its color: {visit:?}"
        );
        for (number, message) in visit.messages.iter().enumerate() {
            let whole = format!("r1 tick {number} {}", "x".repeat(2_000));
            assert_eq!(*message, whole, "a message arrives whole");
        }
    }
    let first = visits.iter().map(|visit| visit.closed_at).min().unwrap();
    let last = visits.iter().map(|visit| visit.closed_at).max().unwrap();
    println!(
        "{CLIENTS} sockets closed from {:?} to {:?} after the switch",
        first - switched,
        last - switched
    );
    assert!(
        last - switched < Duration::from_secs(5),
        "{:?}",
        last - switched
    );
    wait_for("the old color to be empty", PATIENCE, || {
        (machine.role(&app, &old) == "empty").then_some(())
    });

    let again = runtime.spawn(visit(address));
    wait_for("the client to be back", PATIENCE, || {
        let status = machine.app_status(&app);
        let live = status["live"].as_str()?.to_owned();
        (live != old && status["colors"][&live]["instances"][0]["websockets"] == 1).then_some(())
    });
    again.abort();
}
