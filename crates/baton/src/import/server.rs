//! What `server` blocks say, in the words of an `x-baton`; what it cannot say is kept with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fields::{self, Kept};
use super::parse::{At, Directive};

/// All that a configuration says.
#[derive(Debug, Default)]
pub struct Seen {
    pub sites: Vec<Site>,
    /// Where it listens for plain HTTP and for TLS.
    pub http: Vec<String>,
    pub https: Vec<String>,
    /// `set_real_ip_from`
    pub trusted: Vec<String>,
    /// Hosts that are only sent to another one: the one they are sent to, by host.
    pub redirects: BTreeMap<String, (String, At)>,
    pub left: Vec<Left>,
}

/// One place that is proxied, for one set of hosts.
#[derive(Debug, Clone)]
pub struct Site {
    pub at: At,
    pub hosts: Vec<String>,
    /// Path prefix; `/` when the whole host.
    pub path: String,
    pub strip_path: bool,
    pub target: Target,
    pub certificate: Option<(PathBuf, PathBuf)>,
    pub kept: Kept,
    /// Paths whose answers are not buffered: event streams, most likely.
    pub unbuffered: Vec<String>,
}

/// Where `proxy_pass` leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub host: String,
    pub port: u16,
}

/// Something that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    pub at: At,
    pub what: String,
    pub why: String,
}

impl Left {
    pub fn new(directive: &Directive, why: impl Into<String>) -> Left {
        Left {
            at: directive.at.clone(),
            what: directive.shown(),
            why: why.into(),
        }
    }
}

/// Reads servers wherever they stand: in the file, or in its `http` block.
pub fn look(list: &[Directive]) -> Seen {
    let mut seen = Seen::default();
    let http = list.iter().filter(|one| one.name == "http");
    let inside: Vec<&Directive> = http.flat_map(|http| &http.block).collect();
    let level: Vec<&Directive> = list
        .iter()
        .filter(|one| one.name != "http")
        .chain(inside)
        .collect();
    let upstreams: Vec<&Directive> = level
        .iter()
        .filter(|one| one.name == "upstream")
        .copied()
        .collect();
    let mut outer = Kept::default();
    for directive in &level {
        match directive.name.as_str() {
            "server" | "upstream" => {}
            "include" if directive.arg().ends_with("mime.types") => {}
            // The machine's, not a site's.
            "user"
            | "worker_processes"
            | "worker_rlimit_nofile"
            | "pid"
            | "events"
            | "error_log"
            | "types"
            | "types_hash_max_size"
            | "default_type"
            | "sendfile"
            | "tcp_nopush"
            | "tcp_nodelay"
            | "map"
            | "log_format"
                if directive.name != "map" || is_upgrade_map(directive) => {}
            _ => fields::read(directive, &mut outer, &mut seen),
        }
    }
    for directive in level.iter().filter(|one| one.name == "server") {
        server(directive, &outer, &upstreams, &mut seen);
    }
    seen.left.sort();
    seen.left.dedup();
    seen
}

/// `map $http_upgrade $connection_upgrade`: for WebSockets, which need nothing said.
fn is_upgrade_map(directive: &Directive) -> bool {
    directive.arg() == "$http_upgrade"
}

fn server(server: &Directive, outer: &Kept, upstreams: &[&Directive], seen: &mut Seen) {
    let mut names = Vec::new();
    let mut files: (Option<PathBuf>, Option<PathBuf>) = (None, None);
    let mut kept = outer.clone();
    let mut ssl = false;
    for directive in &server.block {
        match directive.name.as_str() {
            "server_name" => names.extend(hosts(directive, seen)),
            "listen" => ssl |= listen(directive, seen),
            "ssl_certificate" => files.0 = Some(beside(directive)),
            "ssl_certificate_key" => files.1 = Some(beside(directive)),
            "location" | "return" | "if" => {}
            _ => fields::read(directive, &mut kept, seen),
        }
    }
    if names.is_empty() {
        names.push("*".to_owned());
    }
    let certificate = match files {
        (Some(cert), Some(key)) => Some((cert, key)),
        _ => None,
    };
    if ssl && certificate.is_none() {
        seen.left.push(Left::new(
            server,
            "it listens with ssl and names no ssl_certificate of its own",
        ));
    }
    for directive in &server.block {
        match directive.name.as_str() {
            "return" => sent_on(directive, &names, seen),
            "if" => condition(directive, seen),
            _ => {}
        }
    }
    let mut places: Vec<Site> = Vec::new();
    for location in server.block.iter().filter(|one| one.name == "location") {
        let site = Site {
            at: location.at.clone(),
            hosts: names.clone(),
            path: "/".to_owned(),
            strip_path: false,
            target: Target {
                host: String::new(),
                port: 0,
            },
            certificate: certificate.clone(),
            kept: kept.clone(),
            unbuffered: Vec::new(),
        };
        if let Some(place) = self::location(location, site, upstreams, seen) {
            together(&mut places, place, location, seen);
        }
    }
    seen.sites.extend(places);
}

