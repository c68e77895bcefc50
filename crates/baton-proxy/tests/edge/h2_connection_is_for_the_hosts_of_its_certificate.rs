//! A client that reuses a connection for a host that its certificate does not name is sent to a connection
//! of its own (421, RFC 9110 §15.5.20).

use std::sync::Arc;

use crate::origin::{self, certificate};
use baton_proxy::{Protocol, Settings};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn other_hosts_are_421() {
    let app = origin::origin("app").await;
    let settings = Settings {
        https: vec!["127.0.0.1:0".parse().unwrap()],
        certificates: vec![
            certificate(&["a.test", "*.a.test"]),
            certificate(&["b.test"]),
        ],
        ..origin::settings()
    };
    let proxy = origin::proxy_to(&app, Protocol::Http1, settings);
    let stream = TcpStream::connect(proxy.https_addrs()[0]).await.unwrap();
    let config = crate::tls_certificate_is_chosen_by_name::client(&[b"h2"]);
    let name = ServerName::try_from("a.test").unwrap();
    let stream = TlsConnector::from(Arc::clone(&config))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for (host, status) in [
        ("a.test", 200),
        ("A.test:443", 200),
        ("x.a.test", 200),
        ("b.test", 421),
        ("x.y.a.test", 421),
    ] {
        let request = http::Request::get(format!("https://{host}/"))
            .body(String::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), status, "{host}");
    }
}
