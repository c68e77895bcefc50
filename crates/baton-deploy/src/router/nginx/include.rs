//! The text of Baton's include file: an `upstream` per app and preview, and the server that says which
//! of such texts nginx follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;

use baton_compose::policy::Protocol;
use baton_compose::{Color, Role};
use baton_engine::{Instance, InstanceId};

use crate::router::{RouteError, ServiceRoute};

/// First line; a file without it is not Baton's.
pub(super) const FIRST: &str = "# Written by Baton, which writes it anew: changes here are lost.";

/// Stands for the generation in a body that is compared.
const GENERATION: &str = "{generation}";

/// Path of the check server that tells the generation.
pub(super) const CHECK: &str = "/baton";

/// Path of the check server that leads through an upstream to the app's health check.
pub(super) const THROUGH: &str = "/through/";

/// One `upstream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) app: String,
    pub(super) name: String,
    /// `green r12`
    pub(super) leads_to: String,
    pub(super) servers: Vec<(InstanceId, SocketAddr)>,
    pub(super) probe: Option<Probe>,
}

/// The app's own health check, asked through nginx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    host: String,
    path: String,
}

/// What the routes come to, in a stable order.
///
/// # Errors
/// Two upstreams would have one name.
pub(super) fn upstreams(routes: &[ServiceRoute]) -> Result<Vec<Upstream>, RouteError> {
    let mut services: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for route in routes {
        let of = services.entry(route.app.as_str()).or_default();
        of.insert(&route.service);
    }
    let name = |route: &ServiceRoute, suffix: &str| {
        let app = route.app.as_str();
        if services[app].len() > 1 {
            format!("baton_{app}_{}{suffix}", route.service)
        } else {
            format!("baton_{app}{suffix}")
        }
    };
    let mut all: BTreeMap<String, Upstream> = BTreeMap::new();
    let mut add = |upstream: Upstream| match all.get(&upstream.name) {
        Some(other) if other.app != upstream.app => Err(RouteError::Refused(format!(
            "{} would be the upstream of {} and of {}: rename one of the apps or services",
            upstream.name, other.app, upstream.app
        ))),
        // A preview that is there, in place of none.
        Some(other) if !other.servers.is_empty() => Ok(()),
        _ => {
            all.insert(upstream.name.clone(), upstream);
            Ok(())
        }
    };
    for route in routes {
        let live = route.role == Role::Live;
        let suffix = if live { "" } else { "_preview" };
        add(upstream(route, name(route, suffix)))?;
        let preview = route.policy.preview.as_ref();
        if live && preview.is_some_and(|preview| !preview.hosts.is_empty()) {
            // It is there before anything is staged, so that a server block may name it.
            let nothing = ServiceRoute {
                instances: Vec::new(),
                ..route.clone()
            };
            add(upstream(&nothing, name(route, "_preview")))?;
        }
    }
    Ok(all.into_values().collect())
}

fn upstream(route: &ServiceRoute, name: String) -> Upstream {
    let serves = !route.held && route.page.is_none();
    let mut servers: Vec<(InstanceId, SocketAddr)> = Vec::new();
    for instance in route.instances.iter().filter(|_| serves) {
        if let Some(address) = instance.address {
            let address = SocketAddr::new(address.ip, address.port);
            servers.push((instance.id.clone(), address));
        }
    }
    servers.sort();
    Upstream {
        app: route.app.to_string(),
        name,
        leads_to: leads_to(route.color, &route.instances),
        probe: probe(route).filter(|_| !servers.is_empty()),
        servers,
    }
}

/// The color of what serves and its releases: `green r12`.
fn leads_to(color: Option<Color>, instances: &[Instance]) -> String {
    let colors = instances.iter().filter_map(|i| i.slot.as_ref());
    let colors = colors.map(|slot| slot.color).chain(color);
    let colors: BTreeSet<String> = colors.map(|color| color.to_string()).collect();
    let releases: BTreeSet<u64> = instances.iter().filter_map(|i| i.release).collect();
    let releases = releases.iter().map(|release| format!("r{release}"));
    let words: Vec<String> = colors.into_iter().chain(releases).collect();
    if instances.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(" ")
    }
}

/// None where the app has no health check over HTTP/1.1, or nginx would read its path as something else.
fn probe(route: &ServiceRoute) -> Option<Probe> {
    let plain = |text: &str, more: &[u8]| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        !text.is_empty() && text.bytes().all(fits)
    };
    let policy = &route.policy;
    let health = policy.health.as_ref()?;
    let same_port = health.port.is_none() || health.port == policy.port;
    let fits = policy.protocol == Protocol::Http1
        && same_port
        && health.headers.is_empty()
        && health.path.starts_with('/')
        && plain(&health.path, b"/._~-");
    let host = policy.hosts.iter().find(|host| plain(host, b".-"));
    fits.then(|| Probe {
        host: host.map_or("localhost", String::as_str).to_owned(),
        path: health.path.clone(),
    })
}

