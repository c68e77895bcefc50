//! The test app does what its variables ask for, and the load sees what the app does. Both are what the
//! tests of Baton stand on.
#![allow(clippy::unwrap_used)]

mod activation;
mod faults;
mod kit;
mod migration;
mod visitors;
