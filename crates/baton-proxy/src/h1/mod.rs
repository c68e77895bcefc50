//! HTTP/1.1 messages as pure functions on bytes (RFC 9112): no IO, no allocation per message.
//!
//! | module | holds |
//! | --- | --- |
//! | [`head`] | [`parse_request`], [`parse_response`] → [`RequestHead`], [`ResponseHead`] |
//! | [`fields`] | what single fields say: framing, `Connection`, hop-by-hop, lists |
//! | [`target`] | the request target and `Host` |
//! | [`refusal`] | [`Refusal`]: why a message is refused, the status, the RFC section |
//! | [`body`] | how a body is delimited and taken apart; [`chunked`] the chunked coding |
//! | [`mod@write`] | chunk heads, decimals and fields on the way out |
//!
//! What is not clearly right is refused; nothing is repaired or guessed.

pub mod body;
pub mod chunked;
pub mod fields;
pub mod head;
mod lines;
pub mod refusal;
pub mod target;
pub mod write;

pub use body::{BodyDecoder, BodyLength, Decoded, LengthDecoder};
pub use chunked::{ChunkedDecoder, trailer_fields};
pub use fields::{ConnectionOptions, is_disguised, is_framing, is_hop_by_hop, tokens};
pub use head::{
    Field, FieldStore, HeadLimits, MAX_FIELDS, Parsed, Preface, RequestHead, ResponseHead, Version,
    parse_request, parse_response, starts_with_h2_preface,
};
pub use refusal::Refusal;
pub use write::{LAST_CHUNK, chunk_head, decimal, write_field, write_last_chunk};
