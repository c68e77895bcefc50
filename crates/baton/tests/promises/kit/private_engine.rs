//! A Docker Engine of the test's own, which may be restarted without harm to others.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::wait_for;

pub(crate) struct PrivateEngine {
    folder: TempDir,
    bridge: String,
    daemon: Option<Child>,
}

impl PrivateEngine {
    /// `live_restore`: containers run on while the engine is away.
    pub(crate) fn start(live_restore: bool) -> PrivateEngine {
        let folder = tempfile::Builder::new()
            .prefix("baton-engine-")
            .tempdir()
            .unwrap();
        // Two of one process have a bridge and a subnet each.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = (std::process::id() * 2 + number) % 200;
        let bridge = format!("btn{}x{number}", std::process::id());
        let address = Ipv4Addr::new(10, 213, id as u8 + 1, 1);
        run("ip", &["link", "add", "name", &bridge, "type", "bridge"]);
        run(
            "ip",
            &["addr", "add", &format!("{address}/24"), "dev", &bridge],
        );
        run("ip", &["link", "set", &bridge, "up"]);
        // Its own rules would replace those of the engine that is there; this machine reaches its
        // containers without any.
        let config = format!(
            "{{\"storage-driver\": \"vfs\", \"iptables\": false, \"live-restore\": {live_restore}}}"
        );
        std::fs::write(folder.path().join("daemon.json"), config).unwrap();
        let mut engine = PrivateEngine {
            folder,
            bridge,
            daemon: None,
        };
        engine.up();
        engine
    }

    pub(crate) fn up(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path("log"))
            .unwrap();
        let daemon = Command::new("dockerd")
            .arg("--config-file")
            .arg(path("daemon.json"))
            .arg("--data-root")
            .arg(path("root"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .args(["--bridge", &self.bridge, "-H", &self.host()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("dockerd is installed and this is root");
        self.daemon = Some(daemon);
        wait_for("the private Docker Engine", Duration::from_secs(60), || {
            Command::new("docker")
                .args(["-H", &self.host(), "version"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
                .then_some(())
        });
    }

    /// As `systemctl stop docker`: SIGTERM, then wait.
    pub(crate) fn down(&mut self) {
        let mut daemon = self.daemon.take().expect("the engine runs");
        run("kill", &["-TERM", &daemon.id().to_string()]);
        daemon.wait().unwrap();
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    /// Copies an image from the machine's own engine.
    pub(crate) fn load(&self, image: &str) {
        let copy = format!("docker save {image} | docker -H {} load", self.host());
        run("sh", &["-c", &copy]);
    }
}

impl Drop for PrivateEngine {
    fn drop(&mut self) {
        let host = self.host();
        if self.daemon.is_some() {
            let all = format!("docker -H {host} rm -fv $(docker -H {host} ps -aq)");
            let _ = Command::new("sh")
                .args(["-c", &all])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let networks = format!("docker -H {host} network prune -f");
            let _ = Command::new("sh")
                .args(["-c", &networks])
                .stdout(Stdio::null())
                .status();
            self.down();
        }
        let _ = Command::new("ip")
            .args(["link", "del", &self.bridge])
            .status();
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
