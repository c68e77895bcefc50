//! What managed event streams promise, with raw sockets on both sides of a running proxy: a test says
//! which bytes an app emits, and when.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

#[path = "../exchange/kit.rs"]
#[allow(dead_code)]
mod kit;
mod source;

mod reconnect_ends_at_a_boundary;
mod union_joins_both_colors;
