//! A daemon of its own, in a folder of its own, on free ports of loopback.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::app::remove_from_docker;
use super::cgroup::Cgroup;
use super::nginx::Nginx;
use super::{App, Engine, Ran, processes, wait_for};

/// Long enough for a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Machine {
    folder: TempDir,
    data: PathBuf,
    daemon: Option<Child>,
    activated: bool,
    /// Processes that have been the daemon before another took over.
    before: RefCell<Vec<i32>>,
    arguments: Vec<String>,
    /// It listens itself; else an nginx does.
    listens: bool,
    environment: Vec<(String, String)>,
    /// Where the daemon, and with it every process that it starts, has its memory.
    cgroup: Option<PathBuf>,
    /// Apps that were touched through this machine, with what has to be cleaned up.
    apps: RefCell<BTreeMap<String, Engine>>,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
}

impl Machine {
    /// A daemon that serves on loopback.
    pub(crate) fn start() -> Machine {
        Machine::start_with(&[], &[])
    }

    /// With its data in a folder of the test's choice.
    pub(crate) fn start_in(data: &Path) -> Machine {
        let mut machine = Machine::new();
        machine.data = data.to_owned();
        machine.up();
        machine
    }

    /// With more arguments of `baton serve` and more environment for it.
    pub(crate) fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Machine {
        let mut machine = Machine::new();
        machine.arguments = arguments.iter().map(ToString::to_string).collect();
        machine.set_environment(environment);
        machine.up();
        machine
    }

    /// With a configuration file of its own, of this text.
    pub(crate) fn start_with_config(text: &str) -> Machine {
        let mut machine = Machine::new();
        machine.write_config(text);
        let config = machine.folder().join("baton.toml");
        machine.arguments = vec!["--config".into(), config.to_str().unwrap().into()];
        machine.up();
        machine
    }

    /// On ports that something else has to know first.
    pub(crate) fn start_on(http: SocketAddr, https: SocketAddr, arguments: &[&str]) -> Machine {
        let mut machine = Machine::new();
        (machine.http, machine.https) = (http, https);
        machine.arguments = arguments.iter().map(ToString::to_string).collect();
        machine.up();
        machine
    }

    pub(crate) fn write_config(&self, text: &str) {
        std::fs::write(self.folder().join("baton.toml"), text).unwrap();
    }

    /// Started by `systemd-socket-activate`, which listens for it.
    pub(crate) fn activated() -> Machine {
        let mut machine = Machine::new();
        machine.activated = true;
        machine.up();
        machine
    }

    /// With the memory of a cgroup for the daemon and all processes that it starts.
    pub(crate) fn start_within(cgroup: &Cgroup) -> Machine {
        let mut machine = Machine::new();
        machine.cgroup = Some(cgroup.folder().to_owned());
        machine.up();
        machine
    }

    /// A daemon whose traffic this nginx carries.
    pub(crate) fn start_with_nginx(nginx: &Nginx, environment: &[(&str, &str)]) -> Machine {
        let mut machine = Machine::new();
        machine.listens = false;
        machine.arguments = nginx.arguments();
        machine.http = nginx.address;
        machine.set_environment(environment);
        machine.up();
        machine
    }

    fn new() -> Machine {
        let folder = tempfile::Builder::new()
            .prefix("baton-test-")
            .tempdir()
            .unwrap();
        Machine {
            data: folder.path().join("data"),
            folder,
            daemon: None,
            activated: false,
            before: RefCell::default(),
            arguments: Vec::new(),
            listens: true,
            environment: Vec::new(),
            cgroup: None,
            apps: RefCell::default(),
            http: free_port(),
            https: free_port(),
        }
    }

