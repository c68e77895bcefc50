//! The connection to the Docker Engine: where it is, what it speaks, what can be reached.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};

use crate::EngineError;

/// No call of the API may hang for ever: a hung engine must look like a lost one.
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The first question is a small one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Oldest API that Baton speaks: Engine 20.10.
const OLDEST_API: (usize, usize) = (1, 41);

/// An engine that has answered.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) docker: Docker,
    /// The engine runs on this machine: its `/proc` and `/sys` are ours.
    pub(super) local: bool,
    /// Container addresses are reached from here. False for rootless and remote engines and for
    /// those in a virtual machine: there the port is published on 127.0.0.1.
    pub(super) routable: bool,
    pub(super) live_restore: bool,
    pub(super) cgroups: CgroupDriver,
    /// The engine's clock when it was asked, nanoseconds since the epoch, for `events --since`.
    pub(super) time: Option<i64>,
}

/// Who makes the cgroups of containers, and so how a parent of theirs is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CgroupDriver {
    /// By path, in the kernel's tree itself.
    Cgroupfs,
    /// By the name of a slice.
    Systemd,
    /// Nobody (rootless on cgroup version 1), or one that is not known here.
    None,
}

/// The host that the user's `docker` would use: `DOCKER_HOST`, else the system's socket, else the
/// rootless one of this user.
pub(super) fn default_host() -> String {
    const SYSTEM: &str = "/var/run/docker.sock";
    if let Ok(host) = std::env::var("DOCKER_HOST")
        && !host.is_empty()
    {
        return host;
    }
    if let Ok(folder) = std::env::var("XDG_RUNTIME_DIR") {
        let rootless = format!("{folder}/docker.sock");
        if !Path::new(SYSTEM).exists() && Path::new(&rootless).exists() {
            return format!("unix://{rootless}");
        }
    }
    format!("unix://{SYSTEM}")
}

/// Connects and asks what the engine is.
pub(super) async fn connect(host: &str) -> Result<Client, EngineError> {
    let docker = Docker::connect_with_host(host)
        .map_err(|error| unreachable(host, &error))?
        .with_timeout(CALL_TIMEOUT);
    let asking = async {
        let docker = docker.negotiate_version().await?;
        let info = docker.info().await?;
        Ok::<_, Error>((docker, info))
    };
    let (docker, info) = match tokio::time::timeout(CONNECT_TIMEOUT, asking).await {
        Ok(answer) => answer.map_err(|error| unreachable(host, &error))?,
        Err(_) => return Err(unreachable(host, &Error::RequestTimeoutError)),
    };
    let version = docker.client_version();
    if (version.major_version, version.minor_version) < OLDEST_API {
        return Err(EngineError::Missing {
            what: "Docker Engine 20.10 or newer",
            reason: format!(
                "{host} is version {} and speaks API {version}",
                info.server_version.as_deref().unwrap_or("unknown"),
            ),
            next: "upgrade the Docker Engine".to_owned(),
        });
    }
    Ok(describe(host, docker, &info))
}

fn describe(host: &str, docker: Docker, info: &SystemInfo) -> Client {
    let unix = host.starts_with("unix://");
    let options = info.security_options.as_deref().unwrap_or_default();
    let rootless = options.iter().any(|option| option.contains("rootless"));
    // Docker Desktop and friends: the socket is here, the containers are in a virtual machine.
    let virtual_machine = info.kernel_version.is_some()
        && info.kernel_version.as_deref() != kernel_release().as_deref();
    Client {
        docker,
        local: unix && !virtual_machine,
        routable: unix && !virtual_machine && !rootless,
        cgroups: match info.cgroup_driver {
            Some(SystemInfoCgroupDriverEnum::CGROUPFS) => CgroupDriver::Cgroupfs,
            Some(SystemInfoCgroupDriverEnum::SYSTEMD) => CgroupDriver::Systemd,
            _ => CgroupDriver::None,
        },
        live_restore: info.live_restore_enabled.unwrap_or(false),
        time: info.system_time.as_deref().and_then(epoch_nanos),
    }
}

fn kernel_release() -> Option<String> {
    rustix::system::uname()
        .release()
        .to_str()
        .ok()
        .map(str::to_owned)
}

fn epoch_nanos(rfc3339: &str) -> Option<i64> {
    let format = &time::format_description::well_known::Rfc3339;
    let time = time::OffsetDateTime::parse(rfc3339, format).ok()?;
    i64::try_from(time.unix_timestamp_nanos()).ok()
}

fn unreachable(host: &str, error: &Error) -> EngineError {
    let next = match error {
        Error::SocketNotFoundError(_) => {
            "is Docker installed and started (`systemctl start docker`)? another place is named by DOCKER_HOST"
        }
        Error::UnsupportedURISchemeError { .. } => {
            "Baton speaks to Docker over unix:// or tcp:// (without TLS); set DOCKER_HOST"
        }
        _ => {
            "see that Docker runs (`docker info`) and that this user may use its socket (group docker)"
        }
    };
    EngineError::Unreachable {
        engine: "the Docker Engine",
        reason: format!("{host}: {}", reason(error)),
        next: next.to_owned(),
    }
}

/// The engine's own words, without the wrapping of the client.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::RequestTimeoutError => "no answer in time".to_owned(),
        other => {
            // hyper says only "client error (Connect)"; the cause is further down.
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// HTTP status of an answer, if it was one.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

pub(super) fn is_gone(error: &Error) -> bool {
    status(error) == Some(404)
}

/// Awaits an API call for at most `limit`: the client's own timeout ends with the response head.
pub(super) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Error::RequestTimeoutError),
    }
}

/// [`within`] the usual time.
pub(super) async fn call<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    within(CALL_TIMEOUT, call).await
}

/// Names what was being done.
pub(super) fn failed(action: impl Into<String>) -> impl FnOnce(Error) -> EngineError {
    let action = action.into();
    move |error| EngineError::Other {
        reason: reason(&error),
        action,
    }
}
