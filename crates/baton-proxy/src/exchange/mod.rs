//! One request and its answer.
//!
//! | module | does |
//! | --- | --- |
//! | [`request`], [`response`] | both heads, written anew from validated fields |
//! | [`relay`] | HTTP/1.1 on both sides: two sockets, one task |
//! | [`upload`], [`recode`] | the request's half of it; bodies from one framing into the other |
//! | [`tunnel`] | what follows a 101 |
//! | [`attempts`] | what may be sent a second time, and when |
//! | [`account`] | the guard and the counters of one exchange |
//! | [`stream`] | the same for everything else: HTTP/2 clients, h2c instances |
//! | [`h2c`], [`limited`] | its h2c half; bodies no larger than allowed |
//! | [`progress`] | that a long upload is no silence |
//! | [`bridge`] | an HTTP/1.1 client and an h2c instance |
//!
//! Routing and limits are asked for in the same way by all: `route` → [`Request::refused_by`](request::Request::refused_by)
//! → `hold` → account.

pub(crate) mod account;
pub(crate) mod attempts;
pub(crate) mod bridge;
pub(crate) mod h2c;
pub(crate) mod limited;
pub(crate) mod progress;
pub(crate) mod recode;
pub(crate) mod relay;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stream;
pub(crate) mod tunnel;
pub(crate) mod upload;
