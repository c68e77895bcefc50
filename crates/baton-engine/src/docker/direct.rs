//! Connections to an instance that do not come through Baton.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::models::ContainerInspectResponse;

use crate::docker::inspect;

/// States in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// Established TCP connections to the app's port (to any port that it listens on where the port is
/// not known) from another address than this machine's and the container's own. None where the
/// kernel does not show them.
pub(super) fn count(container: &ContainerInspectResponse) -> Option<u32> {
    let pid = inspect::kernel_pid(container)?;
    let address = inspect::instance(container, true).address;
    let port = address
        .map(|address| address.port)
        .filter(|port| *port != 0);
    let near = near_addresses(container);
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let listening = read("tcp").ok()?;
    // No IPv6 in the kernel: no such file.
    let listening6 = read("tcp6").unwrap_or_default();
    let both = [listening.as_str(), listening6.as_str()];
    let sockets: Vec<Socket> = both.into_iter().flat_map(sockets).collect();
    let served: BTreeSet<u16> = match port {
        Some(port) => BTreeSet::from([port]),
        None => sockets
            .iter()
            .filter(|s| s.listens)
            .map(|s| s.local_port)
            .collect(),
    };
    let direct = sockets.iter().filter(|socket| {
        !socket.listens
            && served.contains(&socket.local_port)
            && !socket.peer.is_loopback()
            && !near.contains(&socket.peer)
    });
    u32::try_from(direct.count()).ok()
}

/// The gateways of its networks (so this machine comes to it: Baton, docker-proxy) and its own.
fn near_addresses(container: &ContainerInspectResponse) -> BTreeSet<IpAddr> {
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    networks
        .into_iter()
        .flat_map(|networks| networks.values())
        .flat_map(|endpoint| {
            [
                &endpoint.gateway,
                &endpoint.ipv6_gateway,
                &endpoint.ip_address,
                &endpoint.global_ipv6_address,
            ]
        })
        .filter_map(|text| text.as_deref()?.parse().ok())
        .collect()
}

/// A listening socket or an established connection.
struct Socket {
    listens: bool,
    local_port: u16,
    peer: IpAddr,
}

/// Lines of `/proc/net/tcp`: `sl local rem st …`, addresses in hexadecimal of the machine's order.
fn sockets(table: &str) -> impl Iterator<Item = Socket> + '_ {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        if state != ESTABLISHED && state != LISTEN {
            return None;
        }
        let local_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        Some(Socket {
            listens: state == LISTEN,
            local_port,
            peer: ip(remote.rsplit_once(':')?.0)?,
        })
    })
}

fn ip(hex: &str) -> Option<IpAddr> {
    let word = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(IpAddr::V4(Ipv4Addr::from(word(hex)?)));
    }
    let mut bytes = [0_u8; 16];
    for (n, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(hex.get(n * 8..n * 8 + 8)?)?);
    }
    // An IPv4 client of a dual-stack listener is the same machine as over IPv4.
    Some(Ipv6Addr::from(bytes).to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn established_connections_are_read_from_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
             0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:0 0 0 0 1 1\n\
             1: 020013AC:1F90 030013AC:B3A2 01 00000000:00000000 00:0 0 0 0 2 1\n\
             2: 020013AC:1F90 010013AC:B3A4 06 00000000:00000000 00:0 0 0 0 3 1\n";
        let found: Vec<_> = sockets(table).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].listens && !found[1].listens);
        assert_eq!(found[1].local_port, 8080);
        assert_eq!(found[1].peer.to_string(), "172.19.0.3");
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn an_ipv4_client_of_a_dual_stack_listener_is_an_ipv4_address() {
        let mapped = ip("0000000000000000FFFF0000030013AC").expect("an address");
        assert_eq!(mapped.to_string(), "172.19.0.3");
    }
}
