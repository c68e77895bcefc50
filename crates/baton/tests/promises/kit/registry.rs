//! A real registry, `docker-registry`, on loopback and with a login. The engine speaks plain HTTP to it,
//! because of its address.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;

use super::app::docker;
use super::machine::{PATIENCE, free_port};
use super::wait_for;

pub(crate) const USER: &str = "alice";
pub(crate) const PASSWORD: &str = "b4ton-registry-passw0rd";

pub(crate) struct Registry {
    folder: TempDir,
    child: Child,
    address: SocketAddr,
}

impl Registry {
    pub(crate) fn start() -> Registry {
        let folder = TempDir::with_prefix("baton-registry-").unwrap();
        let address = free_port();
        let users = folder.path().join("users");
        let hashed = bcrypt::hash(PASSWORD, 4).unwrap();
        std::fs::write(&users, format!("{USER}:{hashed}\n")).unwrap();
        // YAML takes JSON.
        let config = json!({
            "version": 0.1,
            "storage": { "filesystem": { "rootdirectory": folder.path().join("images") } },
            "http": { "addr": address.to_string() },
            "auth": { "htpasswd": { "realm": "test", "path": users } },
        });
        let path = folder.path().join("config.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry, the Debian package; scripts/test installs it");
        wait_for("the registry to listen", PATIENCE, || {
            TcpStream::connect(address).ok()
        });
        Registry {
            folder,
            child,
            address,
        }
    }

    /// Base64 of user and password, as it crosses the network and as Docker keeps it.
    pub(crate) fn login() -> String {
        STANDARD.encode(format!("{USER}:{PASSWORD}"))
    }

    /// As `docker login` names it.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its name of the image `name`.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// Builds an image that nothing else has, pushes it, and forgets it here.
    pub(crate) fn hold(&self, name: &str, from: &str) -> String {
        let reference = self.reference(name);
        let build = self.folder.path().join("build");
        std::fs::create_dir_all(&build).unwrap();
        let text = format!("FROM {from}\nLABEL name={reference}\n");
        std::fs::write(build.join("Dockerfile"), text).unwrap();
        let auths = json!({ "auths": { self.address.to_string(): { "auth": Self::login() } } });
        std::fs::write(build.join("config.json"), auths.to_string()).unwrap();
        let folder = build.to_str().unwrap();
        for arguments in [
            &["build", "--quiet", "--tag", &reference, folder][..],
            &["--config", folder, "push", "--quiet", &reference],
        ] {
            let ran = Command::new("docker")
                .env("DOCKER_BUILDKIT", "0")
                .args(arguments)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert!(ran.status.success(), "docker {arguments:?}: {said}");
        }
        docker(&["rmi", &reference]);
        reference
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
