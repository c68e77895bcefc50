//! The old process's part of an upgrade: it starts the new one, gives it what it has, and finishes what is in
//! flight.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baton_deploy::router::Router;
use baton_deploy::router::succession::Successor;
use tokio::net::UnixStream;

use super::handover::giver::Candidate;
use super::handover::listeners::{self, CONTROL, Label, OfferedListener};
use super::handover::{Offer, fault, state};
use super::reign::Reign;
use super::sides::Sides;
use super::start::{LENT, OWNED};
use super::upgrades::Refused;
use super::{Daemon, LET_GO, ending, lock, stopped};
use crate::error::CliError;

/// How long a new process may take to open the state and to accept.
const ACCEPTING: Duration = Duration::from_secs(20);

impl Daemon {
    /// Starts the new process and waits until it is ready; nothing has changed when that fails.
    pub(super) async fn prepare(&self, binary: &Path, reign: &Reign) -> Result<Candidate, Refused> {
        reign.control.freeze().map_err(|error| Refused {
            message: error.to_string(),
            exit_code: error.exit_code() as u8,
        })?;
        let listeners = self.offered();
        let offer = Offer::new(&self.settings, reign.control.session(), &self.before);
        let binary = binary.to_owned();
        let started =
            tokio::task::spawn_blocking(move || Candidate::start(&binary, offer, &listeners)).await;
        let started = started.unwrap_or_else(|error| Err(error.to_string()));
        started.map_err(|message| {
            reign.control.thaw();
            Refused {
                message: format!("{message}\n  this daemon goes on as it was"),
                exit_code: baton_deploy::outcome::ExitCode::Error as u8,
            }
        })
    }

    /// Everything that is listened on.
    fn offered(&self) -> Vec<OfferedListener> {
        let mut all = listeners::of_proxy(&self.proxy, &self.settings);
        all.extend(self.socket.iter().map(|socket| OfferedListener {
            label: Label {
                name: CONTROL.to_owned(),
                asked: if socket.is_owned() { OWNED } else { LENT }.to_owned(),
            },
            socket: socket.descriptor(),
        }));
        all.extend(self.sides.offered());
        all
    }

    /// The state is closed: the new process opens it and accepts. `Err`: it did not, and this one goes on.
    pub(super) async fn hand_over(
        &mut self,
        mut candidate: Candidate,
    ) -> Result<Successor, String> {
        let kept = state::keep(&self.settings.data, candidate.hello.database);
        self.lock = None;
        fault::at("old:closed");
        let gone = "it ended before it accepted";
        let result = match candidate.go().and_then(UnixStream::from_std) {
            Ok(link) => {
                fault::at("old:go");
                let router = Arc::clone(&self.router) as Arc<dyn Router>;
                let mut successor = Successor::serve(link, router);
                let accepting = tokio::time::timeout(ACCEPTING, successor.accepting()).await;
                match accepting {
                    Ok(true) => Ok(successor),
                    Ok(false) => Err(gone.to_owned()),
                    Err(_) => Err(format!(
                        "it did not accept within {} s",
                        ACCEPTING.as_secs()
                    )),
                }
            }
            Err(_) => Err(gone.to_owned()),
        };
        match result {
            Ok(successor) => {
                // Out of epoll, then closed: everyone who comes from here on meets the new process.
                fault::at("old:accepting");
                self.proxy.retire();
                successor.retired();
                if let Some(socket) = self.socket.take() {
                    socket.give_away();
                }
                self.sides = Sides::default();
                state::forget(kept);
                tracing::info!(
                    pid = candidate.pid(),
                    "handed over; finishing what is in flight"
                );
                candidate.let_go();
                Ok(successor)
            }
            Err(why) => {
                let failed = tokio::task::spawn_blocking(move || candidate.fail(&why)).await;
                let message = failed.unwrap_or_else(|error| error.to_string());
                self.lock = lock::take_within(&self.settings.data, LET_GO)
                    .inspect_err(|error| tracing::error!(%error, "the data folder"))
                    .ok();
                state::restore(kept);
                self.router.hold().await;
                Err(message)
            }
        }
    }

    /// What is in flight ends here, while the new process decides where it goes.
    pub(super) async fn finish(
        mut self,
        mut successor: Successor,
        drain: Duration,
    ) -> Result<(), CliError> {
        let finished = async {
            self.proxy.ended().await;
            // Older processes hear through this one.
            self.router.alone().await;
        };
        tokio::select! {
            () = finished => {
                self.last_lines();
                successor.last_word().await;
                tracing::info!("all that this process had has ended");
                return Ok(());
            }
            () = tokio::time::sleep(drain) => {
                tracing::warn!("{} s are over; what is left is ended", drain.as_secs());
            }
            () = successor.gone() => {
                tracing::warn!("the new daemon has gone: what is left here is ended");
            }
            () = stopped(&mut self.signals) => {}
        }
        ending::now(&self.proxy, self.carrier.embedded(), &mut self.signals).await;
        self.last_lines();
        successor.last_word().await;
        Ok(())
    }
}
