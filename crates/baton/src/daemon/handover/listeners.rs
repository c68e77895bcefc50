//! What is listened on, by name, from one process of the daemon to the next.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use baton_proxy::{InheritedListener, ListenerProtocol, Proxy};
use serde::{Deserialize, Serialize};

use crate::daemon::settings::Settings;

/// Name of the control socket.
pub const CONTROL: &str = "control";
/// Name of the plain listeners of the proxy.
const HTTP: &str = "http";
/// Name of its TLS listeners.
const HTTPS: &str = "https";

/// What a listening socket is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Which part of the daemon accepts from it.
    pub name: String,
    /// The address as it was asked for: port 0 is another one in the end.
    pub asked: String,
}

/// One listening socket, for the process that takes over. Whatever listens in the daemon is offered: a
/// socket that is not would refuse clients for a moment.
#[derive(Debug, Clone)]
pub struct OfferedListener {
    pub label: Label,
    pub socket: Arc<OwnedFd>,
}

/// Every socket of every worker of the proxy.
#[must_use]
pub fn of_proxy(proxy: &Proxy, settings: &Settings) -> Vec<OfferedListener> {
    let offered = proxy.listeners().into_iter().filter_map(|listener| {
        let (name, asked) = match listener.protocol {
            ListenerProtocol::Http => (HTTP, &settings.http),
            ListenerProtocol::Https => (HTTPS, &settings.https),
        };
        let bound = address(&listener.socket)?;
        let asked = asked_for(asked, bound).unwrap_or(bound);
        Some(OfferedListener {
            label: Label {
                name: name.to_owned(),
                asked: asked.to_string(),
            },
            socket: listener.socket,
        })
    });
    offered.collect()
}

/// The address that was typed, where port 0 has become another.
fn asked_for(asked: &[SocketAddr], bound: SocketAddr) -> Option<SocketAddr> {
    let any_port = SocketAddr::new(bound.ip(), 0);
    let there = |address: &SocketAddr| asked.contains(address).then_some(*address);
    there(&bound).or_else(|| there(&any_port))
}

fn address(socket: &OwnedFd) -> Option<SocketAddr> {
    let socket = TcpListener::from(socket.try_clone().ok()?);
    socket.local_addr().ok()
}

/// What a process has been given.
#[derive(Debug, Default)]
pub struct Inherited(Vec<OfferedListener>);

impl Inherited {
    #[must_use]
    pub fn new(listeners: Vec<OfferedListener>) -> Inherited {
        Inherited(listeners)
    }

    /// All of a name.
    pub fn take(&mut self, name: &str) -> Vec<OfferedListener> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|one| one.label.name == name);
        self.0 = left;
        taken
    }

    /// Those of the proxy that the settings still name, which then name them by their ports; the others
    /// are closed.
    pub fn of_proxy(&mut self, settings: &mut Settings) -> Vec<InheritedListener> {
        let plain = self.take(HTTP);
        let tls = self.take(HTTPS);
        let mut kept = wanted(plain, ListenerProtocol::Http, &mut settings.http);
        kept.extend(wanted(tls, ListenerProtocol::Https, &mut settings.https));
        kept
    }
}

fn wanted(
    offered: Vec<OfferedListener>,
    protocol: ListenerProtocol,
    addresses: &mut [SocketAddr],
) -> Vec<InheritedListener> {
    let mut kept = Vec::new();
    for one in offered {
        let (asked, bound) = (one.label.asked.parse().ok(), address(&one.socket));
        let place = addresses
            .iter_mut()
            .find(|address| Some(**address) == asked || Some(**address) == bound);
        match (place, bound) {
            (Some(place), Some(bound)) => {
                *place = bound;
                kept.push(InheritedListener {
                    protocol,
                    socket: one.socket,
                });
            }
            _ => tracing::warn!("nobody listens on {} any more", one.label.asked),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_known_by_what_was_asked_for() {
        let asked: Vec<SocketAddr> = ["127.0.0.1:0", "[::1]:80"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let bound = "127.0.0.1:4711".parse().unwrap();
        assert_eq!(asked_for(&asked, bound), Some(asked[0]));
        assert_eq!(asked_for(&asked, asked[1]), Some(asked[1]));
        assert_eq!(asked_for(&asked, "10.0.0.1:80".parse().unwrap()), None);
    }

    #[test]
    fn what_the_settings_name_no_more_is_left_out() {
        let socket = || Arc::new(OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()));
        let offer = |asked: &str, socket: &Arc<OwnedFd>| OfferedListener {
            label: Label {
                name: HTTP.to_owned(),
                asked: asked.to_owned(),
            },
            socket: Arc::clone(socket),
        };
        let (any, gone) = (socket(), socket());
        let mut addresses: Vec<SocketAddr> = vec!["127.0.0.1:0".parse().unwrap()];
        let offered = vec![
            offer("127.0.0.1:0", &any),
            offer("127.0.0.1:0", &any),
            offer("127.0.0.1:1", &gone),
        ];
        let kept = wanted(offered, ListenerProtocol::Http, &mut addresses);
        assert_eq!(kept.len(), 2, "both workers'");
        assert_eq!(addresses, [address(&any).unwrap()]);
    }
}
