//! `docs/first-deploy.md`, word for word: its files are written and its commands run in order, with a real
//! nginx, Docker and Redis. Names and ports that only one may have on a machine are exchanged, two times
//! that a person would wait for are shortened, and four
//! programs are stood in for by scripts: `sudo` (does nothing), `curl` (finds the host on loopback),
//! `nginx` (the one of this test) and `baton install` (the daemon runs already: this machine may have no
//! systemd).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testapp::load::{Load, Plan};

use crate::kit::app::{docker, image, remove_from_docker};
use crate::kit::machine::{PATIENCE, baton, free_port};
use crate::kit::{Machine, Ran, redis, wait_for};

const GUIDE: &str = include_str!("../../../../docs/first-deploy.md");
const KOREAN: &str = include_str!("../../../../docs/first-deploy.ko.md");

/// A fenced block: what stands behind the fence, and the lines.
struct Block {
    info: String,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for line in guide.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    blocks
}

#[test]
fn the_korean_guide_has_the_same_files_and_commands() {
    let told = |guide| {
        blocks(guide)
            .into_iter()
            .map(|b| (b.info, b.text))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(GUIDE), told(KOREAN));
}

/// The user's server.
struct Server {
    folder: tempfile::TempDir,
    machine: Machine,
    nginx: Option<Child>,
    app: String,
    nginx_address: std::net::SocketAddr,
    /// What the guide says, and what stands for it here.
    exchanged: Vec<(&'static str, String)>,
}

impl Server {
    fn new() -> Server {
        let machine = Machine::start();
        let folder = tempfile::Builder::new()
            .prefix("baton-walk-")
            .tempdir()
            .unwrap();
        let app = format!("walk-{}", std::process::id());
        let nginx_address = free_port();
        let exchanged = vec![
            ("name: shop", format!("name: {app}")),
            ("registry.example/shop/api", format!("baton-{app}")),
            ("redis:7", redis::image()),
            ("127.0.0.1:7080", machine.http.to_string()),
            ("127.0.0.1:8080", free_port().to_string()),
            ("listen 80;", format!("listen {nginx_address};")),
        ];
        let server = Server {
            folder,
            machine,
            nginx: None,
            app,
            nginx_address,
            exchanged,
        };
        server.build_images();
        server.write_scripts();
        server
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn here(&self, text: &str) -> String {
        let exchange = |text: String, (theirs, ours): &(&str, String)| text.replace(theirs, ours);
        self.exchanged.iter().fold(text.to_owned(), exchange)
    }

    /// Releases 1.0, 1.1 and 1.2 tell themselves apart; `broken` ends at once.
    fn build_images(&self) {
        for (tag, variable) in [
            ("1.0", "VERSION=one"),
            ("1.1", "VERSION=two"),
            ("1.2", "VERSION=three"),
            ("broken", "CRASH_AT_START=3"),
        ] {
            let file = format!("FROM {}\nENV {variable} PORT=8080\n", image());
            std::fs::write(self.at("Dockerfile"), file).unwrap();
            let name = format!("baton-{}:{tag}", self.app);
            let folder = self.folder.path().to_string_lossy().into_owned();
            let built = docker(&["build", "-q", "-t", &name, &folder]);
            assert!(!built.is_empty(), "{name} was not built");
        }
        std::fs::remove_file(self.at("Dockerfile")).unwrap();
    }

    fn write_scripts(&self) {
        let bin = self.at("bin");
        std::fs::create_dir(&bin).unwrap();
        let nginx = format!(
            "exec /usr/sbin/nginx -p {0} -c {0}/main.conf -g 'error_log {0}/error.log;' \"$@\"",
            self.folder.path().display()
        );
        let (host, port) = (self.nginx_address.ip(), self.nginx_address.port());
        let curl =
            format!("exec /usr/bin/curl --connect-to api.example.com:80:{host}:{port} \"$@\"");
        let own = format!("[ \"$1\" = install ] && exit 0\nexec {} \"$@\"", baton());
        for (name, text) in [
            ("sudo", "exec \"$@\""),
            ("nginx", &nginx),
            ("curl", &curl),
            ("baton", &own),
        ] {
            let file = bin.join(name);
            std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    fn write(&mut self, name: &str, text: &str) {
        std::fs::write(self.at(name), self.here(text)).unwrap();
        if name == "nginx.conf" {
            self.start_nginx();
        }
    }

    /// The defaults are 30 s and 2 min, several times over.
    fn shorten_times(&self) {
        let file = self.at("compose.yaml");
        let written = std::fs::read_to_string(&file).unwrap();
        let section = "    x-baton:\n";
        assert!(written.contains(section), "{written}");
        let shortened = format!("{section}      watch: 2s\n      keep_warm: 15s\n");
        std::fs::write(file, written.replace(section, &shortened)).unwrap();
    }

    fn start_nginx(&mut self) {
        let folder = self.folder.path().display().to_string();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
            .join(" ");
        let main = format!(
            "pid {folder}/nginx.pid; worker_processes 1;\nevents {{ worker_connections 256; }}\n\
             http {{ access_log off; {temporary} include {folder}/nginx.conf; }}\n"
        );
        std::fs::write(self.at("main.conf"), main).unwrap();
        let child = self
            .shell("nginx -g 'daemon off;'")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.nginx = Some(child);
        let address = self.nginx_address;
        wait_for("nginx to listen", PATIENCE, || {
            std::net::TcpStream::connect(address).ok()
        });
    }

    fn shell(&self, line: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.at("bin").display()))
            .env("BATON_SOCKET", self.machine.socket());
        command
    }

    fn run(&self, line: &str) -> Ran {
        let ran = Ran::from(self.shell(&self.here(line)).output().unwrap());
        println!("$ {line}\n{ran}");
        ran
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.machine.log());
        }
        self.machine
            .run(Path::new("/"), &["remove", "--yes", "--app", &self.app]);
        if let Some(mut nginx) = self.nginx.take() {
            let _ = self.shell("nginx -s stop").status();
            let _ = nginx.wait();
        }
        remove_from_docker(&self.app);
        for tag in ["1.0", "1.1", "1.2", "broken"] {
            docker(&["rmi", "-f", &format!("baton-{}:{tag}", self.app)]);
        }
    }
}

