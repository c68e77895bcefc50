//! Talking to nginx: its command line, and the check server of the include.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use super::include::{CHECK, THROUGH};

/// `nginx -t` waits for name servers.
const COMMAND: Duration = Duration::from_secs(30);

const ANSWER: Duration = Duration::from_secs(10);

/// Longest part of what nginx says that is passed on, in bytes.
const SAID: usize = 2000;

/// How nginx is called.
#[derive(Debug, Clone)]
pub(super) struct Commands {
    /// Words of the program, before `-t`.
    pub(super) nginx: Vec<String>,
    /// None: `nginx -s reload`.
    pub(super) reload: Option<Vec<String>>,
    pub(super) check: SocketAddr,
}

/// What the check server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) generation: String,
    /// The worker's number, where it runs.
    pub(super) pid: u32,
}

/// What an app answers through nginx.
#[derive(Debug)]
pub(super) struct Through {
    pub(super) status: u16,
    pub(super) upstream: String,
}

impl Commands {
    /// `nginx -t`.
    pub(super) async fn test(&self) -> Result<(), String> {
        self.nginx(&["-t"]).await.map(drop)
    }

    /// The whole configuration as nginx reads it: `nginx -T`.
    pub(super) async fn dump(&self) -> Result<String, String> {
        self.nginx(&["-T"]).await
    }

    pub(super) async fn reload(&self) -> Result<(), String> {
        match &self.reload {
            Some(words) => run(words, &[]).await.map(drop),
            None => self.nginx(&["-s", "reload"]).await.map(drop),
        }
    }

    async fn nginx(&self, arguments: &[&str]) -> Result<String, String> {
        run(&self.nginx, arguments).await
    }

    /// Which text does nginx follow? On a connection of its own: any worker may answer.
    pub(super) async fn ask(&self) -> Result<Answer, String> {
        let text = get(self.check, CHECK).await?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let answer = field("generation ").zip(field("pid "));
        answer
            .and_then(|(generation, pid)| {
                Some(Answer {
                    generation: generation.to_owned(),
                    pid: pid.trim().parse().ok()?,
                })
            })
            .ok_or_else(|| format!("{} is answered by something else", self.check))
    }

    /// The app's health check, through nginx.
    pub(super) async fn through(&self, upstream: &str) -> Result<Through, String> {
        let text = get(self.check, &format!("{THROUGH}{upstream}")).await?;
        let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut lines = text
            .lines()
            .map_while(|line| Some(line).filter(|l| !l.is_empty()));
        let field = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("x-baton-upstream")
                .then(|| value.trim())
        });
        Ok(Through {
            status: status.ok_or("no HTTP")?,
            upstream: field.unwrap_or_default().to_owned(),
        })
    }
}

/// What a command printed; when it failed, that is the error.
async fn run(words: &[String], arguments: &[&str]) -> Result<String, String> {
    let line = || [words.join(" "), arguments.join(" ")].join(" ");
    let (program, first) = words.split_first().ok_or("no command is named")?;
    let child = Command::new(program)
        .args(first)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|error| format!("`{}`: {error}", line().trim()))?;
    let output = match timeout(COMMAND, child.wait_with_output()).await {
        Ok(output) => output.map_err(|error| format!("`{}`: {error}", line().trim()))?,
        Err(_) => {
            let after = COMMAND.as_secs();
            return Err(format!("`{}` did not end within {after} s", line().trim()));
        }
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(printed.into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(SAID).collect();
    Err(format!("`{}` failed: {said}", line().trim()))
}

async fn get(address: SocketAddr, path: &str) -> Result<String, String> {
    let asked = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: baton\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    match timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}