/// `api.example.com`, `*.example.com`; `.example.com` is both, `_` is anything.
fn hosts(directive: &Directive, seen: &mut Seen) -> Vec<String> {
    let mut all = Vec::new();
    for name in &directive.args {
        if name.starts_with('~') || (name.contains('*') && !name.starts_with("*.")) {
            seen.left.push(Left {
                what: format!("server_name {name}"),
                ..Left::new(
                    directive,
                    "hosts are names or *.name; write each one into `hosts`",
                )
            });
        } else if let Some(domain) = name.strip_prefix('.') {
            all.extend([domain.to_owned(), format!("*.{domain}")]);
        } else if !matches!(name.as_str(), "_" | "" | "localhost") {
            all.push(name.to_ascii_lowercase());
        }
    }
    all
}

/// Is it for TLS?
fn listen(directive: &Directive, seen: &mut Seen) -> bool {
    let address = directive.arg();
    let ssl = directive.args.iter().any(|arg| arg == "ssl");
    if address.starts_with("unix:") {
        seen.left
            .push(Left::new(directive, "Baton listens on TCP addresses only"));
        return ssl;
    }
    let address = match address.parse::<u16>() {
        Ok(port) => format!("0.0.0.0:{port}"),
        Err(_) if address.contains(':') && !address.ends_with(']') => {
            address.replace("*:", "0.0.0.0:")
        }
        Err(_) => format!("{address}:80"),
    };
    if address.parse::<std::net::SocketAddr>().is_err() {
        seen.left.push(Left::new(
            directive,
            "Baton listens on addresses, not on names",
        ));
        return ssl;
    }
    let list = if ssl { &mut seen.https } else { &mut seen.http };
    if !list.contains(&address) {
        list.push(address);
    }
    for arg in directive.args.iter().skip(1) {
        let known = [
            "ssl",
            "http2",
            "default_server",
            "ipv6only=on",
            "ipv6only=off",
            "reuseport",
        ];
        if !known.contains(&arg.as_str()) {
            seen.left.push(Left {
                what: format!("listen … {arg}"),
                ..Left::new(directive, "Baton has no such option")
            });
        }
    }
    ssl
}

/// An absolute path; a relative one is found from the folder of nginx.
fn beside(directive: &Directive) -> PathBuf {
    let path = Path::new(directive.arg());
    let folders = directive.at.file.ancestors().skip(1).take(3);
    let mut places = folders.map(|folder| folder.join(path));
    let found = places.find(|place| place.exists());
    let found = found.unwrap_or_else(|| directive.at.file.with_file_name(path));
    std::path::absolute(&found).unwrap_or(found)
}

/// `return 301 https://$host$request_uri` is what Baton does by itself; to another host, those hosts
/// are `redirect_hosts` there.
fn sent_on(directive: &Directive, names: &[String], seen: &mut Seen) {
    let [status, target] = &directive.args[..] else {
        // What certbot leaves behind its conditions.
        if directive.arg() != "404" && directive.arg() != "444" {
            seen.left
                .push(Left::new(directive, "Baton answers with what the app says"));
        }
        return;
    };
    let rest = ["https://", "http://", "$scheme://"]
        .iter()
        .find_map(|scheme| target.strip_prefix(scheme));
    let host = rest.map(|rest| {
        let end = rest.find(['/', '$']).unwrap_or(rest.len());
        rest.split_at(end)
    });
    let moved = matches!(status.as_str(), "301" | "302" | "307" | "308");
    match host {
        Some(("", rest)) if moved && same_place(rest) => {}
        Some((host, "$request_uri")) if moved => {
            for name in names.iter().filter(|name| *name != host) {
                let to = (host.to_ascii_lowercase(), directive.at.clone());
                seen.redirects.insert(name.clone(), to);
            }
        }
        _ => seen.left.push(Left::new(
            directive,
            "Baton redirects whole hosts (`redirect_hosts`) and to HTTPS, nothing else",
        )),
    }
}

fn same_place(rest: &str) -> bool {
    matches!(
        rest,
        "$host$request_uri" | "$server_name$request_uri" | "$http_host$request_uri"
    )
}

