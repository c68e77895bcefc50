//! What a test asks of a machine: deploys, what stands where, and who answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use testapp::load::{Load, Plan};

use super::machine::{Machine, PATIENCE, call, get};
use super::tls::Certificate;
use super::{App, wait_for};

impl Machine {
    /// `baton deploy --json` that must succeed; its result.
    pub(crate) fn deploy(&self, app: &App, more: &[&str]) -> Value {
        let mut arguments = vec!["deploy", "--json"];
        arguments.extend(more);
        let ran = self.baton(app, &arguments);
        assert_eq!(
            ran.code,
            0,
            "baton {arguments:?}: {ran}\ndaemon:\n{}",
            self.log()
        );
        ran.result()
    }

    pub(crate) fn status(&self) -> Value {
        let ran = self.run(Path::new("/"), &["status", "--json"]);
        assert_eq!(ran.code, 0, "{ran}");
        ran.result()
    }

    /// The app's part of the status.
    pub(crate) fn app_status(&self, app: &App) -> Value {
        let status = self.status();
        let apps = status["apps"].as_array().expect("apps");
        apps.iter()
            .find(|entry| entry["name"] == app.name())
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// `blue` or `green`.
    pub(crate) fn live(&self, app: &App) -> String {
        self.app_status(app)["live"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn role(&self, app: &App, color: &str) -> String {
        self.app_status(app)["colors"][color]["role"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// GET over plain HTTP: status, head, body.
    pub(crate) fn get(&self, host: &str, path: &str) -> (u16, String, String) {
        get(self.http, host, path)
            .unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    /// An event stream over plain HTTP on which something has come.
    pub(crate) fn open_stream(&self, host: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET /sse?every_ms=50 HTTP/1.1\r\nHost: {host}\r\n\r\n"
        )
        .unwrap();
        stream.read_exact(&mut [0; 64]).unwrap();
        stream
    }

    /// POST over plain HTTP that must be accepted; its body.
    pub(crate) fn post(&self, app: &App, path: &str) -> String {
        let (status, _, body) = call(self.http, "POST", app.host(), path, "")
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()));
        assert!(matches!(status, 200..=299), "POST {path}: {status} {body}");
        body
    }

    /// The same over TLS, by a client that trusts this certificate's authority alone.
    pub(crate) fn answering_over_tls(&self, app: &App, files: &Certificate) -> String {
        let load = Load::start(Plan {
            tls: Some(files.authority.clone()),
            http1: 1,
            ..Plan::small(self.https, app.host())
        });
        let found = wait_for("an answer over TLS", PATIENCE, || {
            let report = load.report();
            assert_eq!(report.failed, 0, "{report:#?}\n{}", self.log());
            report.by_release.into_keys().next()
        });
        drop(load.stop());
        found
    }

    /// `release` of the app that answers now.
    pub(crate) fn answering_release(&self, app: &App) -> String {
        let (status, _, body) = self.get(app.host(), "/");
        assert_eq!(status, 200, "{body}");
        let json: Value = serde_json::from_str(&body).unwrap();
        json["release"].as_str().unwrap_or_default().to_owned()
    }
}
