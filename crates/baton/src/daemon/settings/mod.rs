//! What the daemon is started with: flag, then environment, then file, then default.
//!
//! | module | does |
//! | --- | --- |
//! | [`typed`] | each setting, declared once; the file |
//! | [`check`] | what is typed → what it means |

mod check;
mod typed;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use baton_deploy::router::NginxSettings;
use ipnet::IpNet;

pub use self::typed::Typed;
use super::dashboard;
use crate::access_log;
use crate::acme::settings::AcmeSettings;
use crate::error::CliError;

/// Where root's daemon listens for commands.
const MACHINE_SOCKET: &str = "/run/baton/baton.sock";

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub http: Vec<SocketAddr>,
    pub https: Vec<SocketAddr>,
    pub data: PathBuf,
    pub socket: PathBuf,
    pub workers: usize,
    /// Directives of the log; None: the default.
    pub log: Option<String>,
    pub trusted_proxies: Vec<IpNet>,
    /// None: no certificates are got.
    pub acme: Option<AcmeSettings>,
    /// Where Prometheus is answered. None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// None: no access log.
    pub access_log: Option<access_log::Wanted>,
    pub dashboard: dashboard::Settings,
    pub router: RouterChoice,
}

/// What carries traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouterChoice {
    Embedded,
    /// Baton listens nowhere.
    Nginx(NginxSettings),
}

/// What the defaults depend on.
#[derive(Debug, Clone)]
pub struct Machine {
    pub root: bool,
    pub ipv6: bool,
    pub cores: usize,
    /// `$XDG_DATA_HOME`, else `$HOME/.local/share`.
    pub data_home: Option<PathBuf>,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: Option<PathBuf>,
}

impl Machine {
    /// The one this process runs on.
    #[must_use]
    pub fn this() -> Machine {
        let folder = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Machine {
            root: rustix::process::geteuid().is_root(),
            ipv6: std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|list| !list.is_empty()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            data_home: folder("XDG_DATA_HOME")
                .or_else(|| folder("HOME").map(|home| home.join(".local/share"))),
            runtime: folder("XDG_RUNTIME_DIR"),
        }
    }

    fn data(&self) -> Option<PathBuf> {
        if self.root {
            return Some("/var/lib/baton".into());
        }
        self.data_home.as_ref().map(|home| home.join("baton"))
    }

    fn socket(&self) -> Option<PathBuf> {
        if self.root {
            return Some(MACHINE_SOCKET.into());
        }
        match &self.runtime {
            Some(runtime) => Some(runtime.join("baton.sock")),
            None => self.data().map(|data| data.join("baton.sock")),
        }
    }

    /// Every address of the machine; IPv4 comes in through the IPv6 socket where there is IPv6.
    fn any(&self, port: u16) -> SocketAddr {
        let ip = if self.ipv6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        SocketAddr::new(ip, port)
    }
}

/// Where a command looks for the daemon: the user's own, else the machine's.
#[must_use]
pub fn default_socket() -> PathBuf {
    let own = Machine::this().socket();
    let machine = PathBuf::from(MACHINE_SOCKET);
    match own {
        Some(own) if own.exists() || !machine.exists() => own,
        _ => machine,
    }
}

/// Flags and environment before the file, the file before the defaults.
///
/// # Errors
/// The file cannot be read, has an unknown key, or a value cannot be used.
pub fn resolve(
    typed: Typed,
    config: Option<&Path>,
    machine: &Machine,
) -> Result<Settings, CliError> {
    let file = typed::read(config)?;
    check::check(typed.or(file), machine)
}
