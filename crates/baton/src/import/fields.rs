//! One directive of a server or a location: carried over, done by Baton anyway, or left with its line.

use std::collections::BTreeMap;

use super::parse::Directive;
use super::server::{Left, Seen};

/// What is carried over of one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// `client_max_body_size` in bytes; None: nginx's own limit of 1 MiB.
    pub body: Option<u64>,
    /// `proxy_read_timeout` in seconds.
    pub idle: Option<u64>,
    pub users: BTreeMap<String, String>,
    asks: bool,
    pub allow: Vec<String>,
}

impl Kept {
    /// Wide enough for both.
    pub fn widen(&mut self, other: &Kept) {
        const USUAL: u64 = 1 << 20;
        let (own, its) = (self.body.unwrap_or(USUAL), other.body.unwrap_or(USUAL));
        if self.body.is_some() || other.body.is_some() {
            self.body = Some(if own == 0 || its == 0 {
                0
            } else {
                own.max(its)
            });
        }
        self.idle = self.idle.max(other.idle);
    }
}

/// What Baton does without a word, or what says nothing to it.
const ANYWAY: &[&str] = &[
    "http2",
    "proxy_http_version",
    "proxy_redirect",
    "proxy_cache_bypass",
    "proxy_request_buffering",
    "proxy_socket_keepalive",
    "proxy_next_upstream",
    "chunked_transfer_encoding",
    "ssl_protocols",
    "ssl_ciphers",
    "ssl_prefer_server_ciphers",
    "ssl_session_cache",
    "ssl_session_timeout",
    "ssl_session_tickets",
    "ssl_dhparam",
    "ssl_ecdh_curve",
    "ssl_stapling",
    "ssl_stapling_verify",
    "ssl_trusted_certificate",
    "ssl_buffer_size",
    "resolver",
    "resolver_timeout",
    "keepalive_requests",
    "server_tokens",
    "tcp_nodelay",
    "tcp_nopush",
    "sendfile",
    "log_not_found",
    "real_ip_header",
    "real_ip_recursive",
    "server_names_hash_bucket_size",
    "reset_timedout_connection",
    "client_body_buffer_size",
    "proxy_buffers",
];

const STARTS: [&str; 2] = ["proxy_buffer", "proxy_busy"];

/// Header fields that Baton sets towards the app, with the values that mean the same.
fn is_set_anyway(name: &str, value: &str) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "host" | "x-forwarded-host" => {
            matches!(value, "$host" | "$http_host" | "$host:$server_port")
        }
        "x-real-ip" => value == "$remote_addr",
        "x-forwarded-for" => matches!(value, "$proxy_add_x_forwarded_for" | "$remote_addr"),
        "x-forwarded-proto" => matches!(value, "$scheme" | "https"),
        "upgrade" => value == "$http_upgrade",
        "connection" => true,
        _ => false,
    }
}

/// Into `kept`, or into what is left.
pub fn read(directive: &Directive, kept: &mut Kept, seen: &mut Seen) {
    let arg = directive.arg();
    let mut leave = |why: &str| seen.left.push(Left::new(directive, why));
    match directive.name.as_str() {
        "client_max_body_size" => match size(arg) {
            Some(bytes) => kept.body = Some(bytes),
            None => leave("the size cannot be read"),
        },
        "proxy_read_timeout" => match seconds(arg) {
            Some(seconds) => kept.idle = Some(seconds),
            None => leave("the time cannot be read"),
        },
        "proxy_set_header" => {
            let value = directive.args.get(1).map_or("", String::as_str);
            if !is_set_anyway(arg, value) {
                leave("Baton adds no field of one's own: let the app do it");
            }
        }
        "auth_basic" => kept.asks = arg != "off",
        "auth_basic_user_file" => users(directive, kept, seen),
        "allow" if arg != "all" => kept.allow.push(arg.to_owned()),
        "allow" => {}
        "deny" if arg == "all" => {}
        "deny" => leave("Baton knows who may come in (`allow`), not who may not"),
        "set_real_ip_from" => seen.trusted.push(arg.to_owned()),
        "include" if arg.ends_with("proxy_params") => {}
        "include" => leave("the file is not there"),
        "add_header" | "more_set_headers" => {
            leave("Baton adds nothing to answers: let the app do it")
        }
        "gzip" | "brotli" if arg == "off" => {}
        "access_log" | "error_log" => leave("Baton has a log of its own"),
        "ssl_protocols"
            if directive
                .args
                .iter()
                .any(|one| matches!(one.as_str(), "TLSv1" | "TLSv1.1" | "SSLv3")) =>
        {
            leave("Baton speaks TLS 1.2 and newer");
        }
        "proxy_connect_timeout"
        | "proxy_send_timeout"
        | "keepalive_timeout"
        | "client_header_timeout"
        | "client_body_timeout"
        | "send_timeout" => {
            leave("Baton has times of its own (`limits.idle`, `max_wait`)");
        }
        "error_page" => leave("Baton's own pages are `baton maintenance` and the app's"),
        name if name.starts_with("gzip") || name.starts_with("brotli") => {
            leave("Baton does not compress: let the app do it");
        }
        name if name.starts_with("limit_") => {
            leave("Baton limits connections for each client, not requests")
        }
        "root" | "index" | "alias" | "try_files" => leave("Baton serves no files"),
        name if ANYWAY.contains(&name) || STARTS.iter().any(|start| name.starts_with(start)) => {}
        _ => leave("Baton has nothing like it"),
    }
}

/// `20m`
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale: u64 = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(scale)
}

/// `90`, `60s`, `5m`, `1h 30m`
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(unit.len());
        sum += match &unit[..end] {
            "" | "s" => number,
            "ms" => number / 1000,
            "m" => number * 60,
            "h" => number * 3600,
            "d" => number * 86_400,
            _ => return None,
        };
        rest = &unit[end..];
    }
    (!text.is_empty()).then_some(sum)
}

/// Only bcrypt is carried over.
fn users(directive: &Directive, kept: &mut Kept, seen: &mut Seen) {
    let file = std::path::Path::new(directive.arg());
    let folders = directive.at.file.ancestors().skip(1).take(3);
    let mut texts = folders.filter_map(|folder| std::fs::read_to_string(folder.join(file)).ok());
    let Some(text) = texts.next() else {
        let why =
            "the file cannot be read: write its users into `basic_auth`, or everybody may come in";
        seen.left.push(Left::new(directive, why));
        return;
    };
    for line in text.lines().map(str::trim) {
        let Some((user, hash)) = line.split_once(':').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        if hash.starts_with("$2") {
            kept.users.insert(user.to_owned(), hash.to_owned());
        } else {
            seen.left.push(Left {
                what: format!("user {user} of {}", directive.arg()),
                ..Left::new(directive, "its hash is no bcrypt: make one with `htpasswd -nbB`, or nobody comes in as this user")
            });
        }
    }
}

impl Kept {
    /// Users that are asked for.
    pub fn basic_auth(&self) -> Option<&BTreeMap<String, String>> {
        (self.asks && !self.users.is_empty()).then_some(&self.users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_nginx_s() {
        assert_eq!(size("20m"), Some(20 << 20));
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("1x"), None);
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("300"), Some(300));
        assert_eq!(seconds("5w"), None);
    }
}
