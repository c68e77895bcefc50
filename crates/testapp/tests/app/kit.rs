//! The real binary on a port of its own, and requests to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A busy machine may take so long for anything.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn testapp(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testapp"));
    command
        .env_clear()
        .envs([("BIND", "127.0.0.1"), ("PORT", "0")])
        .envs(variables.iter().copied());
    command
}

/// One life of the app; killed when dropped.
pub(crate) struct App {
    child: Child,
    pub(crate) address: SocketAddr,
    // Kept open, so that the app can go on to print.
    _output: BufReader<ChildStdout>,
}

impl App {
    /// Returns once it listens.
    pub(crate) fn start(variables: &[(&str, &str)]) -> App {
        let mut child = testapp(variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            let read = output.read_line(&mut line).unwrap();
            assert!(read > 0, "the app ended before it listened");
            if let Some(address) = line.trim().strip_prefix("listening on ") {
                break address.parse().unwrap();
            }
        };
        App {
            child,
            address,
            _output: output,
        }
    }

    /// Status and body.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.ask_as("", method, path, body)
    }

    /// `fields`: lines with their ends.
    pub(crate) fn ask_as(
        &self,
        fields: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    pub(crate) fn status_of(&self, path: &str) -> u16 {
        self.ask("GET", path, "").0
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        end_of(&mut self.child)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn end_of(child: &mut Child) -> ExitStatus {
    wait_for("the app to end", || child.try_wait().unwrap())
}

/// # Panics
/// When it does not come about in time.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
