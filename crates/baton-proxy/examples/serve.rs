//! A proxy with one route, for measurements: `serve LISTEN UPSTREAM [WORKERS]`. Runs until it is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_proxy::{
    ConnectionLimits, Instance, Mode, Protocol, Proxy, Route, RouteCounters, RouteLimits,
    RoutingTable, Settings,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, workers @ ..] = args.as_slice() else {
        return Err("serve LISTEN UPSTREAM [WORKERS]".into());
    };
    let upstream: SocketAddr = upstream.parse()?;
    let proxy = Proxy::start(Settings {
        http: vec![listen.parse()?],
        workers: match workers {
            [count, ..] => count.parse()?,
            [] => 1,
        },
        limits: ConnectionLimits {
            connections_per_client: 0,
            ..ConnectionLimits::default()
        },
        ..Settings::default()
    })?;
    let route = Route {
        app: "bench".into(),
        hosts: vec!["*".to_owned()],
        path: "/".to_owned(),
        strip_path: false,
        protocol: Protocol::Http1,
        redirect_https: None,
        limits: RouteLimits {
            body: 0,
            header_bytes: 64 * 1024,
            idle: Duration::from_secs(300),
        },
        max_wait: Duration::from_secs(5),
        mode: Mode::Serve,
        instances: vec![Instance::new("bench", upstream, false)],
        streams: Arc::default(),
        default_stream_mode: baton_proxy::StreamMode::Drain,
        halves: Vec::new(),
        sessions: None,
        pinned: Vec::new(),
        counters: Arc::new(RouteCounters::default()),
    };
    proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)])?));
    loop {
        std::thread::park();
    }
}
