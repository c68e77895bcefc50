//! nginx's worker processes, and the connections that they have open, as the kernel shows them.
//!
//! After a reload the workers of before take no connection any more and end when their last one has:
//! until then they may open connections to the old color.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// States of `/proc/net/tcp` in which a request may be on its way: ESTABLISHED, SYN_SENT.
const OPEN: [&str; 2] = ["01", "02"];

/// One process; its start tells it from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worker {
    pub(super) pid: u32,
    master: u32,
    start: String,
    /// Its number where it runs, which a container has for its own.
    inner: u32,
    /// It was told to end, and takes no connection.
    leaving: bool,
}

impl Worker {
    pub(super) fn is_alive(&self) -> bool {
        look(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// It may still take connections.
    pub(super) fn accepts(&self) -> bool {
        look(self.pid).is_some_and(|now| now.start == self.start && !now.leaving)
    }
}

/// All workers of the nginx one of whose workers calls itself `inner`. Empty where the kernel does not
/// show them.
pub(super) fn of(inner: u32) -> Vec<Worker> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<Worker> = pids.filter_map(look).collect();
    let masters: HashSet<u32> = all
        .iter()
        .filter(|worker| worker.inner == inner)
        .map(|worker| worker.master)
        .collect();
    all.into_iter()
        .filter(|worker| masters.contains(&worker.master))
        .collect()
}

/// None when it is no worker of an nginx.
fn look(pid: u32) -> Option<Worker> {
    let title = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let title = String::from_utf8_lossy(&title);
    let role = title.strip_prefix("nginx: worker process")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything but is closed by the last parenthesis (proc_pid_stat(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|numbers| numbers.split_whitespace().last()?.parse().ok());
    (state != "Z").then_some(())?;
    Some(Worker {
        pid,
        master: fields.get(1)?.parse().ok()?,
        start: (*fields.get(19)?).to_owned(),
        inner: inner.unwrap_or(pid),
        leaving: role.contains("shutting down"),
    })
}

/// How many connections are open to each address, in the network where `pid` lives (None: our own);
/// Baton's own, which ask for health, are left out.
pub(super) fn connections(pid: Option<u32>) -> HashMap<SocketAddr, u64> {
    let place = pid.map_or("self".to_owned(), |pid| pid.to_string());
    let own = own_sockets();
    let mut open = HashMap::new();
    for file in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{place}/net/{file}")).unwrap_or_default();
        for (peer, socket) in text.lines().skip(1).filter_map(peer) {
            if !own.contains(socket) {
                *open.entry(peer).or_default() += 1;
            }
        }
    }
    open
}

/// Of one line of `/proc/net/tcp`: whom it leads to, and the number of its socket.
fn peer(line: &str) -> Option<(SocketAddr, &str)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let state = *fields.get(3)?;
    OPEN.contains(&state).then_some(())?;
    Some((address(fields.get(2)?)?, fields.get(9)?))
}

/// `0100007F:1F90`: words of 32 bits in the order of the machine.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|word| {
            let hex = ip.get(word * 8..word * 8 + 8)?;
            Some(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes())
        })
        .collect();
    let words = words?;
    let ip = match words.as_slice() {
        [word] => IpAddr::V4(Ipv4Addr::from(*word)),
        [_, _, _, _] => {
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

fn own_sockets() -> HashSet<String> {
    let open = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let number = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(number.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let of = |text: &str| address(text).map(|address| address.to_string());
        if cfg!(target_endian = "little") {
            assert_eq!(of("0100007F:1F90").as_deref(), Some("127.0.0.1:8080"));
            assert_eq!(
                of("0000000000000000FFFF00000500000A:0050").as_deref(),
                Some("10.0.0.5:80")
            );
            assert_eq!(
                of("00000000000000000000000001000000:0050").as_deref(),
                Some("[::1]:80")
            );
        }
        assert_eq!(of("xyz"), None);
    }

    #[test]
    fn ones_own_connections_are_not_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(connections(None).get(&address), None);
        drop(client);
    }
}
