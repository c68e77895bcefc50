//! WebSocket as far as a proxy must know it (RFC 6455): where frames end, and how to say goodbye.
//!
//! | module | does |
//! | --- | --- |
//! | [`frames`] | follows the frame heads of one direction; no IO, no payload |
//! | [`close`] | Close frames, for a client and for an instance |
//! | [`end`] | when the open WebSockets of an instance are to end |
//!
//! The bytes themselves pass through `exchange::tunnel`, which asks here.

pub(crate) mod close;
pub mod end;
pub(crate) mod frames;
