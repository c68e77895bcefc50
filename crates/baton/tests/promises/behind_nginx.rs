//! A real nginx in front, with one `proxy_pass` to Baton on loopback: deploys under load through it
//! fail nothing, events arrive unbuffered, and the app sees `X-Forwarded-Proto: https`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testapp::load::{Load, Mix, Plan};

use crate::kit::machine::{PATIENCE, free_port, get};
use crate::kit::{App, Engine, Machine, deploys, wait_for};

struct Nginx {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// What one has: a server block with `proxy_pass` and the usual fields.
    fn start(upstream: SocketAddr) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        let address = free_port();
        let path = folder.path().display();
        let config = format!(
            "daemon off; pid {path}/nginx.pid; error_log {path}/error.log; worker_processes 1;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; client_body_temp_path {path}; proxy_temp_path {path}; fastcgi_temp_path {path};\n\
               uwsgi_temp_path {path}; scgi_temp_path {path}; client_max_body_size 0;\n\
               server {{ listen {address}; location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1;\n\
                 proxy_set_header Host $host; proxy_set_header Connection \"\";\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto https; }} }} }}\n"
        );
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let child = Command::new(nginx())
            .arg("-c")
            .arg(&file)
            .arg("-p")
            .arg(folder.path())
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        wait_for("nginx to listen", PATIENCE, || {
            TcpStream::connect(address).ok()
        });
        Nginx {
            child,
            address,
            _folder: folder,
        }
    }
}

/// Debian puts it where a user's PATH does not look.
fn nginx() -> &'static str {
    if std::path::Path::new("/usr/sbin/nginx").exists() {
        "/usr/sbin/nginx"
    } else {
        "nginx"
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM lets the master end its worker too.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}

fn behind(engine: Engine, deploys: u64) {
    let machine = Machine::start();
    let mut app = App::new(engine, "nginx");
    machine.deploy(&app, &[]);
    let nginx = Nginx::start(machine.http);

    let (status, _, body) = get(nginx.address, "app.test", "/headers").unwrap();
    assert_eq!(status, 200, "nothing is redirected: {body}");
    let body = body.to_lowercase();
    assert!(body.contains("x-forwarded-proto: https\n"), "{body}");
    assert!(body.contains("x-forwarded-for: 127.0.0.1"), "{body}");
    assert!(body.contains("host: app.test\n"), "{body}");

    let load = Load::start(Plan {
        mix: Mix {
            slow_every: 50,
            big_every: 101,
            big_bytes: 2 << 20,
        },
        pause: Duration::from_millis(10),
        ..Plan::small(nginx.address, "app.test")
    });
    for number in 2..=deploys + 1 {
        app.version(&format!("v{number}"));
        machine.deploy(&app, &[]);
    }
    events_arrive_unbuffered(nginx.address);
    let report = load.stop();
    println!(
        "{engine:?} behind nginx: {deploys} deploys, {} requests, {} failed",
        report.requests(),
        report.failed
    );
    assert_eq!(report.failed, 0, "{report:#?}");
}

/// nginx buffers answers by default: the events come one by one only because Baton says so.
fn events_arrive_unbuffered(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /sse?every_ms=400&n=4 HTTP/1.1\r\nHost: app.test\r\n\r\n"
    )
    .unwrap();
    let mut arrivals = Vec::new();
    for line in BufReader::new(stream).lines() {
        if line.unwrap().starts_with("data:") {
            arrivals.push(Instant::now());
        }
        if arrivals.len() == 4 {
            break;
        }
    }
    let spread = arrivals[3] - arrivals[0];
    assert!(
        spread > Duration::from_millis(900),
        "all events came within {spread:?}: they were buffered"
    );
}

#[test]
fn processes_behind_nginx_lose_nothing() {
    behind(Engine::Process, deploys(20));
}

#[test]
fn containers_behind_nginx_lose_nothing() {
    behind(Engine::Docker, deploys(20));
}
