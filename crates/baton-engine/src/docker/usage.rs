//! What an instance uses now: from its cgroup, else from the engine's statistics.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::StatsOptionsBuilder;
use futures_util::StreamExt;

use crate::docker::client::{call, failed};
use crate::docker::{Inner, gone, inspect};
use crate::{EngineError, InstanceId, Usage};

const CGROUPS: &str = "/sys/fs/cgroup";

/// See [`crate::Engine::usage`].
pub(super) async fn usage(inner: &Arc<Inner>, id: &InstanceId) -> Result<Usage, EngineError> {
    let container = inner.existing("measuring", id).await?;
    let client = inner.client().await?;
    let limit = container
        .host_config
        .as_ref()
        .and_then(|config| config.memory)
        .and_then(|bytes| u64::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0);
    // Not running: no process.
    let from_kernel = inspect::kernel_pid(&container)
        .filter(|_| client.local)
        .and_then(|pid| from_cgroup(Path::new(CGROUPS), &cgroups_of(pid)?));
    let mut usage = match from_kernel {
        Some(usage) => usage,
        None => from_engine(inner, id).await?,
    };
    usage.memory_limit_bytes = limit;
    Ok(usage)
}

fn cgroups_of(pid: i64) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()
}

/// `table` is `/proc/<pid>/cgroup`: `0::/path` for version 2, `5:memory:/path` for version 1.
fn from_cgroup(root: &Path, table: &str) -> Option<Usage> {
    version_1(root, table).or_else(|| version_2(root, table))
}

fn folder(root: &Path, table: &str, controller: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| root.join(controllers).join(path.trim_start_matches('/')))
    })
}

fn version_1(root: &Path, table: &str) -> Option<Usage> {
    let memory = folder(root, table, "memory")?;
    let cpu = folder(root, table, "cpuacct").and_then(|path| number(&path.join("cpuacct.usage")));
    let stat = std::fs::read_to_string(memory.join("memory.stat")).ok()?;
    let used = number(&memory.join("memory.usage_in_bytes"))?;
    let files = field(&stat, "total_inactive_file")? + field(&stat, "total_active_file")?;
    Some(Usage {
        memory_bytes: used.saturating_sub(files),
        memory_peak_bytes: number(&memory.join("memory.max_usage_in_bytes")),
        memory_limit_bytes: None,
        cpu: Duration::from_nanos(cpu.unwrap_or(0)),
    })
}

fn version_2(root: &Path, table: &str) -> Option<Usage> {
    let group = folder(root, table, "")?;
    let stat = std::fs::read_to_string(group.join("memory.stat")).ok()?;
    let used = number(&group.join("memory.current"))?;
    let files = field(&stat, "inactive_file")? + field(&stat, "active_file")?;
    let cpu = std::fs::read_to_string(group.join("cpu.stat")).ok();
    let micros = cpu.and_then(|stat| field(&stat, "usage_usec")).unwrap_or(0);
    Some(Usage {
        memory_bytes: used.saturating_sub(files),
        // Since Linux 5.19.
        memory_peak_bytes: number(&group.join("memory.peak")),
        memory_limit_bytes: None,
        cpu: Duration::from_micros(micros),
    })
}

fn number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn field(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    })
}

async fn from_engine(inner: &Arc<Inner>, id: &InstanceId) -> Result<Usage, EngineError> {
    let client = inner.client().await?;
    let options = StatsOptionsBuilder::default()
        .stream(false)
        .one_shot(true)
        .build();
    let stats = async {
        let mut stream = Box::pin(client.docker.stats(&id.0, Some(options)));
        stream.next().await.transpose()
    };
    let stats = call(stats)
        .await
        .map_err(failed(format!("measuring {id}")))?;
    stats
        .map(|stats| from_stats(&stats))
        .ok_or_else(|| gone("measuring", id))
}

fn from_stats(stats: &ContainerStatsResponse) -> Usage {
    let memory = stats.memory_stats.as_ref();
    let details = memory.and_then(|memory| memory.stats.as_ref());
    let detail = |name: &str| details.and_then(|details| details.get(name).copied());
    let files = detail("total_inactive_file")
        .or(detail("inactive_file"))
        .unwrap_or(0)
        + detail("total_active_file")
            .or(detail("active_file"))
            .unwrap_or(0);
    let cpu = stats
        .cpu_stats
        .as_ref()
        .and_then(|cpu| cpu.cpu_usage.as_ref());
    Usage {
        memory_bytes: memory
            .and_then(|memory| memory.usage)
            .unwrap_or(0)
            .saturating_sub(files),
        memory_peak_bytes: memory.and_then(|memory| memory.max_usage),
        memory_limit_bytes: None,
        cpu: Duration::from_nanos(cpu.and_then(|cpu| cpu.total_usage).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(folder).expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("a file");
        }
    }

    #[test]
    fn version_1_without_the_cache_that_can_be_dropped() {
        let root = tempfile::tempdir().expect("a folder");
        write(
            &root.path().join("memory/docker/abc"),
            &[
                (
                    "memory.stat",
                    "cache 9\ntotal_inactive_file 300\ntotal_active_file 100\n",
                ),
                ("memory.usage_in_bytes", "1000\n"),
                ("memory.max_usage_in_bytes", "2000\n"),
            ],
        );
        write(
            &root.path().join("cpu,cpuacct/docker/abc"),
            &[("cpuacct.usage", "1500000\n")],
        );
        let table = "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/docker/abc\n";
        let usage = from_cgroup(root.path(), table).expect("usage");
        assert_eq!(usage.memory_bytes, 600);
        assert_eq!(usage.memory_peak_bytes, Some(2000));
        assert_eq!(usage.cpu, Duration::from_micros(1500));
    }

    #[test]
    fn version_2_without_the_cache_that_can_be_dropped() {
        let root = tempfile::tempdir().expect("a folder");
        write(
            &root.path().join("system.slice/docker-abc.scope"),
            &[
                (
                    "memory.stat",
                    "anon 5\ninactive_file 300\nactive_file 100\n",
                ),
                ("memory.current", "1000\n"),
                ("cpu.stat", "usage_usec 7\nuser_usec 3\n"),
            ],
        );
        let usage = from_cgroup(root.path(), "0::/system.slice/docker-abc.scope\n").expect("usage");
        assert_eq!(usage.memory_bytes, 600);
        assert_eq!(usage.memory_peak_bytes, None);
        assert_eq!(usage.cpu, Duration::from_micros(7));
    }
}