/// The text for comparing: its generation is left open.
pub(super) fn body(upstreams: &[Upstream], check: SocketAddr) -> String {
    let mut text = format!("{FIRST}\n# generation {GENERATION}\n");
    let mut told = String::new();
    let mut through = String::new();
    for upstream in upstreams {
        let name = &upstream.name;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "upstream {name} {{ # {}", upstream.leads_to);
        for (id, address) in &upstream.servers {
            let _ = writeln!(text, "    server {address}; # {}", id.0);
        }
        if upstream.servers.is_empty() {
            let _ = writeln!(text, "    server {check};");
        }
        text.push_str("    keepalive 32;\n}\n");
        let _ = write!(told, "{name} {}\\n", upstream.leads_to);
        if let Some(Probe { host, path }) = &upstream.probe {
            let _ = write!(
                through,
                "    location = {THROUGH}{name} {{\n        proxy_pass http://{name}{path};\n        proxy_set_header Host {host};\n        proxy_next_upstream off;\n        proxy_connect_timeout 3s;\n        proxy_read_timeout 5s;\n        add_header X-Baton-Upstream $upstream_addr always;\n    }}\n"
            );
        }
    }
    let _ = write!(
        text,
        "# Asked by Baton: which text does nginx follow, and where does each upstream lead?\nserver {{\n    listen {check};\n    access_log off;\n    auth_basic off;\n    allow all;\n    location = {CHECK} {{\n        default_type text/plain;\n        return 200 \"generation {GENERATION}\\npid $pid\\n{told}\";\n    }}\n{through}    # What has no instance leads here.\n    location / {{\n        add_header Retry-After 1 always;\n        return 503;\n    }}\n}}\n"
    );
    text
}

/// The text of a file.
pub(super) fn with_generation(body: &str, generation: &str) -> String {
    body.replace(GENERATION, generation)
}

/// What a file of Baton's says: its body, and its generation.
pub(super) fn read(text: &str) -> Option<(String, String)> {
    let rest = text.strip_prefix(FIRST)?;
    let line = rest.lines().find(|line| !line.is_empty())?;
    let generation = line.strip_prefix("# generation ")?.to_owned();
    (generation.len() >= 8).then(|| (text.replace(&generation, GENERATION), generation))
}

/// The instances that a file of Baton's leads to.
pub(super) fn servers(text: &str) -> Vec<(InstanceId, SocketAddr)> {
    let servers = text.lines().filter_map(|line| {
        let (address, id) = line.trim().strip_prefix("server ")?.split_once("; # ")?;
        Some((InstanceId(id.to_owned()), address.parse().ok()?))
    });
    servers.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use baton_compose::policy::{Health, Preview};
    use baton_compose::{Policy, Role};
    use baton_engine::engine::Address;
    use baton_engine::{InstanceState, Slot};

    use super::*;

    fn instance(id: &str, color: Color, port: u16) -> Instance {
        Instance {
            id: InstanceId(id.into()),
            slot: Some(Slot {
                app: "shop".parse().unwrap(),
                color,
            }),
            service: "api".into(),
            replica: 1,
            release: Some(7),
            state: InstanceState::Running,
            address: Some(Address {
                ip: [10, 0, 0, 5].into(),
                port,
                published: false,
            }),
            started_at: None,
            restarts: 0,
            image: String::new(),
        }
    }

    fn route(app: &str, service: &str, instances: Vec<Instance>) -> ServiceRoute {
        ServiceRoute {
            app: app.parse().unwrap(),
            service: service.into(),
            policy: Arc::new(Policy {
                hosts: vec!["api.example.com".into()],
                ..Policy::default()
            }),
            color: Some(Color::Green),
            halves: instances.clone(),
            instances,
            pinned: Vec::new(),
            held: false,
            role: Role::Live,
            split: None,
            streams_wait: false,
            page: None,
        }
    }

    fn with(mut route: ServiceRoute, change: impl FnOnce(&mut Policy)) -> ServiceRoute {
        let mut policy = (*route.policy).clone();
        change(&mut policy);
        route.policy = Arc::new(policy);
        route
    }

    fn check() -> SocketAddr {
        ([127, 0, 0, 1], 7079).into()
    }

    #[test]
    fn an_app_gets_an_upstream_and_the_check_server_tells_of_it() {
        let shop = with(
            route("shop", "api", vec![instance("shop-1", Color::Green, 8080)]),
            |policy| {
                policy.health = Some(Health {
                    path: "/healthz".into(),
                    port: None,
                    headers: BTreeMap::new(),
                    expect: Health::EXPECT.to_vec(),
                    interval: Health::INTERVAL,
                    timeout: Health::TIMEOUT,
                    passes: 1,
                });
                policy.preview = Some(Preview {
                    hosts: vec!["test.example.com".into()],
                    basic_auth: BTreeMap::new(),
                    allow: Vec::new(),
                    share: true,
                    environment: BTreeMap::new(),
                    redis: None,
                });
            },
        );
        let body = body(&upstreams(&[shop]).unwrap(), check());
        let text = with_generation(&body, "0123456789");
        assert!(
            text.contains("upstream baton_shop { # green r7\n    server 10.0.0.5:8080; # shop-1\n"),
            "{text}"
        );
        assert!(
            text.contains("upstream baton_shop_preview { # nothing\n    server 127.0.0.1:7079;\n"),
            "{text}"
        );
        assert!(text.contains("baton_shop green r7\\n"), "{text}");
        assert!(
            text.contains("proxy_pass http://baton_shop/healthz;"),
            "{text}"
        );
        assert_eq!(read(&text), Some((body, "0123456789".to_owned())));
        assert_eq!(
            servers(&text),
            [(InstanceId("shop-1".into()), ([10, 0, 0, 5], 8080).into())]
        );
        assert_eq!(read("server {}\n"), None);
    }

    #[test]
    fn several_services_have_their_names_and_two_upstreams_never_one() {
        let two = [
            route("shop", "api", Vec::new()),
            route("shop", "web", Vec::new()),
        ];
        let names = |routes: &[ServiceRoute]| {
            let all = upstreams(routes).unwrap().into_iter();
            all.map(|upstream| upstream.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&two), ["baton_shop_api", "baton_shop_web"]);
        let clash = [
            two[0].clone(),
            two[1].clone(),
            route("shop_api", "x", Vec::new()),
        ];
        let error = upstreams(&clash).unwrap_err().to_string();
        assert!(error.contains("baton_shop_api would be"), "{error}");
    }
}
