//! Orders: `POST /orders` adds to this color's Redis stream, and a consumer in the same app reads the
//! stream's group, emits each order's event to this process's emitters after a while, and
//! acknowledges it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use redis::aio::MultiplexedConnection;
use redis::streams::StreamId;
use tokio::time::sleep;

use super::emitters::Emitters;
use super::redis::{connect, connect_at_start, field, read_group};
use super::settings::{Orders, SceneSettings};
use crate::dice::Dice;
use crate::routes::{Body, Query, text};
use crate::settings::Identity;

#[derive(Debug)]
pub(super) struct OrderDesk {
    url: String,
    orders: Orders,
    identity: Identity,
    emitters: Rc<Emitters>,
    dice: Rc<Dice>,
    delay: Duration,
    connection: RefCell<MultiplexedConnection>,
    stopping: Cell<bool>,
    /// Entries that were read and are not handled yet.
    in_hand: Cell<u64>,
    read: Cell<u64>,
    consumed: Cell<u64>,
}

impl OrderDesk {
    /// None: `REDIS_STREAM_KEY` is not set.
    pub(super) async fn start(
        settings: &SceneSettings,
        identity: &Identity,
        emitters: &Rc<Emitters>,
        dice: &Rc<Dice>,
    ) -> io::Result<Option<Rc<OrderDesk>>> {
        let (Some(orders), Some(url)) = (settings.orders.clone(), settings.redis.clone()) else {
            return Ok(None);
        };
        let mut connection = connect_at_start(&url).await?;
        create_group(&mut connection, &orders)
            .await
            .map_err(io::Error::other)?;
        let desk = Rc::new(OrderDesk {
            url,
            identity: identity.clone(),
            emitters: Rc::clone(emitters),
            dice: Rc::clone(dice),
            delay: settings.delay,
            connection: RefCell::new(connection),
            stopping: Cell::new(false),
            in_hand: Cell::new(0),
            read: Cell::new(0),
            consumed: Cell::new(0),
            orders,
        });
        if desk.orders.consume {
            tokio::task::spawn_local(Rc::clone(&desk).consume());
        }
        Ok(Some(desk))
    }

    /// `POST /orders?user=&token=&delay_ms=`: 202 with the token once Redis has it.
    pub(super) async fn order(&self, query: &Query) -> Response<Body> {
        let token = match query.text("token") {
            "" => format!("{}-{:x}", self.identity.release, self.dice.next()),
            token => token.to_owned(),
        };
        let random = self.dice.up_to(self.delay).as_millis() as u64;
        let delay = query.number("delay_ms", random).to_string();
        let fields = [
            ("user", query.text("user")),
            ("token", token.as_str()),
            ("delay_ms", delay.as_str()),
            ("by", self.identity.color.as_str()),
        ];
        let mut command = redis::cmd("XADD");
        command.arg(&self.orders.key).arg("*").arg(&fields);
        match self.ask::<String>(&command).await {
            Ok(_) => text(StatusCode::ACCEPTED, token),
            Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        }
    }

    /// One more try on a new connection: Redis may have been restarted.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> redis::RedisResult<T> {
        let mut connection = self.connection.borrow().clone();
        match command.query_async(&mut connection).await {
            Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                let mut fresh = connect(&self.url).await?;
                self.connection.replace(fresh.clone());
                command.query_async(&mut fresh).await
            }
            other => other,
        }
    }

    /// Reads until the process ends, or as long as its switches say.
    async fn consume(self: Rc<Self>) {
        let consumer = format!("{}-{}", self.identity.release, self.identity.pid);
        let names = (self.orders.group.as_str(), consumer.as_str());
        while !self.stopping.get() {
            let Ok(mut connection) = connect(&self.url).await else {
                sleep(Duration::from_millis(200)).await;
                continue;
            };
            while !self.stopping.get() {
                let read =
                    read_group(&mut connection, &self.orders.key, names, self.orders.noack).await;
                match read {
                    Ok(entries) => {
                        for entry in entries {
                            if self.dies() {
                                return;
                            }
                            self.in_hand.set(self.in_hand.get() + 1);
                            tokio::task::spawn_local(Rc::clone(&self).handle(entry));
                        }
                    }
                    Err(error) => {
                        eprintln!("orders: {error}");
                        if error.code() == Some("NOGROUP") {
                            let _ = create_group(&mut connection, &self.orders).await;
                        }
                        sleep(Duration::from_millis(200)).await;
                        break;
                    }
                }
            }
        }
    }

    /// Counts one entry; `true` when the consumer is to end with it unhandled.
    fn dies(&self) -> bool {
        let read = self.read.get() + 1;
        self.read.set(read);
        self.orders.dies_after.is_some_and(|after| read > after)
    }

    async fn handle(self: Rc<Self>, entry: StreamId) {
        let part = |name| field(&entry, name);
        let delay = part("delay_ms").parse().unwrap_or(0);
        sleep(Duration::from_millis(delay)).await;
        let told = self.emitters.told(&part("token"), "orders", &part("by"));
        self.emitters.emit(&part("user"), told, None);
        if !self.orders.noack && !self.orders.never_ack {
            let mut command = redis::cmd("XACK");
            command
                .arg(&self.orders.key)
                .arg(&self.orders.group)
                .arg(&entry.id);
            if let Err(error) = self.ask::<u64>(&command).await {
                eprintln!("orders: {} is not acknowledged: {error}", entry.id);
            }
        }
        self.consumed.set(self.consumed.get() + 1);
        self.in_hand.set(self.in_hand.get() - 1);
    }

    /// After SIGTERM, where it was told so: reads no more, and waits until nothing is in hand.
    pub(super) async fn stop(&self) {
        if !self.orders.stop_on_term {
            return;
        }
        self.stopping.set(true);
        while self.in_hand.get() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn consumed(&self) -> u64 {
        self.consumed.get()
    }
}

/// From the start of the stream; there already is fine.
async fn create_group(
    connection: &mut MultiplexedConnection,
    orders: &Orders,
) -> redis::RedisResult<()> {
    let mut command = redis::cmd("XGROUP");
    command.arg("CREATE").arg(&orders.key).arg(&orders.group);
    command.arg("0").arg("MKSTREAM");
    match command.query_async::<()>(connection).await {
        Err(error) if error.code() != Some("BUSYGROUP") => Err(error),
        _ => Ok(()),
    }
}