#[test]
fn every_command_of_the_guide_does_what_it_says() {
    let mut server = Server::new();
    let mut load = None;
    for block in blocks(GUIDE) {
        match block.info.split_once(' ') {
            Some((_, name)) => server.write(name, &block.text),
            None if block.info == "console" => {
                for line in block
                    .text
                    .lines()
                    .filter_map(|line| line.strip_prefix("$ "))
                {
                    let ran = if line.starts_with("curl ") {
                        // An app that has just been started is tried again, by people too.
                        wait_for("an answer", PATIENCE, || {
                            Some(server.run(line)).filter(Ran::ok)
                        })
                    } else {
                        server.run(line)
                    };
                    let expected = if line.starts_with("TAG=broken") { 3 } else { 0 };
                    assert_eq!(ran.code, expected, "{line}: {ran}");
                    if line.starts_with("baton init") {
                        server.shorten_times();
                    }
                    if line.contains("nginx -s reload") {
                        settled(&server);
                        // From here on nobody notices anything.
                        load = Some(Load::start(Plan {
                            pause: Duration::from_millis(10),
                            ..Plan::small(server.nginx_address, "api.example.com")
                        }));
                    }
                }
            }
            None => {}
        }
    }
    let report = load.expect("nginx was moved over").stop();
    assert!(report.requests() > 100, "{report:#?}");
    assert_eq!(report.failed, 0, "{report:#?}");
    // 1.2, gone back to 1.1; the broken one changed nothing.
    let answer = server.run("curl -fsS http://api.example.com/").stdout;
    assert!(answer.contains("\"version\":\"two\""), "{answer}");
}

/// nginx ends its old workers in its own time; a request to one of them would go to the old port.
fn settled(server: &Server) {
    let through_baton = || {
        let answer = server.run("curl -fsS http://api.example.com/").stdout;
        answer.contains("\"version\":\"two\"").then_some(())
    };
    for _ in 0..5 {
        wait_for("nginx to pass on to Baton", PATIENCE, through_baton);
    }
}
