//! Plain processes: each instance is a process group behind a shim, and needs no Docker.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ProcessEngine`] (`engine`, `methods`) | the [`Engine`](crate::Engine): its parts, and what is asked of it |
//! | [`shim`] | the tiny parent of each instance, which outlives the daemon |
//! | `launch` | from a spec to a shim that runs |
//! | `life` | one process followed from start or adoption to its end |
//! | `once` | a command that runs to its end beside the instances |
//! | `folder`, `spec` | what is written down about an instance, and where |
//! | `output`, `tap`, `log` | its output: whose turn it is to read, and from the FIFO to a bounded log, without loss |
//! | `ports`, `user`, `signal` | `PORT`, `user:` and `stop_signal:` |
//! | `proc`, `oom`, `sockets` | what `/proc` says |
//! | `shield` | what a candidate is kept from doing to the live color |
//! | `sys` | the few unsafe calls |
//!
//! Nothing here knows the start of an instance by its pid alone: a process is its pid, its start time
//! and the boot it belongs to (Engines.md §3).

mod command;
mod engine;
mod folder;
mod launch;
mod life;
mod log;
mod methods;
mod once;
mod oom;
mod output;
mod ports;
mod proc;
mod shield;
pub mod shim;
mod signal;
mod sockets;
mod spec;
mod sys;
mod tap;
mod user;

pub use engine::ProcessEngine;
pub use launch::ShimProgram;
