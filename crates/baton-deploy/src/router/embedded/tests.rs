//! What is published reaches the proxy, and gates are open for those who may take requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use baton_compose::{Policy, Role};
use baton_engine::engine::Address;
use baton_engine::{Instance, InstanceId, InstanceState};
use baton_proxy::{Proxy, Settings};

use super::Embedded;
use crate::release::ReleaseId;
use crate::router::{Page, Router, ServiceRoute, Split};
use crate::slots::Weight;

/// An app that answers with its name, once on each connection.
fn app(name: &'static str) -> Instance {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.read(&mut [0; 4096]);
            let length = name.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{name}"
            );
        }
    });
    Instance {
        id: InstanceId(name.to_owned()),
        slot: None,
        service: "api".into(),
        replica: 1,
        release: None,
        state: InstanceState::Running,
        address: Some(Address {
            ip: address.ip(),
            port: address.port(),
            published: false,
        }),
        started_at: None,
        restarts: 0,
        image: String::new(),
    }
}

fn route(host: &str, instances: &[&Instance]) -> ServiceRoute {
    ServiceRoute {
        app: "shop".parse().unwrap(),
        service: "api".into(),
        policy: Arc::new(Policy {
            hosts: vec![host.into()],
            max_wait: Duration::ZERO,
            ..Policy::default()
        }),
        color: None,
        instances: instances.iter().map(|i| (*i).clone()).collect(),
        halves: Vec::new(),
        pinned: Vec::new(),
        held: false,
        role: Role::Live,
        split: None,
        streams_wait: false,
        page: None,
    }
}

fn split(green: &Instance, percent: u8) -> Option<Split> {
    Some(Split {
        instances: vec![green.clone()],
        weight: Weight::new(percent).unwrap(),
        release: ReleaseId(2),
        header: true,
    })
}

struct Front {
    router: Embedded,
    address: SocketAddr,
}

impl Front {
    fn start() -> Front {
        let settings = Settings {
            http: vec![([127, 0, 0, 1], 0).into()],
            workers: 1,
            ..Settings::default()
        };
        let proxy = Proxy::start(settings).unwrap();
        Front {
            address: proxy.http_addrs()[0],
            router: Embedded::new(proxy),
        }
    }

    /// The whole answer.
    fn get(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn is_closed(&self, instance: &Instance) -> bool {
        let lives = self.router.lives(&instance.id);
        lives.iter().all(|life| life.is_closed())
    }
}

#[tokio::test]
async fn a_canary_is_open_until_it_leaves_or_goes_live() {
    let (front, blue, green) = (Front::start(), app("blue"), app("green"));
    let mut with = route("a.test", &[&blue]);
    with.split = split(&green, 100);
    front.router.publish(&[with.clone()]).await.unwrap();
    assert!(front.get("a.test").ends_with("green"));
    assert!(!front.is_closed(&blue) && !front.is_closed(&green));
    // Taken back.
    front
        .router
        .publish(&[route("a.test", &[&blue])])
        .await
        .unwrap();
    assert!(front.get("a.test").ends_with("blue"));
    assert!(front.is_closed(&green));
    // And promoted.
    front.router.publish(&[with]).await.unwrap();
    front
        .router
        .publish(&[route("a.test", &[&green])])
        .await
        .unwrap();
    assert!(front.get("a.test").ends_with("green"));
    assert!(front.is_closed(&blue) && !front.is_closed(&green));
    assert_eq!(front.router.instance(&green.id).unwrap().requests, 2);
}

#[tokio::test]
async fn a_check_makes_no_instance() {
    let (front, blue, green) = (Front::start(), app("blue"), app("green"));
    let mut with = route("a.test", &[&blue]);
    with.split = split(&green, 5);
    front.router.check(&[with]).unwrap();
    assert_eq!(front.router.instance(&green.id), None);
}

#[tokio::test]
async fn a_preview_is_none_of_the_apps_figures() {
    let (front, blue, green) = (Front::start(), app("blue"), app("green"));
    let mut preview = route("test.a.test", &[&green]);
    preview.role = Role::Preview;
    let routes = [route("a.test", &[&blue]), preview];
    front.router.publish(&routes).await.unwrap();
    for host in ["a.test", "test.a.test", "test.a.test"] {
        assert!(front.get(host).starts_with("HTTP/1.1 200 "));
    }
    let app = "shop".parse().unwrap();
    assert_eq!(front.router.figures(&app).requests, 1);
    let green = front.router.instance(&green.id).unwrap();
    assert_eq!((green.requests, green.latency.count()), (2, 2));
}

#[tokio::test]
async fn pages_and_shields_are_the_policys() {
    let (front, blue) = (Front::start(), app("blue"));
    let mut closed = route("a.test", &[&blue]);
    closed.page = Some(Page {
        status: 503,
        body: "<p>Back soon".into(),
        retry_after: Some(Duration::from_secs(30)),
    });
    let shielded = |change: &dyn Fn(&mut Policy)| {
        let mut policy = Policy::default();
        change(&mut policy);
        let mut route = route("b.test", &[&blue]);
        policy.hosts = vec!["b.test".into()];
        route.policy = Arc::new(policy);
        route
    };
    let asks = shielded(&|policy| {
        policy.basic_auth.insert("ann".into(), "$2b$04$".into());
    });
    front.router.publish(&[closed, asks]).await.unwrap();
    let page = front.get("a.test");
    assert!(page.starts_with("HTTP/1.1 503 ") && page.ends_with("<p>Back soon"));
    assert!(page.contains("\r\nRetry-After: 30\r\n"), "{page}");
    assert!(front.get("b.test").starts_with("HTTP/1.1 401 "));
    for (prefix, status) in [(24, 403), (99, 403)] {
        let elsewhere = shielded(&|policy| {
            policy.allow.push(baton_compose::policy::Network {
                address: [192, 0, 2, 0].into(),
                prefix,
            });
        });
        front.router.publish(&[elsewhere]).await.unwrap();
        let answer = front.get("b.test");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
}
