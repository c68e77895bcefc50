//! A real ACME server, pebble, with DNS of its own in which every name is 127.0.0.1, and a door before
//! it that can be shut.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::machine::{Machine, PATIENCE, free_port};
use super::tls::certificate;
use super::wait_for;

/// What the authority sees of the machine that it validates.
pub(crate) struct View {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// Seconds that its certificates live.
    pub(crate) validity: u64,
}

pub(crate) struct Pebble {
    folder: TempDir,
    children: Vec<Child>,
    door: SocketAddr,
    shut: Arc<AtomicBool>,
    dns: SocketAddr,
    /// PEM of who signs what it issues.
    pub(crate) root: String,
}

impl Pebble {
    pub(crate) fn start(view: &View) -> Pebble {
        let folder = TempDir::with_prefix("baton-pebble-").unwrap();
        let server = certificate(folder.path(), "127.0.0.1");
        std::fs::write(folder.path().join("ca.pem"), &server.authority).unwrap();
        let [acme, management, names, dns] = [(); 4].map(|()| free_port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": acme.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": server.cert,
            "privateKey": server.key,
            "httpPort": view.http.port(),
            "tlsPort": view.https.port(),
            "certificateValidityPeriod": view.validity,
        }});
        let path = folder.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let log = std::fs::File::create(folder.path().join("pebble.log")).unwrap();
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver.args([
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv6",
            "",
        ]);
        resolver.args([
            "-dns01",
            &names.to_string(),
            "-management",
            &dns.to_string(),
        ]);
        let mut server = Command::new("pebble");
        server.arg("-config").arg(&path);
        server.args(["-dnsserver", &names.to_string()]);
        // At once, and never by what it has seen before.
        server.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]);
        let children = [resolver, server].map(|mut command| {
            let command = command
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log.try_clone().unwrap());
            command
                .spawn()
                .expect("Debian's package pebble is installed")
        });
        let (door, shut) = (free_port(), Arc::<AtomicBool>::default());
        let mut pebble = Pebble {
            folder,
            children: children.into(),
            door,
            shut: Arc::clone(&shut),
            dns,
            root: String::new(),
        };
        pebble.root = wait_for("pebble to answer", PATIENCE, || {
            let url = format!("https://{management}/roots/0");
            let output = Command::new("curl").args(["-sfk", &url]).output().unwrap();
            let root = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.success() && root.contains("BEGIN CERTIFICATE")).then_some(root)
        });
        std::fs::write(pebble.root_path(), &pebble.root).unwrap();
        let listener = TcpListener::bind(door).unwrap();
        std::thread::spawn(move || stand_at(&listener, acme, &shut));
        pebble
    }

    /// A daemon that gets its certificates here.
    pub(crate) fn machine(&self, http: SocketAddr, https: SocketAddr) -> Machine {
        let directory = format!("https://{}/dir", self.door);
        let ca = self.folder.path().join("ca.pem");
        Machine::start_on(
            http,
            https,
            &[
                "--acme-email",
                "ops@example.com",
                "--acme-directory",
                &directory,
                "--acme-ca",
                ca.to_str().unwrap(),
            ],
        )
    }

    fn root_path(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Whoever asks it from now on is cut off.
    pub(crate) fn go_away(&self) {
        self.shut.store(true, Ordering::Release);
    }

    pub(crate) fn come_back(&self) {
        self.shut.store(false, Ordering::Release);
    }

    /// Its DNS says that the host is at `address`.
    pub(crate) fn resolve(&self, host: &str, address: &str) {
        for (call, body) in [
            ("clear-a", format!("{{\"host\":\"{host}.\"}}")),
            (
                "add-a",
                format!("{{\"host\":\"{host}.\",\"addresses\":[\"{address}\"]}}"),
            ),
        ] {
            let url = format!("http://{}/{call}", self.dns);
            let status = Command::new("curl")
                .args(["-sf", "-d", &body, &url])
                .status();
            assert!(status.unwrap().success(), "{url} {body}");
        }
    }

    /// A new connection: the status of GET / over TLS, checked as a browser would.
    pub(crate) fn get(&self, https: SocketAddr, host: &str) -> Result<u16, String> {
        let port = https.port();
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"])
            .arg(self.root_path())
            .args(["--resolve", &format!("{host}:{port}:127.0.0.1")])
            .arg(format!("https://{host}:{port}/"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        match text.parse() {
            Ok(status) if output.status.success() => Ok(status),
            _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Pebble {
    /// Does a handshake for this protocol alone end well? What the certificate is worth is not looked at.
    pub(crate) fn shakes_hands(&self, https: SocketAddr, host: &str, protocol: &str) -> bool {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &https.to_string()]);
        command.args(["-servername", host, "-alpn", protocol]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        text.contains("BEGIN CERTIFICATE")
    }
}

/// Passes connections on to pebble while the door is open.
fn stand_at(listener: &TcpListener, pebble: SocketAddr, shut: &AtomicBool) {
    for client in listener.incoming() {
        let Ok(client) = client else { return };
        if shut.load(Ordering::Acquire) {
            continue;
        }
        if let Ok(server) = TcpStream::connect(pebble) {
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(Path::new(self.folder.path()).join("pebble.log"));
            eprintln!("---- pebble's log ----\n{}", log.unwrap_or_default());
        }
    }
}
