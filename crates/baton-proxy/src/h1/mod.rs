//! HTTP/1.1 messages as pure functions on bytes (RFC 9112): no IO, no allocation per message.
//!
//! | module | holds |
//! | --- | --- |
//! | [`head`] | [`RequestHead`](head::RequestHead), [`ResponseHead`](head::ResponseHead): parsed and validated |
//! | [`refusal`] | [`Refusal`](refusal::Refusal): why a message is refused, the status, the RFC section |
//! | [`body`] | how a body is delimited; the chunked decoder and encoder |
//!
//! What is not clearly right is refused; nothing is repaired or guessed.

pub mod body;
pub mod head;
pub mod refusal;
