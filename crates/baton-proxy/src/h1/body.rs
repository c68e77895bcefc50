//! How a body is delimited, and the chunked coding.

/// RFC 9112 §6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body at all, or `Content-Length: 0`.
    Empty,
    Length(u64),
    Chunked,
    /// Responses only: until the connection closes.
    UntilClose,
}
