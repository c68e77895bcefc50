//! What an app does that a switch can break: event streams from the memory of one process, orders
//! through a Redis stream, sessions in memory, WebSocket rooms, a POST that answers with events.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | what the environment variables ask for |
//! | [`event`] | one event, and how it looks on the wire |
//! | [`emitters`] | the map from user to emitters of this process |
//! | [`streams`] | `GET /sse/{user}`, `POST /emit/{user}`, `POST /ask` |
//! | [`orders`] | `POST /orders` into this color's Redis stream, and its consumer |
//! | [`bus`] | a Redis stream that every instance reads |
//! | [`redis`] | connections, and entries of streams |
//! | [`sessions`] | `POST /login`, `GET /me` |
//! | [`rooms`] | WebSocket rooms, with fragments when asked |

mod bus;
mod emitters;
pub(crate) mod event;
mod orders;
mod redis;
mod rooms;
mod sessions;
mod settings;
mod streams;

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use self::bus::Bus;
use self::emitters::Emitters;
use self::orders::OrderDesk;
use self::sessions::Sessions;
use self::settings::SceneSettings;
use crate::dice::Dice;
use crate::routes::{Body, Query, html, json, text};
use crate::settings::Identity;

/// One life of the scene.
#[derive(Debug)]
pub(crate) struct Scene {
    settings: SceneSettings,
    identity: Identity,
    emitters: Rc<Emitters>,
    bus: Option<Bus>,
    orders: Option<Rc<OrderDesk>>,
    sessions: Sessions,
    dice: Rc<Dice>,
    /// Events that were accepted and not yet emitted.
    pending: Cell<u64>,
    asks: Cell<u64>,
}

impl Scene {
    /// Connects to Redis where it is asked for, and starts the consumers on this thread's `LocalSet`.
    pub(crate) async fn start(identity: &Identity) -> io::Result<Rc<Scene>> {
        let settings = SceneSettings::from_env();
        let emitters = Rc::new(Emitters::new(&settings, identity));
        let bus = Bus::start(&settings, &emitters).await?;
        let dice = Rc::new(Dice::new());
        let orders = OrderDesk::start(&settings, identity, &emitters, &dice).await?;
        Ok(Rc::new(Scene {
            identity: identity.clone(),
            emitters,
            bus,
            orders,
            sessions: Sessions::default(),
            dice,
            pending: Cell::new(0),
            asks: Cell::new(0),
            settings,
        }))
    }

    /// None: no route of the scene.
    pub(crate) async fn answer(
        self: &Rc<Self>,
        request: &mut Request<Incoming>,
        query: &Query,
    ) -> Option<Response<Body>> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let rest = |prefix: &str| path.strip_prefix(prefix).filter(|rest| !rest.is_empty());
        if method == Method::GET {
            if let Some(user) = rest("/sse/") {
                return Some(self.subscribe(user, request, query).await);
            }
            if let Some(room) = rest("/ws/") {
                return Some(self.enter_room(room, request, query));
            }
        } else if method == Method::POST
            && let Some(user) = rest("/emit/")
        {
            return Some(self.accept(user, query).await);
        }
        Some(match (method, path.as_str()) {
            (Method::POST, "/ask") => self.ask(query),
            (Method::POST, "/orders") => self.order(query).await,
            (Method::POST, "/login") => self.sessions.login(query.text("user")),
            (Method::GET, "/me") => self.sessions.me(request),
            (Method::GET, "/page") => html(include_str!("page.html")),
            (Method::GET, "/scene") => json(&self.figures()),
            (Method::GET, "/drained") => self.drained(),
            _ => return None,
        })
    }

    async fn order(&self, query: &Query) -> Response<Body> {
        match &self.orders {
            Some(desk) => desk.order(query).await,
            None => text(StatusCode::NOT_FOUND, "REDIS_STREAM_KEY is not set\n"),
        }
    }

    /// 200 when nothing that was accepted is still to be emitted.
    fn drained(&self) -> Response<Body> {
        match self.pending.get() {
            0 => text(StatusCode::OK, "drained\n"),
            pending => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{pending} events to come\n"),
            ),
        }
    }

    fn figures(&self) -> serde_json::Value {
        serde_json::json!({
            "release": self.identity.release,
            "color": self.identity.color,
            "emitters": self.emitters.open(),
            "emitted": self.emitters.emitted(),
            "unheard": self.emitters.unheard(),
            "pending": self.pending.get(),
            "asks": self.asks.get(),
            "sessions": self.sessions.len(),
            "consumed": self.orders.as_ref().map_or(0, |desk| desk.consumed()),
        })
    }

    /// After SIGTERM: finishes orders where it was told to, and ends every stream.
    pub(crate) async fn stop(&self) {
        if let Some(desk) = &self.orders {
            desk.stop().await;
        }
        self.emitters.close_all();
    }
}
