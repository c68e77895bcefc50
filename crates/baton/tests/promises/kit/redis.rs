//! A Redis of the test's own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::machine::{PATIENCE, free_port};
use super::wait_for;

/// Ends with the test, and its data with it.
pub(crate) struct Redis {
    port: u16,
    server: Option<Child>,
    folder: TempDir,
}

impl Redis {
    /// On a free port of loopback; every write goes to disk, so that a restart finds it.
    pub(crate) fn start() -> Redis {
        let mut redis = Redis {
            port: free_port().port(),
            server: None,
            folder: tempfile::tempdir().unwrap(),
        };
        redis.up();
        redis
    }

    pub(crate) fn up(&mut self) {
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--save",
                "",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.server = Some(server);
        wait_for("Redis to answer", PATIENCE, || {
            (self.ask(&["PING"]) == "PONG").then_some(())
        });
    }

    /// kill -9.
    pub(crate) fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints; empty when there is no answer.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(command)
            .stderr(Stdio::null())
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.down();
    }
}

/// An image of this machine's Redis, its libraries beside it: nothing is pulled where the tests run.
pub(crate) fn image() -> String {
    const SERVER: &str = "/usr/bin/redis-server";
    let folder = tempfile::tempdir().unwrap();
    let libraries = output("ldd", &[SERVER]);
    let libraries = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in [SERVER].into_iter().chain(libraries) {
        let into = folder.path().join(file.trim_start_matches('/'));
        std::fs::create_dir_all(into.parent().unwrap()).unwrap();
        // What a link leads to, under the name that it has here.
        std::fs::copy(file, into).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    let tar = folder.path().with_extension("tar");
    let (from, to) = (path(folder.path()), path(&tar));
    output(
        "tar",
        &["--create", "--file", &to, "--directory", &from, "."],
    );
    let start = r#"CMD ["/usr/bin/redis-server", "--protected-mode", "no", "--save", ""]"#;
    let image = output("docker", &["import", "--change", start, &to]);
    std::fs::remove_file(tar).unwrap();
    image
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
