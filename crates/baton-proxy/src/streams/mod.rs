//! Managed event streams: a client's `text/event-stream` that outlives the instance it came from
//! (Streams.md §1).
//!
//! An exchange whose answer is an event stream leaves the way of a request here, unless its mode is
//! `drain`: from then on only whole events are forwarded, so that the stream may go on with another
//! instance, or end, between any two of them.
//!
//! | module | does |
//! | --- | --- |
//! | [`rule`] | path → what becomes of its streams |
pub mod rule;
