//! WebSocket rooms: what one says, everyone in the room of this process hears.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::Scene;
use crate::routes::{Body, Query, switching, text};

/// Between two fragments of one message.
const BETWEEN_FRAGMENTS: Duration = Duration::from_millis(20);

thread_local! {
    /// The app runs on one thread.
    static ROOMS: RefCell<HashMap<String, Vec<UnboundedSender<String>>>> = RefCell::default();
}

/// What a member asked for in the query.
#[derive(Debug, Clone, Copy)]
struct Wish {
    /// `every_ms`: the server speaks up so often.
    every: Option<Duration>,
    /// `fragments`: each message goes out in so many.
    fragments: usize,
    /// `size`: bytes that are added to each message.
    size: usize,
}

impl Scene {
    /// `GET /ws/{room}?every_ms=&fragments=&size=`
    pub(super) fn enter_room(
        self: &Rc<Self>,
        room: &str,
        request: &mut Request<Incoming>,
        query: &Query,
    ) -> Response<Body> {
        let Some(response) = switching(request) else {
            return text(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket\n");
        };
        let wish = Wish {
            every: Some(query.number("every_ms", 0))
                .filter(|every| *every > 0)
                .map(Duration::from_millis),
            fragments: query.number("fragments", 1).max(1) as usize,
            size: query.number("size", 0) as usize,
        };
        let (release, room) = (self.identity.release.clone(), room.to_owned());
        let upgrade = hyper::upgrade::on(request);
        tokio::task::spawn_local(async move {
            let Ok(upgraded) = upgrade.await else {
                return;
            };
            let socket =
                WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
            let (sender, said) = unbounded_channel();
            ROOMS.with_borrow_mut(|rooms| rooms.entry(room.clone()).or_default().push(sender));
            // A member that goes without a word is no fault of the app.
            let _ = stay(socket, &room, &release, said, wish).await;
        });
        response
    }
}

async fn stay<S>(
    mut socket: WebSocketStream<S>,
    room: &str,
    release: &str,
    mut said: UnboundedReceiver<String>,
    wish: Wish,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let far = Duration::from_secs(86_400);
    let mut ticks = match wish.every {
        Some(every) => interval(every),
        None => interval_at(Instant::now() + far, far),
    };
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let text = format!("{release} tick {count} {}", "x".repeat(wish.size));
                count += 1;
                speak(&mut socket, &text, wish.fragments).await?;
            }
            Some(text) = said.recv() => speak(&mut socket, &text, wish.fragments).await?,
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => tell(room, &format!("{release} {text}")),
                Some(Ok(Message::Binary(bytes))) => socket.send(Message::Binary(bytes)).await?,
                // Pings and the Close are answered by the library; the Close ends the loop next.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
        }
    }
}

fn tell(room: &str, text: &str) {
    ROOMS.with_borrow_mut(|rooms| {
        if let Some(members) = rooms.get_mut(room) {
            members.retain(|member| member.send(text.to_owned()).is_ok());
        }
    });
}

/// One message, in so many frames.
async fn speak<S>(
    socket: &mut WebSocketStream<S>,
    text: &str,
    fragments: usize,
) -> Result<(), tokio_tungstenite::tungstenite::Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    if fragments < 2 {
        return socket.send(Message::text(text)).await;
    }
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let length = bytes.len().div_ceil(fragments).max(1);
    let mut at = 0;
    while at < bytes.len() {
        let end = (at + length).min(bytes.len());
        let data = if at == 0 { Data::Text } else { Data::Continue };
        let frame = Frame::message(bytes.slice(at..end), OpCode::Data(data), end == bytes.len());
        socket.send(Message::Frame(frame)).await?;
        at = end;
        if at < bytes.len() {
            sleep(BETWEEN_FRAGMENTS).await;
        }
    }
    Ok(())
}
