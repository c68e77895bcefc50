//! What the environment variables ask of the scene.

use std::time::Duration;

use crate::settings::{number, text};

/// How the emitters, the orders and the sessions of this life behave.
#[derive(Debug, Clone)]
pub(crate) struct SceneSettings {
    /// `SSE_IDS=counter|token|none` (none).
    pub(crate) ids: Ids,
    /// `DELAY_MS`: an event that names no delay of its own waits up to so long, at random.
    pub(crate) delay: Duration,
    /// `EMITTER_TIMEOUT_MS`: an emitter is closed after so long.
    pub(crate) emitter_timeout: Option<Duration>,
    /// `LATE_HEADERS=1`: the head of an event stream goes out with its first event.
    pub(crate) late_headers: bool,
    /// `SSE_HELLO=1`: an event `connect` comes first, with the release and the `Last-Event-ID`.
    pub(crate) hello: bool,
    /// `SSE_REPLAY=1`: events after `Last-Event-ID` are sent again.
    pub(crate) replay: bool,
    /// `HOLD_UNHEARD=1`: an event for a user without an emitter waits for one; otherwise it is gone.
    pub(crate) hold_unheard: bool,
    /// `SPLIT_MS`: each event is written in two pieces, so long apart.
    pub(crate) split: Option<Duration>,
    /// `CALL_LOG`: a file that gets one line for each call of `POST /ask`.
    pub(crate) call_log: Option<String>,
    /// `REDIS_URL`
    pub(crate) redis: Option<String>,
    /// `SSE_BUS`: key of a Redis stream that every instance reads; events go through it.
    pub(crate) bus: Option<String>,
    /// `REDIS_STREAM_KEY` and `REDIS_CONSUMER_GROUP`
    pub(crate) orders: Option<Orders>,
}

/// What an event carries as `id:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Counted in this process: those of two processes collide.
    Counter,
    /// The event's token, which is unique.
    Token,
    None,
}

/// The Redis stream of this color.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) key: String,
    pub(crate) group: String,
    /// `REDIS_CONSUME=0`: this instance only produces.
    pub(crate) consume: bool,
    /// `REDIS_NOACK=1`: read with NOACK.
    pub(crate) noack: bool,
    /// `REDIS_NEVER_ACK=1`: handled, but never acknowledged.
    pub(crate) never_ack: bool,
    /// `CONSUMER_DIES_AFTER=n`: the consumer ends after it has read so many entries, and leaves them pending.
    pub(crate) dies_after: Option<u64>,
    /// `REDIS_STOP_ON_TERM=1`: reads no more after SIGTERM, and finishes what it has.
    pub(crate) stop_on_term: bool,
}

impl SceneSettings {
    pub(crate) fn from_env() -> SceneSettings {
        let millis = |name: &str| number(name).map(Duration::from_millis);
        let yes = |name: &str| text(name, "0") == "1";
        let optional = |name: &str| Some(text(name, "")).filter(|value| !value.is_empty());
        SceneSettings {
            ids: match text("SSE_IDS", "none").as_str() {
                "counter" => Ids::Counter,
                "token" => Ids::Token,
                _ => Ids::None,
            },
            delay: millis("DELAY_MS").unwrap_or_default(),
            emitter_timeout: millis("EMITTER_TIMEOUT_MS"),
            late_headers: yes("LATE_HEADERS"),
            hello: yes("SSE_HELLO"),
            replay: yes("SSE_REPLAY"),
            hold_unheard: yes("HOLD_UNHEARD"),
            split: millis("SPLIT_MS"),
            call_log: optional("CALL_LOG"),
            redis: optional("REDIS_URL"),
            bus: optional("SSE_BUS"),
            orders: optional("REDIS_STREAM_KEY").map(|key| Orders {
                key,
                group: text("REDIS_CONSUMER_GROUP", "orders"),
                consume: text("REDIS_CONSUME", "1") == "1",
                noack: yes("REDIS_NOACK"),
                never_ack: yes("REDIS_NEVER_ACK"),
                dies_after: number("CONSUMER_DIES_AFTER"),
                stop_on_term: yes("REDIS_STOP_ON_TERM"),
            }),
        }
    }
}
