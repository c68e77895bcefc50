//! Server-sent events as pure functions on bytes (WHATWG HTML §9.2, Streams.md §1): no IO, no clock.
//!
//! | module | holds |
//! | --- | --- |
//! | [`framer`] | [`Framer`]: bytes as they are read → whole events, as they were received |
//! | [`event`] | [`Event`]: what one event says that the proxy must know |
//! | [`union`] | [`Union`]: one client's stream over several halves: what it gets, and which id it has |
//! | [`id`] | [`LastId`], `Last-Event-ID` for a new half, in a field or in the query |
//! | [`half`] | [`acceptable_half`]: whether an answer may be joined to a stream that a client already has |
//! | [`notes`] | what the proxy itself says in a stream: `retry`, `id`, a keep-alive comment |
//!
//! The way of a byte: `Framer::next` → `Union::take` → the client. What is forwarded is always whole events, so
//! that between any two of them another half's event or a note may stand.

pub mod event;
pub mod framer;
pub mod half;
pub mod id;
pub mod notes;
pub mod union;

pub use event::{Event, IdChange};
pub use framer::{Framer, MAX_EVENT, Overflow};
pub use half::{Cors, WhyNot, acceptable_half, is_event_stream};
pub use id::{LastId, MAX_ID, NoHandover, with_last_event_id};
pub use notes::{KEEP_ALIVE, closing, reconnect_delay};
pub use union::{HalfKey, MAX_HALVES, Resume, Union, Verdict};