/// What certbot writes: `if ($host = www.example.com) { return 301 https://$host$request_uri; }`.
fn condition(directive: &Directive, seen: &mut Seen) {
    let words = directive.args.join(" ");
    let words = words.trim_start_matches('(').trim_end_matches(')').trim();
    let host = words.strip_prefix("$host = ").map(str::trim);
    match (host, &directive.block[..]) {
        (Some(host), [only]) if only.name == "return" => {
            sent_on(only, &[host.to_ascii_lowercase()], seen);
        }
        _ => seen
            .left
            .push(Left::new(directive, "Baton knows no conditions")),
    }
}

/// None: it leads to no app, and what it does is in what is left.
fn location(
    location: &Directive,
    mut site: Site,
    upstreams: &[&Directive],
    seen: &mut Seen,
) -> Option<Site> {
    let path = match &location.args[..] {
        [path] => path,
        [how, path] if how == "^~" => path,
        _ => {
            seen.left.push(Left::new(
                location,
                "Baton routes by host and path prefix, not by patterns or exact paths",
            ));
            return None;
        }
    };
    let Some(pass) = location.block.iter().find(|one| one.name == "proxy_pass") else {
        if let [only] = &location.block[..]
            && only.name == "return"
        {
            sent_on(only, &site.hosts, seen);
        } else if !path.starts_with("/.well-known/acme-challenge") {
            seen.left.push(Left::new(
                location,
                "it has no proxy_pass: Baton serves no files and answers nothing itself",
            ));
        }
        return None;
    };
    let (target, uri) = target(pass, upstreams, seen)?;
    site.target = target;
    site.path = match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    };
    match uri.as_str() {
        "" => {}
        "/" => site.strip_path = site.path != "/",
        uri if uri.trim_end_matches('/') == site.path => {}
        _ => seen.left.push(Left::new(
            pass,
            "Baton takes a prefix off a path (`strip_path`) and puts none on",
        )),
    }
    for directive in &location.block {
        match directive.name.as_str() {
            "proxy_pass" => {}
            "proxy_buffering" if directive.arg() == "off" => {
                site.unbuffered.push(site.path.clone());
            }
            "location" | "if" | "return" => seen.left.push(Left::new(
                directive,
                "inside of a location Baton knows nothing more",
            )),
            _ => fields::read(directive, &mut site.kept, seen),
        }
    }
    Some(site)
}

/// Where it leads to, and the path behind that.
fn target(pass: &Directive, upstreams: &[&Directive], seen: &mut Seen) -> Option<(Target, String)> {
    let mut leave = |why: &str| {
        seen.left.push(Left::new(pass, why));
        None
    };
    let Some(rest) = pass.arg().strip_prefix("http://") else {
        return leave("the app is reached over plain HTTP at an address or a service's name");
    };
    let (place, uri) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if place.contains('$') || place.starts_with("unix:") {
        return leave("where it leads is not written there");
    }
    let named = upstreams.iter().find(|upstream| upstream.arg() == place);
    let place = match named {
        None => place,
        Some(upstream) => {
            let mut servers = upstream.block.iter().filter(|one| one.name == "server");
            let Some(first) = servers.next() else {
                return leave("its upstream has no server");
            };
            for more in servers {
                seen.left.push(Left::new(
                    more,
                    "Baton runs the instances itself: say `deploy.replicas`",
                ));
            }
            for other in &upstream.block {
                if !matches!(
                    other.name.as_str(),
                    "server" | "keepalive" | "zone" | "keepalive_timeout" | "keepalive_requests"
                ) {
                    seen.left.push(Left::new(
                        other,
                        "Baton gives each request to the instance with the fewest",
                    ));
                }
            }
            first.arg()
        }
    };
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().unwrap_or(0)),
        _ => (place, 80),
    };
    let host = host.to_owned();
    Some((Target { host, port }, uri.to_owned()))
}

/// One place a target: locations below one that goes to the same app need nothing said of their own.
fn together(places: &mut Vec<Site>, place: Site, location: &Directive, seen: &mut Seen) {
    let Some(other) = places.iter_mut().find(|other| other.target == place.target) else {
        places.push(place);
        return;
    };
    let below = |outer: &str, inner: &str| outer == "/" || inner.starts_with(&format!("{outer}/"));
    let unbuffered = [other.unbuffered.clone(), place.unbuffered.clone()].concat();
    if other.strip_path == place.strip_path && below(&other.path, &place.path) {
        other.kept.widen(&place.kept);
        other.unbuffered = unbuffered;
    } else if other.strip_path == place.strip_path && below(&place.path, &other.path) {
        let kept = other.kept.clone();
        *other = place;
        other.kept.widen(&kept);
        other.unbuffered = unbuffered;
    } else {
        seen.left.push(Left::new(
            location,
            format!(
                "a service has one path in Baton, and {} goes there already",
                other.path
            ),
        ));
    }
}
