//! An address that cannot be bound is named, with the reason and the next step.

use crate::origin;

use std::net::{SocketAddr, TcpListener};

use baton_proxy::{Proxy, ProxyError, Settings};

fn start_on(address: SocketAddr) -> Result<std::sync::Arc<Proxy>, ProxyError> {
    Proxy::start(Settings {
        http: vec![address],
        ..origin::settings()
    })
}

#[test]
fn a_port_that_is_taken() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let error = start_on(address).unwrap_err();
    assert!(matches!(error, ProxyError::PortTaken { address: a } if a == address));
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {address}: another process has this port; stop it (`ss -ltnp` names it) or give another port"
        )
    );
}

/// SO_REUSEPORT would let a second proxy of the same user take a share of the connections.
#[test]
fn a_port_that_another_proxy_has() {
    let proxy = start_on("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = start_on(proxy.http_addrs()[0]).unwrap_err();
    assert!(matches!(error, ProxyError::PortTaken { .. }), "{error}");
}

#[test]
fn an_address_of_another_machine() {
    let error = start_on("192.0.2.1:8080".parse().unwrap()).unwrap_err();
    assert!(matches!(error, ProxyError::NoSuchAddress { .. }), "{error}");
}

#[test]
fn a_low_port_without_the_right_to_it() {
    let error = ProxyError::PortNotAllowed {
        address: "0.0.0.0:80".parse().unwrap(),
    };
    let text = error.to_string();
    assert!(
        text.contains("0.0.0.0:80") && text.contains("CAP_NET_BIND_SERVICE"),
        "{text}"
    );
}
