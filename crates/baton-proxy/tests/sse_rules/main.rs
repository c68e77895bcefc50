//! Server-sent events: every rule of the standard, case by case, and what must hold however a stream is cut and halves
//! are interleaved, judged by a parser that is written down from the standard (Streams.md §1.3).
// Not every function of a test has `#[test]` on it.
#![allow(clippy::unwrap_used)]

mod cases;
mod heads;
mod invariants;
mod joining;
mod properties;
mod reference;

use baton_proxy::sse;