    /// Starts the daemon (again) on the same folder and ports; returns when its socket answers.
    pub(crate) fn up(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .unwrap();
        let mut command = self.program();
        command.arg("serve");
        if self.listens {
            command.args(["--http", &self.http.to_string()]);
            command.args(["--https", &self.https.to_string()]);
        }
        let child = command
            .arg("--data")
            .arg(&self.data)
            .arg("--socket")
            .arg(self.socket())
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(child);
        if self.activated {
            // It starts the daemon when somebody comes.
            wait_for("the first connection", PATIENCE, || {
                TcpStream::connect(self.http).ok()
            });
        }
        wait_for("the daemon to answer", PATIENCE, || {
            self.assert_running();
            self.run(Path::new("/"), &["status", "--json"])
                .ok()
                .then_some(())
        });
    }

    /// `baton`, in its cgroup from the first instruction on.
    fn program(&self) -> Command {
        if self.activated {
            let mut command = Command::new("systemd-socket-activate");
            command
                .args(["-l", &self.http.to_string(), "-l", &self.https.to_string()])
                .arg(baton());
            return command;
        }
        let Some(cgroup) = &self.cgroup else {
            return Command::new(baton());
        };
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(cgroup)
            .arg(baton());
        shell
    }

    /// Of the daemon.
    pub(crate) fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("the daemon runs").id()
    }

    fn assert_running(&mut self) {
        if let Some(status) = self
            .daemon
            .as_mut()
            .and_then(|child| child.try_wait().unwrap())
        {
            panic!("the daemon ended with {status}:\n{}", self.log());
        }
    }

    /// Changes what the daemon gets when it is started next.
    pub(crate) fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment
            .iter()
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect();
    }

    /// kill -9, and wait until it is gone.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM, and wait until it has ended.
    pub(crate) fn stop(&mut self) {
        let pid = self.daemon.as_ref().expect("the daemon runs").id();
        let term = Command::new("kill").arg(pid.to_string()).status().unwrap();
        assert!(term.success());
        self.wait_until_down();
    }

    /// Waits until the daemon has ended by itself (a planted fault).
    pub(crate) fn wait_until_down(&mut self) {
        wait_for("the daemon to end", PATIENCE, || {
            self.daemon
                .as_mut()
                .is_none_or(|child| child.try_wait().unwrap().is_some())
                .then_some(())
        });
        self.daemon = None;
    }

    /// The process that is the daemon now: after an upgrade no child of the test's.
    pub(crate) fn serving_pid(&self) -> i32 {
        let lock = std::fs::read_to_string(self.data.join("baton.lock")).unwrap_or_default();
        lock.trim().parse().unwrap_or(0)
    }

    /// `baton upgrade BINARY --json`.
    pub(crate) fn upgrade_to(&self, binary: &Path, more: &[&str]) -> Ran {
        self.before.borrow_mut().push(self.serving_pid());
        let mut command = self.command(Path::new("/"), &["upgrade", "--json"]);
        Ran::from(command.arg(binary).args(more).output().unwrap())
    }

    /// The same binary once more, as another process, which must take over; its pid.
    pub(crate) fn upgrade(&self) -> i32 {
        let old = self.serving_pid();
        let ran = self.upgrade_to(Path::new(baton()), &[]);
        assert_eq!(ran.code, 0, "{ran}\ndaemon:\n{}", self.log());
        let new = self.serving_pid();
        assert_ne!(new, old, "{ran}");
        assert_eq!(ran.result()["pid"], new, "{ran}");
        new
    }

    /// Waits until no process but the one that is the daemon is left.
    pub(crate) fn wait_until_alone(&mut self) {
        let before = self.before.borrow().clone();
        wait_for("old processes to end", PATIENCE, || {
            // One is a child of the test's.
            if let Some(daemon) = &mut self.daemon {
                let _ = daemon.try_wait();
            }
            let serving = self.serving_pid();
            let left = |pid: &&i32| **pid != serving && runs(**pid);
            before.iter().find(left).is_none().then_some(())
        });
    }

    /// What is the daemon now is the one to be stopped next.
    pub(crate) fn adopt_serving(&mut self) {
        let pid = self.serving_pid();
        signal(pid, rustix::process::Signal::TERM);
        wait_for("the daemon to end", PATIENCE, || (!runs(pid)).then_some(()));
        self.up();
    }

    /// Waits until the daemon has ended; its exit code.
    pub(crate) fn wait_until_exit(&mut self) -> i32 {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        wait_for("the daemon to end", PATIENCE, || daemon.try_wait().unwrap())
            .code()
            .unwrap_or(-1)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("baton.sock")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The daemon's `--data`.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// `baton ARGS…` in `folder`, ready to be spawned.
    pub(crate) fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(baton());
        command
            .args(arguments)
            .current_dir(folder)
            .env("BATON_SOCKET", self.socket())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `baton ARGS…` in `folder`, to its end.
    pub(crate) fn run(&self, folder: &Path, arguments: &[&str]) -> Ran {
        Ran::from(self.command(folder, arguments).output().unwrap())
    }

    /// `baton ARGS…` in the app's folder, with the app's environment.
    pub(crate) fn baton(&self, app: &App, arguments: &[&str]) -> Ran {
        Ran::from(self.app_command(app, arguments).output().unwrap())
    }

    pub(crate) fn app_command(&self, app: &App, arguments: &[&str]) -> Command {
        self.apps
            .borrow_mut()
            .insert(app.name().to_owned(), app.engine());
        let mut command = self.command(app.folder(), arguments);
        command.envs(app.environment());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- the daemon's log ----\n{}", self.log());
        }
        // Its apps go first: an instance outlives its daemon by design.
        let apps = self.apps.take();
        if self.daemon.is_some() {
            for name in apps.keys() {
                self.run(Path::new("/"), &["remove", "--yes", "--app", name]);
            }
        }
        for pid in self.before.take().into_iter().chain([self.serving_pid()]) {
            if runs(pid) {
                signal(pid, rustix::process::Signal::KILL);
            }
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        // What could not be removed, with an nginx that is broken, say.
        for (name, engine) in apps {
            match engine {
                Engine::Docker => remove_from_docker(&name),
                Engine::Process => {
                    for pid in processes::of_app(&name, None) {
                        // Its shim ends with it.
                        signal(pid.cast_signed(), rustix::process::Signal::KILL);
                    }
                }
            }
        }
    }
}

