//! Redis Streams through a switch (Streams.md §3): no message is lost, and none is moved that should
//! stay.
//!
//! | module | does |
//! | --- | --- |
//! | `stream` | [`Messages`], [`Stream`]: keys and groups of one color; are the colors kept apart? |
//! | `url`, `link` | [`Url`] without its credentials, [`Redis`]: asks, with limits, over clusters and restarts |
//! | `server`, `id`, `group` | what the server is and what a group holds |
//! | `before` | [`Before`]: what was pending when the deploy began |
//! | `drained` | [`Draining`]: the proof that the old color has handled everything |
//! | `leftover` | [`Mover`]: carries what it did not handle to the new color |
//!
//! The way of a deploy: *preflight* [`Redis::check`], [`isolation`], [`needs_until`],
//! [`Redis::create_groups`], [`Before::take`] → *drain_messages* [`Draining::wait`]; over its time:
//! [`Overdue`] → after the old color has exited [`Mover::carry`].

mod before;
mod drained;
mod error;
mod group;
mod id;
mod leftover;
mod link;
mod server;
mod stream;
mod url;

pub use before::{Before, IN_HAND};
pub use drained::{Draining, EVERY, Handled, Left, Poll};
pub use error::RedisError;
pub use group::Consumer;
pub use id::EntryId;
pub use leftover::{Moved, Mover, Overdue, Which};
pub use link::{LIMIT, Redis, Resolve, by_dns};
pub use server::Server;
pub use stream::{Messages, Stream, apart, isolation, needs_until, preview_takes};
pub use url::Url;
