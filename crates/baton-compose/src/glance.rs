//! A first look at a compose file that knows nothing of Baton yet, and writing an `x-baton` into it.
//!
//! The file is read as it is typed, without Compose: variables stay as they are, and what a service has
//! from another file (`extends`, `include`) is not seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::error::{ComposeError, Problem};
use crate::files;
use crate::read::ReadOptions;
use crate::yaml;

/// The first file of the app, as typed.
#[derive(Debug, Clone)]
pub struct Glance {
    pub file: PathBuf,
    pub text: String,
    pub services: Vec<Seen>,
}

/// What one service says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    pub name: String,
    pub image: Option<String>,
    pub builds: bool,
    /// TCP ports inside the container that it exposes or publishes, each once.
    pub ports: Vec<u16>,
    /// Of those, by the port of the machine that leads there, where both are typed as numbers.
    pub published: BTreeMap<u16, u16>,
    /// As typed, variables and all.
    pub environment: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
    /// Places in the container that it may write to: named volumes and bind mounts.
    pub writes: Vec<String>,
    pub has_healthcheck: bool,
    pub has_x_baton: bool,
}

/// Looks at the first file that Compose would read here.
///
/// # Errors
/// There is none, it cannot be read, or it is no YAML.
pub fn glance(options: &ReadOptions) -> Result<Glance, ComposeError> {
    let located = files::locate(options)?;
    let first = located.files.into_iter().find(|file| file.path.is_some());
    let Some((file, source)) = first.and_then(|file| Some((file.path.clone()?, file))) else {
        return Err(
            Problem::new("-", "standard input cannot be changed; name a file with -f").into(),
        );
    };
    let text = std::fs::read_to_string(&file).map_err(|source| ComposeError::Unreadable {
        file: file.clone(),
        source,
    })?;
    let value = source
        .parsed
        .map_err(|detail| Problem::new("YAML", detail).in_file(&source.shown))?;
    let services = value.get("services").and_then(Value::as_object);
    let services = services.into_iter().flatten();
    Ok(Glance {
        file,
        text,
        services: services
            .map(|(name, service)| seen(name, service))
            .collect(),
    })
}

fn seen(name: &str, service: &Value) -> Seen {
    let list = |key: &str| {
        service
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    };
    let mut ports: Vec<u16> = Vec::new();
    for port in list("ports").chain(list("expose")).filter_map(target_port) {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    Seen {
        name: name.to_owned(),
        image: service
            .get("image")
            .and_then(Value::as_str)
            .map(str::to_owned),
        builds: service.get("build").is_some(),
        ports,
        published: list("ports").filter_map(published_port).collect(),
        environment: pairs(service.get("environment")),
        labels: pairs(service.get("labels")),
        writes: list("volumes").filter_map(writable).collect(),
        has_healthcheck: service.get("healthcheck").is_some(),
        has_x_baton: service.get("x-baton").is_some(),
    }
}

/// The port inside the container: `80`, `8080:80`, `127.0.0.1:8080:80/tcp`, `{target: 80}`.
fn target_port(port: &Value) -> Option<u16> {
    match port {
        Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
        Value::String(text) => {
            let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
            let target = text.rsplit(':').next()?;
            (protocol == "tcp").then(|| target.parse().ok()).flatten()
        }
        Value::Object(long) => match long.get("protocol").and_then(Value::as_str) {
            None | Some("tcp") => target_port(long.get("target")?),
            Some(_) => None,
        },
        _ => None,
    }
}

/// `8080:80`, `127.0.0.1:8080:80/tcp`, `{target: 80, published: "8080"}`; a variable's default counts.
fn published_port(port: &Value) -> Option<(u16, u16)> {
    let target = target_port(port)?;
    let published = match port {
        Value::String(text) => {
            let text = text.split('/').next()?;
            let (rest, _) = text.rsplit_once(':')?;
            let rest = rest.trim_end_matches('}');
            rest.rsplit([':', '-']).next()?.parse().ok()?
        }
        Value::Object(long) => match long.get("published")? {
            Value::String(text) => text.parse().ok()?,
            other => u16::try_from(other.as_u64()?).ok()?,
        },
        _ => return None,
    };
    Some((published, target))
}

/// A mapping, or a list of `NAME=value`.
fn pairs(value: Option<&Value>) -> BTreeMap<String, String> {
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    match value {
        Some(Value::Object(map)) => {
            let pairs = map.iter().map(|(name, value)| (name.clone(), plain(value)));
            pairs.collect()
        }
        Some(Value::Array(list)) => {
            let texts = list.iter().filter_map(Value::as_str);
            let pairs = texts.map(|text| text.split_once('=').unwrap_or((text, "")));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        }
        _ => BTreeMap::new(),
    }
}

/// Where the container may write what outlives it. A volume without a name does not outlive it.
fn writable(volume: &Value) -> Option<String> {
    match volume {
        Value::String(text) => {
            let parts: Vec<&str> = text.split(':').collect();
            let read_only = parts
                .get(2)
                .is_some_and(|mode| mode.split(',').any(|m| m == "ro"));
            (parts.len() > 1 && !read_only).then(|| parts[1].to_owned())
        }
        Value::Object(long) => {
            let read_only = long.get("read_only").and_then(Value::as_bool) == Some(true);
            let kind = long.get("type").and_then(Value::as_str);
            let lasts =
                long.get("source").is_some() && matches!(kind, None | Some("volume" | "bind"));
            let target = long.get("target").and_then(Value::as_str);
            target.filter(|_| lasts && !read_only).map(str::to_owned)
        }
        _ => None,
    }
}

/// The text with `lines` at the end of the service's block, indented as that block is; everything else
/// stays as it was typed. None where the service is not written as a block of its own (`api: {…}`), or
/// the result would mean anything but the file and these lines.
#[must_use]
pub fn insert(text: &str, service: &str, lines: &str) -> Option<String> {
    let (at, indent) = end_of_service(text, service)?;
    let mut block = String::new();
    for line in lines.lines() {
        block.push_str(&" ".repeat(if line.is_empty() { 0 } else { indent }));
        block.push_str(line);
        block.push('\n');
    }
    let (before, after) = text.split_at(at);
    let newline = if before.ends_with('\n') { "" } else { "\n" };
    let new = format!("{before}{newline}{block}{after}");
    means_the_same(text, &new, service, lines).then_some(new)
}

fn means_the_same(old: &str, new: &str, service: &str, lines: &str) -> bool {
    let (Ok(mut wanted), Ok(found), Ok(Value::Object(added))) =
        (yaml::parse(old), yaml::parse(new), yaml::parse(lines))
    else {
        return false;
    };
    let Some(Value::Object(block)) = wanted
        .pointer_mut("/services")
        .and_then(|s| s.get_mut(service))
    else {
        return false;
    };
    block.extend(added);
    wanted == found
}

/// Byte behind the last line of the service's block, and how far its keys are indented.
fn end_of_service(text: &str, service: &str) -> Option<(usize, usize)> {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let says_nothing = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    let mut place = Place::Above;
    let mut at = 0;
    let mut end = None;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if says_nothing(line) {
            continue;
        }
        let (key, here) = (key_of_block(line), depth(line));
        place = match place {
            Place::Above if here == 0 && key == Some("services") => Place::Services,
            Place::Services if here == 0 => return None,
            Place::Services if key == Some(service) => Place::Service(here),
            Place::Service(its) if here <= its => return end,
            Place::Service(its) => {
                let indent = end.map_or(here, |(_, indent)| indent);
                end = Some((at, indent));
                Place::Service(its)
            }
            other => other,
        };
    }
    end
}

