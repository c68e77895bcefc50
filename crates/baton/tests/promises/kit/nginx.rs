//! A real nginx of a test's own, with a folder of files that it includes, as Debian's has.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::machine::{PATIENCE, free_port, get};
use super::{App, Machine, wait_for};

pub(crate) struct Nginx {
    child: Option<Child>,
    /// Where its users come.
    pub(crate) address: SocketAddr,
    check: SocketAddr,
    folder: tempfile::TempDir,
}

impl Nginx {
    /// It answers 503 until a site is written.
    pub(crate) fn start() -> Nginx {
        let mut nginx = Nginx::new();
        nginx.up();
        nginx
    }

    /// Configured, and not running.
    pub(crate) fn new() -> Nginx {
        let nginx = Nginx {
            child: None,
            address: free_port(),
            check: free_port(),
            folder: tempfile::Builder::new()
                .prefix("baton-nginx-")
                .tempdir()
                .unwrap(),
        };
        std::fs::create_dir(nginx.folder.path().join("conf.d")).unwrap();
        let path = nginx.folder.path().display();
        let config = format!(
            "daemon off; pid {path}/nginx.pid; error_log {path}/error.log; worker_processes 2;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};\n\
               uwsgi_temp_path {path}; scgi_temp_path {path}; keepalive_requests 1000000;\n\
               include {path}/conf.d/*.conf; }}\n"
        );
        std::fs::write(nginx.folder.path().join("nginx.conf"), config).unwrap();
        nginx.write("site.conf", &nginx.server("_", "return 503;"));
        nginx
    }

    pub(crate) fn up(&mut self) {
        let child = Command::new(program())
            .args(["-c", &self.path("nginx.conf"), "-p", &self.path("")])
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        self.child = Some(child);
        wait_for("nginx to listen", PATIENCE, || {
            TcpStream::connect(self.address).ok()
        });
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `baton serve`'s arguments for it.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let command = format!(
            "{} -c {} -p {}",
            program(),
            self.path("nginx.conf"),
            self.path("")
        );
        let include = self.include().display().to_string();
        let check = self.check.to_string();
        let words = [
            "--router",
            "nginx",
            "--nginx-include",
            &include,
            "--nginx-command",
            &command,
            "--nginx-check",
            &check,
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Baton's file.
    pub(crate) fn include(&self) -> PathBuf {
        self.folder.path().join("conf.d/baton.conf")
    }

    pub(crate) fn included(&self) -> String {
        std::fs::read_to_string(self.include()).unwrap_or_default()
    }

    /// A daemon behind it, with the app's `r1` live.
    pub(crate) fn serving(&self, app: &App) -> Machine {
        let machine = Machine::start_with_nginx(self, &[]);
        machine.deploy(app, &[]);
        self.site(&upstream(app));
        assert_eq!(self.release("app.test"), "r1");
        machine
    }

    fn server(&self, host: &str, location: &str) -> String {
        let default = if host == "_" { " default_server" } else { "" };
        format!(
            "server {{ listen {}{default}; server_name {host}; client_max_body_size 0; location / {{ {location} }} }}\n",
            self.address
        )
    }

    /// What a user writes once: everything goes to `target`.
    pub(crate) fn site(&self, target: &str) {
        self.site_of("_", "site.conf", target);
    }

    /// The same for one host, in a file of its own.
    pub(crate) fn site_of(&self, host: &str, file: &str, target: &str) {
        let location = format!(
            "proxy_pass http://{target}; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Host $host; proxy_buffering off;"
        );
        self.write(file, &self.server(host, &location));
        self.reload();
    }

    /// A file of `conf.d`, not read yet.
    pub(crate) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join("conf.d").join(file), text).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        std::fs::remove_file(self.folder.path().join("conf.d").join(file)).unwrap();
    }

    /// Until the new configuration answers.
    fn reload(&self) {
        let before = self.workers();
        let done = Command::new(program())
            .args([
                "-c",
                &self.path("nginx.conf"),
                "-p",
                &self.path(""),
                "-s",
                "reload",
            ])
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        wait_for("nginx to reload", PATIENCE, || {
            let now = self.workers();
            (!now.is_empty() && now.iter().all(|pid| !before.contains(pid))).then_some(())
        });
    }

    /// Its workers that take connections.
    fn workers(&self) -> Vec<u32> {
        let Some(child) = &self.child else {
            return Vec::new();
        };
        let file = format!("/proc/{0}/task/{0}/children", child.id());
        let list = std::fs::read_to_string(file).unwrap_or_default();
        let pids = list.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.filter(|pid: &u32| {
            let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let title = String::from_utf8_lossy(&title).into_owned();
            title.starts_with("nginx: worker process") && !title.contains("shutting down")
        })
        .collect()
    }

    pub(crate) fn error_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    /// `release` of the app that answers now.
    pub(crate) fn release(&self, host: &str) -> String {
        let (status, _, body) = get(self.address, host, "/").unwrap();
        assert_eq!(status, 200, "{body}\n{}", self.error_log());
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        json["release"].as_str().unwrap_or_default().to_owned()
    }
}

