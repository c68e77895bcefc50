//! A compose file with `x-baton`, read into a typed app, with good errors.
//!
//! | module | holds |
//! | --- | --- |
//! | [`color`] | [`Color`], [`Role`], [`AppName`]: the words every other crate shares |
//! | [`policy`] | `x-baton` as types: [`Policy`] and its parts |
//! | [`project`] | [`Project`]: what one read of the user's files gives |
//! | [`rendering`] | [`Rendering`]: one color in one role, ready for an engine |
//! | `read` | the two readers: `docker compose config`, and plain YAML for processes |
//! | `coloring` | the docker model of one color, made from the user's model |
//! | `schema` | the JSON Schema of `x-baton` |
//!
//! This crate never talks to a Docker Engine, never starts an app, and knows no deploy.
#![forbid(unsafe_code)]

pub mod color;
pub mod policy;
pub mod project;
pub mod rendering;

pub use color::{AppName, Color, Role};
pub use policy::Policy;
pub use project::{EngineKind, Project, Service};
pub use rendering::Rendering;
