//! What an exchange promises, each promise with raw sockets on both sides of a running proxy.
#![allow(clippy::unwrap_used)]

mod kit;

mod a_request_is_forwarded;
