//! `baton import nginx`: what an nginx `server` block says, as an `x-baton` and the daemon's settings.
//!
//! | module | does |
//! | --- | --- |
//! | [`parse`] | nginx's language, `include` and all |
//! | [`server`] | servers and locations → hosts, paths, targets, certificates |
//! | [`fields`] | one directive: carried over, done by Baton anyway, or left with its line |

mod fields;
mod parse;
mod server;

use std::fmt::Write;
use std::path::Path;

use baton_compose::glance::{Glance, Seen as Service};

use self::server::{Left, Seen, Site, Target};
use crate::init::{self, Said, flow, quoted};

/// nginx's own limit of a request's body where nothing is said.
const NGINX_BODY: u64 = 1 << 20;

/// Baton's own of a body that stands still, in seconds.
const BATON_IDLE: u64 = 300;

/// What comes of a configuration.
#[derive(Debug)]
pub struct Imported {
    pub drafts: Vec<init::Draft>,
    /// Lines of `baton.toml`.
    pub settings: String,
    /// Not carried over: where it stands, what it says, why.
    pub left: Vec<(String, String, String)>,
}

/// Reads `file` for the services of a compose file.
///
/// # Errors
/// It cannot be read, or nothing in it leads to a service; with what to do.
pub fn nginx(file: &Path, glance: &Glance) -> Result<Imported, String> {
    let list = parse::read(file)?;
    // A part of a configuration: locations without a server.
    let mut seen = server::look(&list);
    let mut found: Vec<(&Service, u16, Site)> = Vec::new();
    for site in std::mem::take(&mut seen.sites) {
        match service(glance, &site.target) {
            Some((service, port)) => merge(&mut found, (service, port, site), &mut seen),
            None => seen.left.push(Left {
                at: site.at.clone(),
                what: format!(
                    "proxy_pass http://{}:{}",
                    site.target.host, site.target.port
                ),
                why: format!(
                    "no service of {} publishes this port",
                    glance
                        .file
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                ),
            }),
        }
    }
    if found.is_empty() {
        return Err(format!(
            "{}: no `server` block of it leads to a service of {}{}",
            file.display(),
            glance.file.display(),
            seen.left
                .iter()
                .map(|left| format!("; {}: {}: {}", left.at, left.what, left.why))
                .collect::<String>()
        ));
    }
    if let Some((service, ..)) = found.iter().find(|(service, ..)| service.has_x_baton) {
        return Err(format!(
            "services.{} has an `x-baton` already; take it out, or compare it with what this prints for a copy without it",
            service.name
        ));
    }
    let drafts = found
        .iter()
        .map(|(service, port, site)| draft(service, *port, site, &seen))
        .collect();
    lonely_redirects(&found, &mut seen);
    seen.left.sort();
    Ok(Imported {
        drafts,
        settings: settings(&seen),
        left: seen
            .left
            .iter()
            .map(|left| (left.at.to_string(), left.what.clone(), left.why.clone()))
            .collect(),
    })
}

/// The service that publishes the port on this machine, or that is called so in its network; and the
/// port inside of its container.
fn service<'a>(glance: &'a Glance, target: &Target) -> Option<(&'a Service, u16)> {
    let by_name = glance
        .services
        .iter()
        .find(|service| service.name == target.host)
        .map(|service| (service, target.port));
    by_name.or_else(|| {
        glance.services.iter().find_map(|service| {
            let inside = service.published.get(&target.port)?;
            Some((service, *inside))
        })
    })
}

