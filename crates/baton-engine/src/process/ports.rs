//! Chooses a `PORT` for an instance.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// A port that nobody listens on and that is not in `taken`; None when there is none.
///
/// It lies outside the range from which the kernel takes ports for outgoing connections: such a
/// connection could take it between now and the moment at which the app binds it, or between two
/// lives of the app.
pub(super) fn choose(taken: &HashSet<u16>) -> Option<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let range = candidates(ephemeral(&text));
    // From anywhere in it, so that two engines on one machine rarely try the same.
    let random = RandomState::new().hash_one(0);
    let first = usize::try_from(random % range.len() as u64).unwrap_or(0);
    let all = range.clone().skip(first).chain(range.take(first));
    all.into_iter()
        .find(|port| !taken.contains(port) && is_free(*port))
}

/// Could any app listen on it, on every address?
fn is_free(port: u16) -> bool {
    can_bind_both(port, false)
}

/// Could an app that has listened on it listen again? Connections of its former life that linger in
/// TIME_WAIT do not count: servers bind with SO_REUSEADDR.
pub(super) fn is_free_again(port: u16) -> bool {
    can_bind_both(port, true)
}

fn can_bind_both(port: u16, again: bool) -> bool {
    can_bind(
        AddressFamily::INET,
        (Ipv4Addr::UNSPECIFIED, port).into(),
        again,
    ) && can_bind(
        AddressFamily::INET6,
        (Ipv6Addr::UNSPECIFIED, port).into(),
        again,
    )
}

/// Binds without listening, so that nobody can connect meanwhile; closed at once.
fn can_bind(family: AddressFamily, address: SocketAddr, again: bool) -> bool {
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let bind = |socket: &OwnedFd| {
        set_socket_reuseaddr(socket, again)?;
        rustix::net::bind(socket, &address)
    };
    match socket {
        Ok(socket) => match bind(&socket) {
            Ok(()) => true,
            // This machine has the family but no address of it.
            Err(error) => error == rustix::io::Errno::ADDRNOTAVAIL,
        },
        // This machine does not have the family.
        Err(error) => error == rustix::io::Errno::AFNOSUPPORT,
    }
}

fn ephemeral(text: &str) -> RangeInclusive<u16> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low <= high => low..=high,
        // The kernel's default.
        _ => 32768..=60999,
    }
}

fn candidates(ephemeral: RangeInclusive<u16>) -> RangeInclusive<u16> {
    const LOWEST: u16 = 10_000;
    const ENOUGH: u16 = 1_000;
    let (low, high) = (*ephemeral.start(), *ephemeral.end());
    if low >= LOWEST + ENOUGH {
        LOWEST..=low - 1
    } else if high <= u16::MAX - ENOUGH {
        high + 1..=u16::MAX
    } else {
        // Everything is ephemeral here; the chance of a theft is small and there is no other way.
        LOWEST..=u16::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_ports_of_outgoing_connections_are_avoided() {
        assert_eq!(candidates(ephemeral("32768\t60999\n")), 10_000..=32_767);
        assert_eq!(candidates(ephemeral("1024 60999")), 61_000..=65_535);
        assert_eq!(candidates(ephemeral("1024 65535")), 10_000..=65_535);
        assert_eq!(ephemeral("nonsense"), 32_768..=60_999);
    }

    #[test]
    fn a_port_in_use_on_one_address_only_is_not_free() {
        let port = choose(&HashSet::new()).expect("a port");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
        assert!(!is_free(port));
        assert!(!is_free_again(port));
        drop(listener);
        assert!(is_free(port));
    }

    #[test]
    fn every_choice_is_another_port() {
        let mut taken = HashSet::new();
        for _ in 0..200 {
            let port = choose(&taken).expect("a port");
            assert!(taken.insert(port));
        }
    }
}
