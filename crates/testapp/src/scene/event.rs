//! One event: what it says, and how it looks on the wire.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The `data` of an event, as JSON on one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Names the event once and for all; whoever caused it chose it.
    pub token: String,
    /// Of the instance that emitted it.
    pub release: String,
    pub color: String,
    /// Counted in the process that emitted it: rises within one `pid` of one release.
    pub n: u64,
    pub pid: u32,
    /// `emit`, `orders` or `bus`.
    pub via: String,
    /// Color of the instance that took the order (with `orders`: the producer).
    pub by: String,
}

/// An event of one user, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) told: Told,
}

impl Event {
    pub(crate) fn bytes(&self) -> Bytes {
        let data = serde_json::to_string(&self.told).unwrap_or_default();
        let text = match &self.id {
            Some(id) => format!("id: {id}\ndata: {data}\n\n"),
            None => format!("data: {data}\n\n"),
        };
        Bytes::from(text)
    }
}
