//! Which requests may become managed streams, and on what terms.

use std::sync::Arc;
use std::time::Duration;

use super::rule::{StreamMode, StreamRule};
use crate::route::Route;
use crate::sessions::sockjs_session;

/// What a route says about one stream.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) mode: StreamMode,
    pub(crate) drop_on_attach: Arc<[String]>,
    pub(crate) grace: Duration,
}

impl Terms {
    /// `target`: path and query, as the client sent them.
    pub(crate) fn of(route: &Route, target: &str) -> Terms {
        let mut terms = Terms::by_rule(route, target);
        // A SockJS session lives on one instance only (Streams.md §2).
        if sockjs_session(target).is_some() && terms.mode != StreamMode::Drain {
            terms.mode = StreamMode::Reconnect;
        }
        terms
    }

    fn by_rule(route: &Route, target: &str) -> Terms {
        match route.stream_rule(target) {
            Some(rule) => Terms {
                mode: rule.mode,
                drop_on_attach: Arc::clone(&rule.drop_on_attach),
                grace: rule.attach_grace,
            },
            None => Terms {
                mode: route.default_stream_mode,
                drop_on_attach: Arc::default(),
                grace: StreamRule::ATTACH_GRACE,
            },
        }
    }
}

/// Whether an event stream that answers this request will be managed. A request that is not GET, or has
/// a body, is never sent twice, so that its stream can only drain.
pub(crate) fn may_be_managed(route: &Route, method: &str, target: &str, bodiless: bool) -> bool {
    method == "GET"
        && bodiless
        && match route.stream_rule(target) {
            Some(rule) => rule.mode != StreamMode::Drain,
            None => route.default_stream_mode != StreamMode::Drain,
        }
}

/// Whether the app is asked not to compress its answer, since events cannot be found in compressed
/// bytes: where a rule expects a stream, and where the client does.
pub(crate) fn is_asked_plain(route: &Route, target: &str, accept: Option<&[u8]>) -> bool {
    route.stream_rule(target).is_some() || accepts_events(accept)
}

/// Whether the client waits for events: EventSource says so.
pub(crate) fn accepts_events(accept: Option<&[u8]>) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    accept.is_some_and(|accept| {
        accept
            .windows(EVENTS.len())
            .any(|part| part.eq_ignore_ascii_case(EVENTS))
    })
}
