//! A deploy that does not fit the disk is refused with the numbers, before anything is started.

use std::path::PathBuf;
use std::process::Command;

use crate::kit::{App, Engine, Machine};

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf, options: &str) -> SmallDisk {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting a small file system needs root");
        SmallDisk(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon that is being killed may still hold its database.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn disk_without_room_is_refused_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path().join("data"), "size=2g");
    let machine = Machine::start_in(&disk.0);
    let mut app = App::new(Engine::Process, "disk");
    machine.deploy(&app, &[]);
    let remounted = Command::new("mount")
        .args(["-o", "remount,size=24m"])
        .arg(&disk.0)
        .status()
        .unwrap();
    assert!(remounted.success());
    app.version("v2");
    let ran = machine.baton(&app, &["deploy", "--json"]);
    assert_eq!(ran.code, 6, "{ran}");
    let message = ran.message();
    assert!(
        message.contains("MiB") && message.contains("disk"),
        "{message}"
    );
    assert_eq!(machine.answering_release(&app), "r1");
    drop(machine);
    drop(disk);
}
