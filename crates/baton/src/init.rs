//! What a first `x-baton` says, from what the compose file shows.

use std::fmt::Write;

use baton_compose::glance::{Glance, Seen};

/// Images that are no app of the user's: Compose goes on caring for them.
const PARTS: [&str; 24] = [
    "adminer",
    "caddy",
    "clickhouse",
    "elasticsearch",
    "grafana",
    "haproxy",
    "httpd",
    "kafka",
    "keydb",
    "mailhog",
    "mariadb",
    "memcached",
    "minio",
    "mongo",
    "mysql",
    "nats",
    "nginx",
    "opensearch",
    "postgres",
    "prometheus",
    "rabbitmq",
    "redis",
    "traefik",
    "valkey",
];

/// What the user says, in place of what would be seen.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// Empty: those that can only be meant.
    pub services: Vec<String>,
    pub hosts: Vec<String>,
    pub health: Option<String>,
}

/// One `x-baton`, and what to know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub service: String,
    /// YAML lines, not indented.
    pub lines: String,
    pub remarks: Vec<String>,
}

/// The services that are to get one.
///
/// # Errors
/// Which one is meant cannot be seen, or it has one; with what to type.
pub fn choose<'a>(glance: &'a Glance, said: &Said) -> Result<Vec<&'a Seen>, String> {
    let names = |seen: &[&Seen]| {
        let names: Vec<&str> = seen.iter().map(|one| one.name.as_str()).collect();
        names.join(", ")
    };
    let all: Vec<&Seen> = glance.services.iter().collect();
    let mut chosen = Vec::new();
    for name in &said.services {
        let found = all.iter().find(|one| one.name == *name);
        chosen.push(
            *found.ok_or_else(|| {
                format!("there is no service {name}; the file has {}", names(&all))
            })?,
        );
    }
    if chosen.is_empty() {
        let apps = all.iter().copied().filter(|one| !is_part(one));
        let taking: Vec<&Seen> = apps
            .filter(|one| !one.ports.is_empty() || one.has_x_baton)
            .collect();
        match taking[..] {
            [only] => chosen.push(only),
            [] => {
                return Err(format!(
                    "which service takes the traffic? none has `ports` or `expose`; say `baton init SERVICE` (there are {})",
                    names(&all)
                ));
            }
            _ => {
                return Err(format!(
                    "which service is to be deployed? say `baton init SERVICE`: {}",
                    names(&taking)
                ));
            }
        }
    }
    if let Some(done) = chosen.iter().find(|one| one.has_x_baton) {
        return Err(format!(
            "services.{} has an `x-baton` already; `baton check` shows what it does",
            done.name
        ));
    }
    Ok(chosen)
}

/// A database, a cache, a proxy: by the name of its image.
fn is_part(seen: &Seen) -> bool {
    let image = seen.image.as_deref().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split([':', '@']).next().unwrap_or_default();
    !seen.builds && PARTS.contains(&name)
}

/// What the service's section would be.
#[must_use]
pub fn draft(seen: &Seen, said: &Said) -> Draft {
    let mut lines = String::from("x-baton:\n");
    let mut remarks = Vec::new();
    // Writing to a String cannot fail.
    let mut add = |line: String| {
        let _ = writeln!(lines, "  {line}");
    };

    let hosts = if said.hosts.is_empty() {
        hosts_of(seen)
    } else {
        said.hosts.clone()
    };
    if hosts.is_empty() {
        add("hosts: [\"*\"]   # every host; with your own: [api.example.com]".to_owned());
    } else {
        add(format!("hosts: {}", flow(&hosts)));
    }
    match seen.ports[..] {
        [_] => {}
        [] => remarks
            .push("it exposes no port: write `port:` (where it listens) into x-baton".to_owned()),
        [first, ..] => {
            add(format!("port: {first}   # of {}", listed(&seen.ports)));
        }
    }
    match &said.health {
        Some(path) => add(format!("health: {{ path: {} }}", quoted(path))),
        None if seen.has_healthcheck => {}
        None => remarks.push(
            "it has no health check: it counts as ready when it takes a connection; better, `health: { path: /healthz }`"
                .to_owned(),
        ),
    }
    if let Some(file) = sqlite(seen) {
        add(format!(
            "overlap: never   # {file}: two copies would write to one database file"
        ));
        add("max_wait: 60s   # requests are held while it restarts".to_owned());
    } else if !seen.writes.is_empty() {
        remarks.push(format!(
            "both colors share {} while one takes over from the other; where only one may write there, say `overlap: never`",
            seen.writes.join(", ")
        ));
    }
    redis(seen, &mut add, &mut remarks);
    Draft {
        service: seen.name.clone(),
        lines,
        remarks,
    }
}

