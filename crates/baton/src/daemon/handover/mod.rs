//! `baton upgrade`: one process of the daemon hands over to another, and no client notices.
//!
//! | module | does |
//! | --- | --- |
//! | [`listeners`] | what is listened on, by name, from one process to the next |
//! | [`link`] | messages and descriptors over the socket between the two |
//! | [`giver`] | the old process: starts the new one, and gives what it has |
//! | [`starter`] | makes the new process nobody's child |
//! | [`heir`] | the new process: takes it |
//! | [`fault`] | places where a test stops it |
//! | [`state`] | a copy of the database, if the new version changes its tables |
//!
//! The order, which loses nothing (Engines.md §4). Until *accepting* the old process serves, and goes on
//! if the new one fails, dies or hangs:
//!
//! | old | new |
//! | --- | --- |
//! | no deploy may begin; starts the new binary | *hello*: its version |
//! | *offer*: all listeners, folders | reads its settings, makes its proxy, accepts nothing: *ready* |
//! | its control plane ends, the data folder is free: *go* | opens the state, adopts instances, publishes |
//! | follows what the new one publishes | accepts: *accepting* |
//! | accepts no more, finishes what it has | is the daemon |
//!
//! What is between the two from *go* on is [`baton_deploy::router::succession`].

pub mod fault;
pub mod giver;
pub mod heir;
mod link;
pub mod listeners;
pub mod starter;
pub mod state;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::Settings;

/// What both sides must agree in. Raised when a message changes its meaning.
const PROTOCOL: u32 = 1;

/// How long a new binary may take to say hello.
const HELLO: Duration = Duration::from_secs(10);
/// How long it may take to read its settings.
const READY: Duration = Duration::from_secs(15);

/// From the new process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromNew {
    Hello(Hello),
    /// Nothing is missing but the state.
    Ready,
}

/// Who takes over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    protocol: u32,
    pub version: String,
    /// Version of the database that it reads and writes.
    pub database: usize,
}

/// From the old process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromOld {
    Offer(Offer),
    /// Nobody holds the data folder any more.
    Go,
}

/// What the new process is to go on with. The descriptors of `listeners` follow it, and then that of the
/// old one's standard error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Offer {
    pub data: PathBuf,
    pub socket: PathBuf,
    /// Whose figures are counted on.
    pub session: String,
    /// Processes that may still have connections: the old one, and those before it.
    pub pids: Vec<u32>,
    listeners: Vec<listeners::Label>,
}

impl Offer {
    /// Of a daemon with these settings.
    #[must_use]
    pub fn new(settings: &Settings, session: &str, before: &[u32]) -> Offer {
        Offer {
            data: settings.data.clone(),
            socket: settings.socket.clone(),
            session: session.to_owned(),
            pids: [before, &[std::process::id()]].concat(),
            listeners: Vec::new(),
        }
    }
}
