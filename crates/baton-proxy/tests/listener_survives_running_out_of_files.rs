//! Out of file descriptors: accepting pauses without spinning, and goes on when there are some again.
//! Alone in its file, because the limit is the whole process's.
#![allow(clippy::unwrap_used, reason = "a test ends there")]

#[path = "edge/origin.rs"]
mod origin;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use baton_proxy::Protocol;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// CPU that this process has used, in clock ticks of 10 ms. The file is opened while that is possible.
fn cpu_ticks(stat: &File) -> u64 {
    let mut text = [0; 1024];
    let length = stat.read_at(&mut text, 0).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    let after_name = text.rsplit_once(')').unwrap().1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn accepting_goes_on_when_files_are_free_again() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, origin::settings());
    let stat = File::open("/proc/self/stat").unwrap();
    let before = getrlimit(Resource::Nofile);
    // One of them is the folder's own, which is closed again: it is the one that is left.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(open),
            ..before
        },
    )
    .unwrap();
    // The last descriptor is this end; the proxy has none for the other.
    let mut client = TcpStream::connect(proxy.http_addrs()[0]).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    let ticks = cpu_ticks(&stat);
    let mut status = [0; 12];
    let unanswered =
        tokio::time::timeout(Duration::from_millis(500), client.read_exact(&mut status)).await;
    assert!(unanswered.is_err(), "there was a descriptor left");
    assert!(cpu_ticks(&stat) - ticks < 25, "it spins");
    setrlimit(Resource::Nofile, before).unwrap();
    tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut status))
        .await
        .expect("it accepts again")
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
