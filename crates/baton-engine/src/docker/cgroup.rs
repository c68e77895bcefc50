//! The cgroup that holds the containers of a slot, and how much of the CPU it gets.
//!
//! One parent a slot, directly below the root of the kernel's tree: at low weight it gets CPU only when
//! nobody else on the machine wants it. The containers' own weights are never changed: a JVM sizes its
//! pools from them for ever (DESIGN.md §5, step 3). A parent cannot be changed once a container is
//! made, so every container of a slot has it, shielded or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Slot;
use crate::docker::client::CgroupDriver;

const ROOT: &str = "/sys/fs/cgroup";

/// How `cgroup_parent` names the slot's cgroup; None where containers have no cgroups.
pub(super) fn parent_name(slot: &Slot, driver: CgroupDriver) -> Option<String> {
    match driver {
        // From the root: a relative one would begin at the engine's own.
        CgroupDriver::Cgroupfs => Some(format!("/baton-{slot}")),
        // A dash in the name of a slice stands for one slice in another; a dot is in no app's name.
        CgroupDriver::Systemd => {
            let app = slot.app.as_str().replace('-', ".");
            Some(format!("baton_{app}_{}.slice", slot.color))
        }
        CgroupDriver::None => None,
    }
}

/// A cgroup that has a CPU weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parent {
    folder: PathBuf,
    weights: Weights,
}

/// File, usual value, low value: a hundredth in both versions.
type Weights = (&'static str, u32, u32);
const VERSION_1: Weights = ("cpu.shares", 1024, 10);
const VERSION_2: Weights = ("cpu.weight", 100, 1);

impl Parent {
    /// The one that really holds container `id`, by the kernel's table of its main process
    /// (`/proc/<pid>/cgroup`): the engine may itself be in a cgroup. None when it is not named
    /// `name`, and so not the slot's.
    pub(super) fn holding(id: &str, table: &str, name: &str) -> Option<Parent> {
        let (mount, path, weights) = cpu_line(table)?;
        // With systemd the container's own is `docker-<id>.scope`.
        let own = path.split('/').find(|part| part.contains(id))?;
        let parent = path.split(own).next()?.trim_matches('/');
        let is_named = Path::new(parent).file_name()? == name.trim_start_matches('/');
        is_named.then(|| Parent {
            folder: mount.join(parent),
            weights,
        })
    }

    /// Where it will be once a container of the slot runs, if the engine sees the same tree.
    pub(super) fn expected(name: &str) -> Option<Parent> {
        let table = fs::read_to_string("/proc/self/cgroup").ok()?;
        let (mount, _, weights) = cpu_line(&table)?;
        Some(Parent {
            folder: mount.join(name.trim_start_matches('/')),
            weights,
        })
    }

    /// Makes it, so that its first process is born under its weight.
    pub(super) fn make(&self) -> io::Result<()> {
        match fs::create_dir(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.folder.is_dir()
    }

    /// Written to the file also where systemd made the slice: should it write its own value again at a
    /// reload, that is the usual one, and nothing but a shield is lost.
    pub(super) fn set(&self, low: bool) -> io::Result<()> {
        let (file, usual, lowest) = self.weights;
        let file = self.folder.join(file);
        let wanted = if low { lowest } else { usual }.to_string();
        if fs::read_to_string(&file)?.trim() == wanted {
            return Ok(());
        }
        fs::write(file, wanted)
    }
}

/// Mount, path below it and weights of the line that rules the CPU: `2:cpu,cpuacct:/path` in version 1,
/// else `0::/path` of version 2.
fn cpu_line(table: &str) -> Option<(PathBuf, &str, Weights)> {
    let lines = || {
        table.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        })
    };
    let version_1 = lines().find(|(names, _)| names.split(',').any(|name| name == "cpu"));
    if let Some((names, path)) = version_1 {
        return Some((Path::new(ROOT).join(names), path, VERSION_1));
    }
    let (_, path) = lines().find(|(names, _)| names.is_empty())?;
    Some((PathBuf::from(ROOT), path, VERSION_2))
}

/// Takes the slot's cgroup away, in every hierarchy: the engine leaves it behind empty. One that holds
/// something is busy and stays. systemd takes its slices away itself.
pub(super) fn remove(name: &str) {
    let name = name.trim_start_matches('/');
    let hierarchies = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let folders = hierarchies.map(|entry| entry.path().join(name));
    for folder in folders.chain([Path::new(ROOT).join(name)]) {
        if let Err(error) = fs::remove_dir(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::debug!(folder = %folder.display(), %error, "a cgroup stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_compose::Color;

    fn slot(app: &str) -> Slot {
        Slot {
            app: app.parse().expect("a name"),
            color: Color::Green,
        }
    }

    #[test]
    fn each_driver_names_the_parent_its_own_way() {
        let shop = slot("my-shop");
        let name = |driver| parent_name(&shop, driver);
        assert_eq!(
            name(CgroupDriver::Cgroupfs).as_deref(),
            Some("/baton-my-shop-green")
        );
        assert_eq!(
            name(CgroupDriver::Systemd).as_deref(),
            Some("baton_my.shop_green.slice")
        );
        assert_ne!(
            name(CgroupDriver::Systemd),
            parent_name(&slot("my_shop"), CgroupDriver::Systemd)
        );
        assert_eq!(name(CgroupDriver::None), None);
    }

    #[test]
    fn the_parent_is_found_wherever_the_engine_put_it() {
        let id = "0a".repeat(32);
        let folder = |table: &str, name: &str| {
            Parent::holding(&id, table, name)
                .map(|parent| (parent.folder.display().to_string(), parent.weights.0))
        };
        let nested = format!("4:memory:/x\n2:cpu,cpuacct:/outer/baton-shop-green/{id}\n0::/\n");
        assert_eq!(
            folder(&nested, "/baton-shop-green"),
            Some((
                "/sys/fs/cgroup/cpu,cpuacct/outer/baton-shop-green".to_owned(),
                "cpu.shares"
            ))
        );
        let scope = format!("0::/baton_shop_green.slice/docker-{id}.scope/inner\n");
        assert_eq!(
            folder(&scope, "baton_shop_green.slice"),
            Some((
                "/sys/fs/cgroup/baton_shop_green.slice".to_owned(),
                "cpu.weight"
            ))
        );
        // The file names one of its own, which others may share.
        assert_eq!(
            folder(&format!("0::/mine/{id}\n"), "/baton-shop-green"),
            None
        );
        assert_eq!(folder("0::/\n", "/baton-shop-green"), None);
    }
}
