//! Established connections to a port of this machine that this daemon has no part in.

use std::collections::HashSet;
use std::fs;

/// One line of `/proc/net/tcp` or `tcp6` (proc_net(5)).
struct Connection {
    local: (String, u16),
    remote: (String, u16),
    inode: u64,
}

/// Connections to `port` whose other end is not a socket of this process, nor of those that it has taken
/// over from (`before`, by pid); None where `/proc` does not tell.
pub(super) fn connections_of_others(port: u16, before: &[u32]) -> Option<u32> {
    let mut all = established(&fs::read_to_string("/proc/net/tcp").ok()?);
    if let Ok(text) = fs::read_to_string("/proc/net/tcp6") {
        all.extend(established(&text));
    }
    let mut own = sockets_of("self")?;
    // One that has gone has none. Should another process have its pid, its connections are not waited for.
    own.extend(
        before
            .iter()
            .filter_map(|pid| sockets_of(&pid.to_string()))
            .flatten(),
    );
    let own_ends: HashSet<_> = all
        .iter()
        .filter(|connection| own.contains(&connection.inode))
        .map(|connection| &connection.local)
        .collect();
    let others = all
        .iter()
        .filter(|connection| connection.local.1 == port && !own_ends.contains(&connection.remote));
    u32::try_from(others.count()).ok()
}

fn established(text: &str) -> Vec<Connection> {
    text.lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            // 01 is TCP_ESTABLISHED.
            (*fields.get(3)? == "01").then_some(())?;
            Some(Connection {
                local: end(fields.get(1)?)?,
                remote: end(fields.get(2)?)?,
                inode: fields.get(9)?.parse().ok()?,
            })
        })
        .collect()
}

/// `0100007F:1F90`; an IPv4 address in IPv6 clothes is undressed, as the two ends of one connection
/// may be shown either way.
fn end(text: &str) -> Option<(String, u16)> {
    let (address, port) = text.split_once(':')?;
    let address = address
        .strip_prefix("0000000000000000FFFF0000")
        .unwrap_or(address);
    Some((address.to_owned(), u16::from_str_radix(port, 16).ok()?))
}

fn sockets_of(process: &str) -> Option<HashSet<u64>> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
    Some(
        links
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .filter_map(|target| {
                let target = target.to_str()?;
                target
                    .strip_prefix("socket:[")?
                    .strip_suffix(']')?
                    .parse()
                    .ok()
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn connections_of_this_process_do_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let _client = TcpStream::connect(address).expect("connected");
        let _server = listener.accept().expect("accepted");
        assert_eq!(connections_of_others(address.port(), &[]), Some(0));
    }

    #[test]
    fn a_line_of_proc_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4242 1\n   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1\n";
        let found = established(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].local, ("0100007F".to_owned(), 8080));
        assert_eq!(found[0].inode, 4242);
        assert_eq!(
            end("0000000000000000FFFF00000100007F:1F90"),
            end("0100007F:1F90")
        );
    }
}
