//! What stands for Slack, Discord or a webhook: takes POSTs, and answers as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::wait_for;

/// One POST.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// In lower case, each line with its end.
    pub(crate) head: String,
    pub(crate) body: String,
    pub(crate) answered: u16,
}

impl Got {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> String {
        let line = self
            .head
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
            .to_owned()
    }
}

pub(crate) struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    /// Answers with these statuses, one after the other, then with 200. None: not at all, for ever.
    pub(crate) fn start(mut statuses: Vec<Option<u16>>) -> Receiver {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let all = Arc::clone(&got);
        statuses.reverse();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let status = statuses.pop().unwrap_or(Some(200));
                if let Some(one) = read(&mut stream, status.unwrap_or(0)) {
                    all.lock().unwrap().push(one);
                }
                match status {
                    Some(status) => drop(write!(
                        stream,
                        "HTTP/1.1 {status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )),
                    None => held.push(stream),
                }
            }
        });
        Receiver { address, got }
    }

    /// `path`: what is secret of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until there are so many.
    pub(crate) fn wait(&self, count: usize) -> Vec<Got> {
        wait_for(
            &format!("{count} messages"),
            Duration::from_secs(60),
            || {
                let got = self.got();
                (got.len() >= count).then_some(got)
            },
        )
    }
}

fn read(stream: &mut TcpStream, answered: u16) -> Option<Got> {
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    // Signatures are lower case already.
    let head = head.to_lowercase().replace("\r\n", "\n");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Got {
        head,
        body: String::from_utf8(body).ok()?,
        answered,
    })
}