/// Whether the process is there and is a daemon of the tests.
pub(crate) fn runs(pid: i32) -> bool {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let command = String::from_utf8_lossy(&read("cmdline")).into_owned();
    let state = String::from_utf8_lossy(&read("stat")).into_owned();
    let state = state.rsplit(") ").next().unwrap_or_default().to_owned();
    pid > 1 && command.contains("serve") && !state.starts_with('Z')
}

pub(crate) fn signal(pid: i32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // Gone meanwhile is as good.
    let _ = rustix::process::kill_process(pid, signal);
}

pub(crate) fn baton() -> &'static str {
    env!("CARGO_BIN_EXE_baton")
}

/// The test app's static binary, which stands beside `baton`.
pub(crate) fn testapp() -> PathBuf {
    let path = Path::new(baton()).with_file_name("testapp");
    assert!(
        path.exists(),
        "{} is missing: build the whole workspace (cargo build --workspace)",
        path.display()
    );
    path
}

/// A port of loopback below the range from which the kernel takes its own, so that nobody takes it
/// while the daemon is down.
pub(crate) fn free_port() -> SocketAddr {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1_000) as u16 * 12;
    for _ in 0..12_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 20_000 + (start + step) % 12_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between 20000 and 32000");
}

/// One GET on a connection of its own: status, head, body.
pub(crate) fn get(
    address: SocketAddr,
    host: &str,
    path: &str,
) -> std::io::Result<(u16, String, String)> {
    call(address, "GET", host, path, "")
}

/// One request without a body on a connection of its own; `fields` are whole lines with their ends.
pub(crate) fn call(
    address: SocketAddr,
    method: &str,
    host: &str,
    path: &str,
    fields: &str,
) -> std::io::Result<(u16, String, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = if method == "GET" {
        ""
    } else {
        "Content-Length: 0\r\n"
    };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{fields}Connection: close\r\n\r\n"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Ok((status, head.to_owned(), body.to_owned()))
}