/// Hosts that another proxy is told by: nginx-proxy's variable, Traefik's rule.
fn hosts_of(seen: &Seen) -> Vec<String> {
    let from_variable = seen
        .environment
        .get("VIRTUAL_HOST")
        .into_iter()
        .flat_map(|hosts| hosts.split(','));
    let rules = seen
        .labels
        .iter()
        .filter(|(name, _)| name.starts_with("traefik.") && name.ends_with(".rule"));
    let from_rules = rules
        .flat_map(|(_, rule)| rule.split("Host(").skip(1))
        .filter_map(|rest| {
            let inside = rest.split(')').next()?;
            Some(
                inside
                    .split(',')
                    .map(|host| host.trim().trim_matches(['`', '"', '\''])),
            )
        });
    let mut hosts: Vec<String> = Vec::new();
    for host in from_variable.chain(from_rules.flatten()) {
        let host = host.trim();
        let plain = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-*".contains(&byte));
        if plain && !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    hosts
}

/// The variable or place that says that the app keeps an SQLite database where it writes.
fn sqlite(seen: &Seen) -> Option<String> {
    if seen.writes.is_empty() {
        return None;
    }
    let of_variable = seen.environment.iter().find(|(_, value)| {
        let value = value.to_ascii_lowercase();
        value.contains("sqlite") || value.ends_with(".db")
    });
    let of_place = || {
        let place = seen
            .writes
            .iter()
            .find(|place| place.contains("sqlite") || place.ends_with(".db"));
        place.cloned()
    };
    of_variable.map(|(name, _)| name.clone()).or_else(of_place)
}

/// Redis Streams, when the environment names key and group.
fn redis(seen: &Seen, add: &mut impl FnMut(String), remarks: &mut Vec<String>) {
    let named = |part: &str| {
        let mut keys = seen.environment.iter();
        keys.find(|(name, _)| name.contains(part))
    };
    let url = seen.environment.iter().find(|(name, value)| {
        name.contains("REDIS") && (value.starts_with("redis://") || value.starts_with("rediss://"))
    });
    let (Some((url, _)), Some((key, key_value)), Some((group, group_value))) =
        (url, named("STREAM"), named("GROUP"))
    else {
        return;
    };
    let colored = |value: &str| value.contains("${BATON_COLOR");
    if colored(key_value) && colored(group_value) {
        add("redis:".to_owned());
        add(format!("  url_env: {url}"));
        add(format!(
            "  streams: [{{ key_env: {key}, group_env: {group} }}]"
        ));
    } else {
        remarks.push(format!(
            "{key} and {group} look like a Redis stream: so that no color takes the other's messages, write \
             `{key}: {key_value}-${{BATON_COLOR:-blue}}` (and {group} likewise), and into x-baton \
             `redis: {{ url_env: {url}, streams: [{{ key_env: {key}, group_env: {group} }}] }}`"
        ));
    }
}

/// A list of YAML on one line.
#[must_use]
pub fn flow(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A plain scalar where that is one.
#[must_use]
pub fn quoted(text: &str) -> String {
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"./-_".contains(&byte));
    let starts = text
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'/');
    if plain && starts {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

fn listed(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, image: &str, ports: &[u16]) -> Seen {
        Seen {
            name: name.into(),
            image: Some(image.into()),
            ports: ports.to_vec(),
            ..Seen::default()
        }
    }

    fn glance(services: Vec<Seen>) -> Glance {
        Glance {
            file: "compose.yaml".into(),
            text: String::new(),
            services,
        }
    }

    fn chosen(services: Vec<Seen>, said: &[&str]) -> Result<Vec<String>, String> {
        let said = Said {
            services: said.iter().map(|name| (*name).to_owned()).collect(),
            ..Said::default()
        };
        let glance = glance(services);
        choose(&glance, &said).map(|all| all.iter().map(|one| one.name.clone()).collect())
    }

    #[test]
    fn the_only_app_is_chosen_and_parts_are_not() {
        let shop = || {
            vec![
                seen("api", "registry.example/shop/api:${TAG}", &[8080]),
                seen("redis", "redis:7", &[6379]),
                seen("db", "library/postgres@sha256:1", &[5432]),
            ]
        };
        assert_eq!(chosen(shop(), &[]).unwrap(), ["api"]);
        assert_eq!(chosen(shop(), &["redis"]).unwrap(), ["redis"]);
        insta::assert_snapshot!(chosen(shop(), &["web"]).unwrap_err(), @"there is no service web; the file has api, redis, db");
        let two = vec![seen("api", "a", &[1]), seen("web", "b", &[2])];
        insta::assert_snapshot!(chosen(two, &[]).unwrap_err(), @"which service is to be deployed? say `baton init SERVICE`: api, web");
        let none = vec![seen("api", "a", &[])];
        insta::assert_snapshot!(chosen(none, &[]).unwrap_err(), @"which service takes the traffic? none has `ports` or `expose`; say `baton init SERVICE` (there are api)");
        let done = Seen {
            has_x_baton: true,
            ..seen("api", "a", &[1])
        };
        insta::assert_snapshot!(chosen(vec![done], &[]).unwrap_err(), @"services.api has an `x-baton` already; `baton check` shows what it does");
    }

    #[test]
    fn what_can_be_seen_is_written() {
        let mut api = seen("api", "a", &[8080, 9090]);
        api.environment = [
            ("REDIS_URL", "redis://redis:6379"),
            ("ORDERS_STREAM", "orders-${BATON_COLOR:-blue}"),
            ("ORDERS_GROUP", "api-${BATON_COLOR:-blue}"),
            ("DATABASE_URL", "sqlite:///data/app.db"),
            ("VIRTUAL_HOST", "shop.example.com,www.shop.example.com"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        api.writes = vec!["/data".into()];
        let draft = draft(&api, &Said::default());
        insta::assert_snapshot!(draft.lines, @r"
        x-baton:
          hosts: [shop.example.com, www.shop.example.com]
          port: 8080   # of 8080, 9090
          overlap: never   # DATABASE_URL: two copies would write to one database file
          max_wait: 60s   # requests are held while it restarts
          redis:
            url_env: REDIS_URL
            streams: [{ key_env: ORDERS_STREAM, group_env: ORDERS_GROUP }]
        ");
        insta::assert_debug_snapshot!(draft.remarks, @r#"
        [
            "it has no health check: it counts as ready when it takes a connection; better, `health: { path: /healthz }`",
        ]
        "#);
    }

    #[test]
    fn what_the_user_says_wins_and_what_is_unclear_is_said() {
        let mut api = seen("api", "a", &[8080]);
        api.labels = [(
            "traefik.http.routers.x.rule".to_owned(),
            "Host(`a.example`) && PathPrefix(`/`)".to_owned(),
        )]
        .into();
        api.writes = vec!["/uploads".into()];
        api.environment = [
            ("REDIS_URL", "redis://r"),
            ("KEY_STREAM", "s"),
            ("THE_GROUP", "g"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let draft = self::draft(&api, &Said::default());
        assert_eq!(draft.lines, "x-baton:\n  hosts: [a.example]\n");
        assert_eq!(draft.remarks.len(), 3, "{:?}", draft.remarks);
        let said = Said {
            hosts: vec!["*.example.com".into()],
            health: Some("/up".into()),
            ..Said::default()
        };
        assert_eq!(
            self::draft(&api, &said).lines,
            "x-baton:\n  hosts: [\"*.example.com\"]\n  health: { path: /up }\n"
        );
    }
}
