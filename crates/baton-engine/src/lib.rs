//! Runs instances: start, watch, stop, measure. Docker or plain processes.
//!
//! | module | holds |
//! | --- | --- |
//! | [`engine`] | [`Engine`], the one trait, and what it speaks of: [`Slot`], [`Start`] |
//! | [`instance`] | [`Instance`], [`InstanceState`], [`Exit`], [`Usage`], [`LogLine`] |
//! | [`once`] | [`Once`]: a command that runs to its end beside the instances |
//! | [`event`] | [`EngineEvent`]: what happened to an instance |
//! | [`error`] | [`EngineError`] |
//! | [`docker`] | the Docker Engine (API) and `docker compose up` |
//! | `process` | child process groups, each behind a shim |
//! | [`whole_file`] | files that are there whole or not at all |
//! | `oom_score`, `procfs` | how early the kernel kills a process when memory runs out, for both engines |
//!
//! This crate knows no strategy, no plan and no route: it does what it is told to one slot at a time.

pub mod docker;
pub mod engine;
pub mod error;
pub mod event;
pub mod instance;
pub mod once;
mod oom_score;
pub mod process;
mod procfs;
pub mod whole_file;

pub use docker::DockerEngine;
pub use engine::{Credentials, Engine, ImageTar, Replicas, Shield, Slot, Start, WantedImage};
pub use error::EngineError;
pub use event::EngineEvent;
pub use instance::{Exit, Instance, InstanceId, InstanceState, LogLine, Usage};
pub use once::{Once, OnceResult};
