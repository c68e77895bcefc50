//! Releases, plans, the journal, and the steps that pass traffic from one release to the next.
//!
//! The way of a deploy, in reading order:
//!
//! | module | does |
//! | --- | --- |
//! | [`control`] | [`ControlPlane`](control::ControlPlane): what the daemon's API calls: deploy, rollback, switch, status, … |
//! | [`plan`] | [`Plan`](plan::Plan), [`StepName`](plan::StepName): what a deploy is made of; `strategy` writes it |
//! | `step` | one file a step: what it does, and how it is undone |
//! | [`journal`] | what was written before and after each step ran |
//! | `run` | walks a plan, journals it, undoes it on failure; `recover` does so after a crash |
//! | [`receipt`] | the proof at the end |
//!
//! Beside that way:
//!
//! | module | does |
//! | --- | --- |
//! | [`release`] | [`Release`](release::Release): image, rendering, policy; numbered per app |
//! | [`slots`] | what is in each color of an app, and its role now |
//! | [`admission`] | `pause` and `maintenance`: whether requests are let in |
//! | `routes` | what each app wants of the router; every change is published through it |
//! | `store` | the SQLite database: releases, slots, deploys, journal, receipts, events |
//! | [`router`] | [`Router`](router::Router): publishes the live colors to what carries traffic; `embedded` is Baton's proxy |
//! | `health` | is an instance ready? HTTP, the Compose healthcheck, or TCP |
//! | `supervise`, `keeper` | follow the engine's events: unroute on exit, restart what is live |
//! | `until` | `drain.until`: the app itself says that it is done |
//! | `drain`, `tail` | the proof that a color may be stopped; a color on its way out |
//! | [`redis`] | Redis Streams: nothing of the old color is lost |
//! | [`observe`] | watches a stream path during a deploy and says which mode fits |
//! | `sessions` | which clients' sessions live where, over a restart of the daemon |
//! | [`certificates`] | which hosts want a certificate of the daemon's; who gets them is given from outside |
//! | `lock` | one deploy of an app at a time |
//! | `fault` | where tests kill the real daemon; not in release builds |
//! | [`machine`] | memory and disk that are left |
//! | [`telling`] | what deploys come to, for whoever listens |
//! | [`token`] | who may use the API over TCP, and for what |
//! | [`traffic`] | requests, errors, latency and streams of the last minutes |
//! | [`progress`], [`status`] | what users see while it goes on, and at any time (JSON contract) |
//! | [`request`], [`outcome`] | what a deploy is asked with, how it ended and with which exit code |
//!
//! This crate knows no HTTP framing and no command line.
#![forbid(unsafe_code)]

// The tests' kit names the crate as its users do.
#[cfg(test)]
extern crate self as baton_deploy;

mod activate;
mod app;
mod core;
mod drain;
mod fault;
mod feed;
mod figures;
mod filled;
mod health;
mod hooks;
mod images;
mod keeper;
mod launch;
mod lock;
mod look;
mod planning;
mod preview;
mod recover;
mod routes;
mod run;
mod running;
mod sessions;
mod step;
mod store;
mod strategy;
mod supervise;
mod tail;
mod until;
mod unwell;
mod verdict;
mod work;

pub mod admission;
pub mod certificates;
pub mod control;
pub mod error;
pub mod journal;
pub mod machine;
pub mod observe;
pub mod outcome;
pub mod plan;
pub mod progress;
pub mod receipt;
pub mod redis;
pub mod release;
pub mod request;
pub mod router;
pub mod slots;
pub mod status;
pub mod telling;
pub mod token;
pub mod traffic;

pub use control::ControlPlane;
pub use error::DeployError;
pub use store::VERSION as DATABASE_VERSION;