/// What a user's `proxy_pass` names.
pub(crate) fn upstream(app: &App) -> String {
    format!("baton_{}", app.name())
}

/// Debian puts it where a user's PATH does not look.
fn program() -> &'static str {
    if std::path::Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- nginx ----\n{}\n{}", self.included(), self.error_log());
        }
        if let Some(mut child) = self.child.take() {
            // SIGTERM lets the master end its workers too.
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            let _ = child.wait();
        }
    }
}

/// How a client uses its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// One for each request.
    Fresh,
    /// Kept, and an error when the server closes it under a request.
    Kept,
    /// Kept, and the request sent once more on a new one then, as browsers do.
    Retrying,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Kept connections that the server closed before an answer.
    pub(crate) closed: AtomicU64,
    first: std::sync::Mutex<Option<String>>,
}

/// Clients that ask for `/` until they are stopped.
pub(crate) struct Askers {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Askers {
    pub(crate) fn start(address: SocketAddr, keeping: Keeping, clients: usize) -> Askers {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<Counts>::default());
        let threads = (0..clients).map(|_| {
            let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
            std::thread::spawn(move || ask_on(address, keeping, &stop, &counts))
        });
        Askers {
            threads: threads.collect(),
            stop,
            counts,
        }
    }

    /// Requests, failed ones, connections that were closed under one.
    pub(crate) fn stop(self) -> (u64, u64, u64, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let counts = &self.counts;
        let first = counts.first.lock().unwrap().clone();
        (
            number(&counts.requests),
            number(&counts.failed),
            number(&counts.closed),
            first,
        )
    }
}

fn ask_on(address: SocketAddr, keeping: Keeping, stop: &AtomicBool, counts: &Counts) {
    let mut kept: Option<TcpStream> = None;
    while !stop.load(Ordering::Relaxed) {
        let reused = kept.is_some();
        let mut answer = ask(address, &mut kept, keeping);
        counts.requests.fetch_add(1, Ordering::Relaxed);
        if answer.is_err() && reused {
            counts.closed.fetch_add(1, Ordering::Relaxed);
            kept = None;
            if keeping == Keeping::Retrying {
                answer = ask(address, &mut kept, keeping);
            }
        }
        if let Err(error) = answer {
            counts.failed.fetch_add(1, Ordering::Relaxed);
            counts.first.lock().unwrap().get_or_insert(error);
            kept = None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One request; the connection is left in `kept` where it stays open.
fn ask(address: SocketAddr, kept: &mut Option<TcpStream>, keeping: Keeping) -> Result<(), String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?,
    };
    let close = if keeping == Keeping::Fresh {
        "Connection: close\r\n"
    } else {
        ""
    };
    let failed = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{close}\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = stream.read(&mut part).map_err(failed)?;
        if read == 0 {
            return Err(format!("closed after {} bytes", bytes.len()));
        }
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.lines().next().unwrap_or_default().to_owned());
        }
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let whole = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with("0\r\n\r\n"),
        };
        if whole {
            if keeping != Keeping::Fresh && !head.contains("connection: close") {
                *kept = Some(stream);
            }
            return Ok(());
        }
    }
}
