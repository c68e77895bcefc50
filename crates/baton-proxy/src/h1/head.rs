//! Request and response heads, parsed with `httparse`, each field validated after it.

use super::body::BodyLength;

/// One field of a head; both parts lie in the connection's buffer. The value has no white space
/// around it.
#[derive(Debug, Clone, Copy)]
pub struct Field<'b> {
    pub name: &'b str,
    pub value: &'b [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

/// A request head that passed every rule. Borrowed from the buffer it was read into.
#[derive(Debug)]
pub struct RequestHead<'b, 'f> {
    pub method: &'b str,
    /// Origin form with its query (`/a?b`), or `*` for OPTIONS. An absolute form has been taken apart.
    pub target: &'b str,
    /// Host as sent (with port, if any). Empty only in HTTP/1.0 without Host.
    pub host: &'b str,
    pub version: Version,
    /// All fields, in order, hop-by-hop ones included.
    pub fields: &'f [Field<'b>],
    pub body: BodyLength,
    /// The client wants to go on after this exchange.
    pub keep_alive: bool,
    /// `Connection: upgrade` with this `Upgrade` value.
    pub upgrade: Option<&'b str>,
    pub expect_continue: bool,
    /// Bytes of the buffer that the head took.
    pub length: usize,
}

/// A response head that passed every rule.
#[derive(Debug)]
pub struct ResponseHead<'b, 'f> {
    pub status: u16,
    pub reason: &'b str,
    pub version: Version,
    pub fields: &'f [Field<'b>],
    /// Settled with the request's method and the status (RFC 9112 §6.3).
    pub body: BodyLength,
    /// The upstream connection may be used again once the body has ended.
    pub keep_alive: bool,
    pub length: usize,
}

/// A head may not be there whole yet.
#[derive(Debug)]
pub enum Parsed<T> {
    Partial,
    Complete(T),
}
