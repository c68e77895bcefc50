//! No message of a Redis stream is lost when its color goes, on a real `redis-server` of each test's
//! own.
//!
//! | module | holds |
//! | --- | --- |
//! | `traps` | everything that makes a group look empty or full when it is not |
//! | `kept_apart` | groups that Baton makes, colors that share, more than one group |
//! | `away` | a Redis that restarts, hangs, or does not let Baton in |
//! | `killed_mover` | a move that was cut off, and what does not go by script |
//!
//! With `--nocapture` each case prints its row: what was written, handled by whom, and moved.

mod away;
mod kept_apart;
mod killed_mover;
mod kit;
mod traps;