#[derive(Clone, Copy)]
enum Place {
    Above,
    Services,
    /// In the service, whose name is indented so far.
    Service(usize),
}

/// The key of a line that opens a block: `api:`, `"api":  # comment`.
fn key_of_block(line: &str) -> Option<&str> {
    let line = line.split(" #").next().unwrap_or(line).trim();
    let key = line.strip_suffix(':')?;
    Some(key.trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FILE: &str = "name: shop\n\nservices:\n  # the API\n  api:\n    image: shop/api\n    ports:\n      - \"8080:8080\"\n\n  redis: # queue\n    image: redis:7\n\nvolumes:\n  data: {}\n";

    #[test]
    fn a_block_is_added_where_its_service_ends() {
        let new = insert(FILE, "api", "x-baton:\n  hosts: [\"*\"]\n").unwrap();
        assert_eq!(
            new,
            "name: shop\n\nservices:\n  # the API\n  api:\n    image: shop/api\n    ports:\n      - \"8080:8080\"\n    x-baton:\n      hosts: [\"*\"]\n\n  redis: # queue\n    image: redis:7\n\nvolumes:\n  data: {}\n"
        );
        let new = insert(FILE, "redis", "x-baton:\n  worker: true").unwrap();
        assert!(
            new.contains("image: redis:7\n    x-baton:\n      worker: true\n\nvolumes"),
            "{new}"
        );
        let last = insert(
            "services:\n    api:\n        image: a",
            "api",
            "x-baton: {}",
        )
        .unwrap();
        assert_eq!(
            last,
            "services:\n    api:\n        image: a\n        x-baton: {}\n"
        );
    }

    #[test]
    fn what_cannot_be_changed_safely_is_left_alone() {
        assert_eq!(
            insert("services:\n  api: { image: a }\n", "api", "x-baton: {}"),
            None
        );
        assert_eq!(
            insert("services: { api: { image: a } }\n", "api", "x-baton: {}"),
            None
        );
        assert_eq!(insert(FILE, "web", "x-baton: {}"), None);
        // A block of text at the end would swallow it.
        let text = "services:\n  api:\n    command: |\n      run\n     # no comment here\n";
        assert_eq!(insert(text, "api", "image: b\ncommand: c"), None);
    }

    #[test]
    fn a_service_is_seen_as_it_is_typed() {
        let service = json!({
            "image": "shop/api:${TAG}",
            "ports": ["127.0.0.1:80:8080/tcp", 9000, "53:53/udp", {"target": 8080, "published": "1"}],
            "expose": ["7000"],
            "environment": ["A=b=c", "D"],
            "volumes": ["data:/data", "./conf:/conf:ro", "/anonymous", {"type": "bind", "source": "x", "target": "/x"}],
            "healthcheck": {"test": "true"},
        });
        let seen = seen("api", &service);
        assert_eq!(seen.ports, [8080, 9000, 7000]);
        assert_eq!(seen.published, BTreeMap::from([(80, 8080), (1, 8080)]));
        assert_eq!(seen.environment["A"], "b=c");
        assert_eq!(seen.writes, ["/data", "/x"]);
        assert!(seen.has_healthcheck && !seen.has_x_baton && !seen.builds);
    }
}
