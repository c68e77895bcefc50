//! A proxy with one route, for measurements: `serve LISTEN UPSTREAM [WORKERS]`. Runs until it is killed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use baton_proxy::{
    ConnectionLimits, Instance, Mode, Protocol, Proxy, Route, RouteCounters, RouteLimits,
    RoutingTable, Settings, StreamMode,
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
    let instance = Instance::new("bench", upstream, false);
    let route = Route {
        app: "bench".into(),
        hosts: vec!["*".to_owned()],
        path: "/".to_owned(),
        strip_path: false,
        protocol: Protocol::Http1,
        redirect_https: None,
        redirect_host: None,
        limits: RouteLimits {
            body: 0,
            header_bytes: 64 * 1024,
            idle: Duration::from_secs(300),
        },
        max_wait: Duration::from_secs(5),
        mode: Mode::Serve,
        instances: vec![Arc::clone(&instance)],
        streams: Arc::default(),
        // As a deploy has it: the streams that are measured are managed ones.
        default_stream_mode: StreamMode::default(),
        halves: vec![instance],
        sessions: None,
        pinned: Vec::new(),
        split: None,
        streams_wait: false,
        access: None,
        error_page: None,
        page: None,
        counters: Arc::new(RouteCounters::default()),
    };
    proxy.publish(Arc::new(RoutingTable::new(vec![Arc::new(route)])?));
    loop {
        std::thread::park();
    }
}
