//! What the control plane listens on beside its socket: `--metrics`, and `--dashboard`. Bound once for the
//! process and handed over with it; each reign accepts from copies of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::dashboard::Tls;
use super::handover::listeners::{Inherited, Label, OfferedListener};
use super::settings::Settings;
use crate::error::CliError;

/// Name of the listener of the metrics, from one process to the next.
const METRICS: &str = "metrics";
/// Name of those of the status page and the API.
const DASHBOARD: &str = "dashboard";

/// All of them.
#[derive(Debug, Default)]
pub struct Sides {
    metrics: Vec<Side>,
    dashboard: Vec<Side>,
    /// Of the page.
    pub tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
struct Side {
    /// As it was typed: port 0 is another one in the end.
    asked: SocketAddr,
    bound: SocketAddr,
    listener: TcpListener,
}

impl Sides {
    /// Takes what an older process has handed over, and binds the rest.
    ///
    /// # Errors
    /// An address is taken; the page's certificate cannot be used.
    pub fn bind(settings: &Settings, inherited: &mut Inherited) -> Result<Sides, CliError> {
        let tls = match &settings.dashboard.tls {
            Some((chain, key)) => Some(Arc::new(Tls::open(chain, key)?)),
            None => None,
        };
        let metrics: Vec<SocketAddr> = settings.metrics.into_iter().collect();
        for open in metrics.iter().filter(|address| !address.ip().is_loopback()) {
            tracing::warn!(address = %open, "everyone who reaches this address can read the metrics");
        }
        Ok(Sides {
            metrics: all(METRICS, &metrics, inherited)?,
            dashboard: all(DASHBOARD, &settings.dashboard.addresses, inherited)?,
            tls,
        })
    }

    /// For the process that takes over.
    #[must_use]
    pub fn offered(&self) -> Vec<OfferedListener> {
        let named = |name: &'static str, sides: &[Side]| -> Vec<OfferedListener> {
            let offered = sides.iter().filter_map(|side| {
                Some(OfferedListener {
                    label: Label {
                        name: name.to_owned(),
                        asked: side.asked.to_string(),
                    },
                    socket: Arc::new(side.listener.try_clone().ok()?.into()),
                })
            });
            offered.collect()
        };
        let mut all = named(METRICS, &self.metrics);
        all.extend(named(DASHBOARD, &self.dashboard));
        all
    }

    /// The page's, with the ports they got.
    #[must_use]
    pub fn dashboard_addresses(&self) -> Vec<SocketAddr> {
        self.dashboard.iter().map(|side| side.bound).collect()
    }

    /// To accept scrapes from, on the runtime that is entered.
    ///
    /// # Errors
    /// The socket cannot be polled.
    pub fn metrics(&self) -> Result<Vec<tokio::net::TcpListener>, CliError> {
        polled(METRICS, &self.metrics)
    }

    /// To accept calls of the page and the API from, on the runtime that is entered.
    ///
    /// # Errors
    /// A socket cannot be polled.
    pub fn dashboard(&self) -> Result<Vec<tokio::net::TcpListener>, CliError> {
        polled(DASHBOARD, &self.dashboard)
    }
}

fn all(
    name: &'static str,
    addresses: &[SocketAddr],
    inherited: &mut Inherited,
) -> Result<Vec<Side>, CliError> {
    let mut offered = inherited.take(name);
    let mut sides = Vec::new();
    for asked in addresses {
        let at = |error| {
            CliError::Other(format!(
                "--{name} {asked}: cannot listen there: {error}; choose another port, or end what has it"
            ))
        };
        let known = offered
            .iter()
            .position(|one| one.label.asked == asked.to_string());
        let listener = match known {
            Some(place) => {
                let socket = offered.swap_remove(place).socket;
                TcpListener::from(socket.try_clone().map_err(at)?)
            }
            None => TcpListener::bind(asked).map_err(at)?,
        };
        listener.set_nonblocking(true).map_err(at)?;
        sides.push(Side {
            asked: *asked,
            bound: listener.local_addr().map_err(at)?,
            listener,
        });
    }
    Ok(sides)
}

fn polled(name: &str, sides: &[Side]) -> Result<Vec<tokio::net::TcpListener>, CliError> {
    let one = |side: &Side| {
        let copy = side.listener.try_clone()?;
        tokio::net::TcpListener::from_std(copy)
    };
    let listeners: Result<Vec<_>, std::io::Error> = sides.iter().map(one).collect();
    listeners.map_err(|error| CliError::other(format!("--{name}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_not_bound_again() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let first = Sides {
            dashboard: all(DASHBOARD, &[any], &mut Inherited::default()).unwrap(),
            ..Sides::default()
        };
        let mut inherited = Inherited::new(first.offered());
        let second = Sides {
            dashboard: all(DASHBOARD, &[any], &mut inherited).unwrap(),
            ..Sides::default()
        };
        assert_eq!(first.dashboard_addresses(), second.dashboard_addresses());
    }
}
