//! The ports that the daemon wants, and who has them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::Finding;
use crate::daemon::settings::Settings;
use crate::wire::DaemonInfo;

const CHECK: &str = "ports";

pub(super) fn of_the_daemon(info: &DaemonInfo) -> Finding {
    let all = info.http.iter().chain(&info.https);
    let listed: Vec<String> = all.map(ToString::to_string).collect();
    Finding::well(CHECK, format!("the daemon has {}", listed.join(", ")))
}

/// No daemon runs: could it have its ports?
pub(super) fn wanted(settings: &Settings) -> Vec<Finding> {
    let all = settings.http.iter().chain(&settings.https);
    all.map(|address| free(*address)).collect()
}

fn free(address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::well(CHECK, format!("{address} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Finding::wrong(
            CHECK,
            match holder(Path::new("/proc"), address.port()) {
                Some(name) => format!("{address} is taken by {name}"),
                None => format!("{address} is taken (by whom, root may see)"),
            },
            "stop that, or put Baton behind it: `baton serve --http 127.0.0.1:7080`",
        ),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Finding::wrong(
            CHECK,
            format!("{address} may not be used by this user"),
            "ports below 1024 are root's: `sudo baton serve`, or `sudo baton install`",
        ),
        Err(error) => Finding::wrong(
            CHECK,
            format!("{address}: {error}"),
            "name an address of this machine with --http and --https",
        ),
    }
}

/// `nginx (process 812)`: who listens on the port, as far as this user may see.
fn holder(proc: &Path, port: u16) -> Option<String> {
    let inodes: Vec<String> = ["net/tcp", "net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let processes = std::fs::read_dir(proc).ok()?.flatten();
    let numbered = processes.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
    });
    numbered.map(|entry| entry.path()).find_map(|process| {
        let mut files = std::fs::read_dir(process.join("fd")).ok()?.flatten();
        let has_it = files.any(|file| {
            std::fs::read_link(file.path())
                .is_ok_and(|target| inodes.iter().any(|inode| Path::new(inode) == target))
        });
        if !has_it {
            return None;
        }
        let name = std::fs::read_to_string(process.join("comm")).ok()?;
        let id = process.file_name()?.to_string_lossy().into_owned();
        Some(format!("{} (process {id})", name.trim()))
    })
}

/// Inodes of the sockets that listen on the port, from a table of `/proc/net/tcp` (proc_net(5)):
/// `sl local_address rem_address st … inode`.
fn listening(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = fields.get(1)?.rsplit_once(':')?;
        let listens = *fields.get(3)? == LISTEN && u16::from_str_radix(hex, 16) == Ok(port);
        listens.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_told_from_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n   \
             1: 0100007F:0050 0100007F:D2F0 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1\n   \
             2: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0\n";
        assert_eq!(listening(table, 80), [4711]);
        assert_eq!(listening(table, 443), [4713]);
        assert!(listening(table, 81).is_empty());
    }

    #[test]
    fn who_has_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let holder = holder(Path::new("/proc"), address.port()).unwrap();
        assert!(
            holder.ends_with(&format!("(process {})", std::process::id())),
            "{holder}"
        );
        let finding = free(address);
        assert_eq!(finding.state, super::super::State::Wrong);
        assert!(finding.text.contains("is taken by"), "{finding:?}");
    }
}