/// A service has one `x-baton`: sites that lead to one are joined where they say the same.
fn merge<'a>(
    found: &mut Vec<(&'a Service, u16, Site)>,
    new: (&'a Service, u16, Site),
    seen: &mut Seen,
) {
    let Some((_, port, known)) = found
        .iter_mut()
        .find(|(service, ..)| service.name == new.0.name)
    else {
        found.push(new);
        return;
    };
    let (_, new_port, site) = new;
    if (*port, &known.path, known.strip_path) == (new_port, &site.path, site.strip_path) {
        for host in site.hosts {
            if !known.hosts.contains(&host) {
                known.hosts.push(host);
            }
        }
        known.certificate = known.certificate.take().or(site.certificate);
        known.kept.widen(&site.kept);
        known.unbuffered.extend(site.unbuffered);
    } else {
        seen.left.push(Left {
            at: site.at,
            what: format!("{} at {}", site.hosts.join(", "), site.path),
            why: format!(
                "services.{} has one port and one path in Baton: {} at {}",
                new.0.name, port, known.path
            ),
        });
    }
}

fn draft(service: &Service, port: u16, site: &Site, seen: &Seen) -> init::Draft {
    let hosts: Vec<String> = site
        .hosts
        .iter()
        .filter(|host| !seen.redirects.contains_key(*host) || site.hosts.len() == 1)
        .cloned()
        .collect();
    let said = Said {
        hosts: hosts.clone(),
        ..Said::default()
    };
    // Its port is known, so that none has to be chosen.
    let one_port = Service {
        ports: vec![port],
        ..service.clone()
    };
    let init::Draft {
        mut lines,
        mut remarks,
        ..
    } = init::draft(&one_port, &said);
    let mut add = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(lines, "  {line}");
    };
    if service.ports != [port] {
        add(format!("port: {port}"));
    }
    let redirected = seen.redirects.iter();
    let redirected =
        redirected.filter(|(from, (to, _))| hosts.contains(to) && !hosts.contains(from));
    let redirected: Vec<String> = redirected.map(|(from, _)| from.clone()).collect();
    if !redirected.is_empty() {
        add(format!("redirect_hosts: {}", flow(&redirected)));
    }
    if site.path != "/" {
        add(format!("path: {}", quoted(&site.path)));
    }
    if site.strip_path {
        add("strip_path: true".to_owned());
    }
    if let Some((cert, key)) = &site.certificate {
        let text = |path: &Path| quoted(&path.display().to_string());
        add(format!(
            "tls: {{ cert: {}, key: {} }}",
            text(cert),
            text(key)
        ));
        if cert.starts_with("/etc/letsencrypt") {
            remarks.push("certbot goes on renewing the certificate: give it `--deploy-hook 'systemctl reload baton'`, so that Baton reads it again".to_owned());
        }
    }
    limits(site, &mut add);
    if let Some(users) = site.kept.basic_auth() {
        let users = users.iter().map(|(user, hash)| {
            let hash = serde_json::Value::from(hash.replace('$', "$$"));
            format!("{}: {hash}", quoted(user))
        });
        let users: Vec<String> = users.collect();
        add(format!("basic_auth: {{ {} }}", users.join(", ")));
    }
    if !site.kept.allow.is_empty() {
        add(format!("allow: {}", flow(&site.kept.allow)));
    }
    for path in &site.unbuffered {
        let path = path.trim_end_matches('/');
        remarks.push(format!(
            "{}: nginx does not buffer it: if these are event streams, `sse: [{{ path: \"{path}/**\", mode: union }}]` hands them over in a deploy; `baton observe` says which mode fits",
            if path.is_empty() { "/" } else { path }
        ));
    }
    init::Draft {
        service: service.name.clone(),
        lines,
        remarks,
    }
}

/// As narrow and as patient as nginx was.
fn limits(site: &Site, add: &mut impl FnMut(String)) {
    let mut each = Vec::new();
    let body = site.kept.body.unwrap_or(NGINX_BODY);
    if body > 0 {
        each.push(format!("body: {}", bytes(body)));
    }
    if let Some(idle) = site.kept.idle.filter(|idle| *idle > BATON_IDLE) {
        each.push(format!("idle: {idle}s"));
    }
    if each.is_empty() {
        return;
    }
    let why = match site.kept.body {
        None => "   # nginx's own limit; 0: none",
        Some(_) => "",
    };
    add(format!("limits: {{ {} }}{why}", each.join(", ")));
}

fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let fits = units.iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    fits.map_or_else(
        || bytes.to_string(),
        |(unit, name)| format!("{}{name}", bytes / unit),
    )
}

/// Hosts that are sent to where no service is.
fn lonely_redirects(found: &[(&Service, u16, Site)], seen: &mut Seen) {
    let known = |host: &String| found.iter().any(|(_, _, site)| site.hosts.contains(host));
    for (from, (to, at)) in &seen.redirects {
        if !known(to) {
            seen.left.push(Left {
                at: at.clone(),
                what: format!("{from} is sent to {to}"),
                why: "Baton redirects to hosts of its own apps".to_owned(),
            });
        }
    }
}

/// `/etc/baton/baton.toml`
fn settings(seen: &Seen) -> String {
    let mut text = String::new();
    for (key, list) in [("http", &seen.http), ("https", &seen.https)] {
        let list = addresses(list);
        let value = if list.is_empty() {
            "\"off\"".to_owned()
        } else {
            serde_json::Value::from(list).to_string()
        };
        let _ = writeln!(text, "{key} = {value}");
    }
    if !seen.trusted.is_empty() {
        let mut all = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
        all.extend(seen.trusted.iter().cloned());
        let _ = writeln!(text, "trusted-proxy = {}", serde_json::Value::from(all));
    }
    text
}

/// `[::]:80` takes IPv4 as well.
fn addresses(list: &[String]) -> Vec<String> {
    let both = |address: &String| match address.strip_prefix("0.0.0.0:") {
        Some(port) => list.contains(&format!("[::]:{port}")),
        None => false,
    };
    let each = list.iter().filter(|address| !both(address));
    each.cloned().collect()
}

#[cfg(test)]
mod tests;
