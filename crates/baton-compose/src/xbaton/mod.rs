//! `x-baton`: as typed ([`raw`]), checked ([`schema`]), and as it is meant ([`lower`]).

mod leaf;
mod lower;
mod lower_going_live;
mod lower_notify;
mod lower_streams;
mod raw;
mod schema;

pub(crate) use lower::{Context, hosts_of, lower};
pub use schema::schema;

pub(crate) use leaf::{scalar, shown};
