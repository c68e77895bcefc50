//! A compose file with `x-baton`, read into a typed app, with good errors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`color`] | [`Color`], [`Role`], [`AppName`]: the words every other crate shares |
//! | [`policy`] | `x-baton` as types: [`Policy`] and its parts |
//! | [`project`] | [`Project`]: what one read of the user's files gives |
//! | [`rendering`] | [`Rendering`]: one color in one role, ready for an engine |
//! | [`error`] | [`ComposeError`]: every mistake of the files, with file, key path and next step |
//! | [`messages`] | does a preview touch the live color's messages? |
//! | [`read()`], [`find_app`] | the two readers: `docker compose config`, and plain YAML for processes |
//! | [`glance`] | a first look at a file without `x-baton`, and writing one into it |
//! | [`plain`] | the commands that start the services without `x-baton` |
//! | [`schema()`] | the JSON Schema of `x-baton` |
//! | [`units`] | durations and sizes as people type them |
//! | `xbaton` | `x-baton` as typed, checked, and lowered to a [`Policy`] |
//! | `files`, `dotenv`, `interpolate`, `yaml` | finding and reading the user's files as Compose does |
//! | `compose` | running `docker compose` |
//! | `coloring` | the docker model of one color, made from the user's model |
//!
//! This crate never talks to a Docker Engine, never starts an app, and knows no deploy.
#![forbid(unsafe_code)]

mod coloring;
mod compose;
mod dotenv;
mod files;
mod interpolate;
mod read;
mod xbaton;
mod yaml;

pub mod color;
pub mod error;
pub mod glance;
pub mod messages;
pub mod plain;
pub mod policy;
pub mod project;
pub mod rendering;
pub mod units;

pub use color::{AppName, Color, Role};
pub use compose::compose_version;
pub use error::{ComposeError, Problem};
pub use policy::Policy;
pub use project::{EngineKind, Project, Service};
pub use read::{ReadOptions, find_app, read};
pub use rendering::Rendering;
pub use xbaton::schema;
