//! Which server it is, read from `INFO` and `COMMAND INFO`: what differs between Redis 5, 6.0 and
//! later, and Valkey.

use std::fmt;

use super::id::EntryId;

/// What Baton needs to know of a server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// `redis`, `valkey`, …
    pub flavor: String,
    /// `7.0.15`; empty where `INFO` is not allowed.
    pub version: String,
    /// `XRANGE key (id +` is known: Redis 6.2 and later, and every Valkey.
    pub exclusive_ranges: bool,
    pub cluster: bool,
    /// Of this run of this server; empty where `INFO` is not allowed.
    run_id: String,
}

impl Server {
    /// Reads the answer of `INFO`. `xautoclaim`: what `COMMAND INFO xautoclaim` says, which came with
    /// the same release as exclusive ranges; the witness where there is no version to read.
    #[must_use]
    pub fn of(info: &str, xautoclaim: Option<bool>) -> Server {
        let field = |name: &str| {
            info.lines()
                .filter_map(|line| line.trim_end().split_once(':'))
                .find_map(|(key, value)| (key == name).then(|| value.to_owned()))
        };
        let valkey = field("valkey_version");
        let flavor = match (&valkey, field("server_name")) {
            (Some(_), _) => "valkey".to_owned(),
            (None, Some(name)) if !name.is_empty() => name,
            _ => "redis".to_owned(),
        };
        let is_valkey = valkey.is_some();
        let version = valkey
            .or_else(|| field("redis_version"))
            .unwrap_or_default();
        let exclusive_ranges = match xautoclaim {
            Some(known) => known,
            None => is_valkey || numbers(&version) >= (6, 2),
        };
        Server {
            flavor,
            version,
            exclusive_ranges,
            cluster: field("redis_mode").as_deref() == Some("cluster")
                || field("cluster_enabled").as_deref() == Some("1"),
            run_id: field("run_id").unwrap_or_default(),
        }
    }

    /// The same run of the same server, by whatever name it was reached.
    pub(super) fn is(&self, other: &Server) -> bool {
        !self.run_id.is_empty() && self.run_id == other.run_id
    }

    /// The start of an XRANGE behind `id`; None where no id can be behind it.
    #[must_use]
    pub fn behind(&self, id: EntryId) -> Option<String> {
        let next = id.next()?;
        Some(if self.exclusive_ranges {
            format!("({id}")
        } else {
            next.to_string()
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version.as_str() {
            "" => f.write_str(&self.flavor),
            version => write!(f, "{} {version}", self.flavor),
        }
    }
}

/// `6.0.16` → (6, 0); what cannot be read is old.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first lines of `INFO` as those servers answer.
    const REDIS_5: &str = "# Server\r\nredis_version:5.0.14\r\nredis_git_sha1:00000000\r\nredis_mode:standalone\r\nos:Linux 5.10.0 x86_64\r\narch_bits:64\r\n# Cluster\r\ncluster_enabled:0\r\n";
    const REDIS_6_0: &str =
        "# Server\r\nredis_version:6.0.16\r\nredis_mode:standalone\r\nos:Linux\r\n";
    const REDIS_6_2: &str = "# Server\r\nredis_version:6.2.14\r\nredis_mode:cluster\r\nos:Linux\r\n# Cluster\r\ncluster_enabled:1\r\n";
    const REDIS_7: &str = "# Server\r\nredis_version:7.0.15\r\nredis_git_sha1:00000000\r\nredis_mode:standalone\r\nmonotonic_clock:POSIX clock_gettime\r\n";
    const VALKEY_8: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\nvalkey_release_stage:ga\r\nredis_mode:standalone\r\nserver_mode:standalone\r\n";

    #[test]
    fn servers_by_their_info() {
        for (info, shown, exclusive, cluster) in [
            (REDIS_5, "redis 5.0.14", false, false),
            (REDIS_6_0, "redis 6.0.16", false, false),
            (REDIS_6_2, "redis 6.2.14", true, true),
            (REDIS_7, "redis 7.0.15", true, false),
            (VALKEY_8, "valkey 8.0.1", true, false),
            // Not allowed to ask.
            ("", "redis", false, false),
        ] {
            let server = Server::of(info, None);
            assert_eq!(server.to_string(), shown);
            assert_eq!(server.exclusive_ranges, exclusive, "{shown}");
            assert_eq!(server.cluster, cluster, "{shown}");
        }
    }

    #[test]
    fn command_info_decides_where_it_answers() {
        assert!(Server::of("", Some(true)).exclusive_ranges);
        // A fork that calls itself 7 and lacks the command.
        assert!(!Server::of(REDIS_7, Some(false)).exclusive_ranges);
    }

    #[test]
    fn behind_an_id() {
        let new = Server::of(REDIS_7, None);
        let old = Server::of(REDIS_6_0, None);
        let id = EntryId {
            ms: 7,
            seq: u64::MAX,
        };
        assert_eq!(new.behind(id).expect("one"), "(7-18446744073709551615");
        assert_eq!(old.behind(id).expect("one"), "8-0");
        let last = EntryId {
            ms: u64::MAX,
            seq: u64::MAX,
        };
        assert_eq!(new.behind(last), None);
        assert_eq!(old.behind(last), None);
    }
}
