//! The request target and `Host` (RFC 9112 §3.2, RFC 9110 §7.2).

use super::refusal::Refusal;

/// What a request is for: the path with its query (or `*`), and the authority if the target named one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'b> {
    pub(super) path: &'b str,
    /// Scheme and authority of an absolute form.
    pub(super) absolute: Option<(Scheme, &'b str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// Takes a target apart. The authority form belongs to CONNECT alone and is refused with it; an absolute
/// form without a path but with a query (`http://a?b`) is refused too, since its origin form `/?b` is
/// nowhere in the buffer.
pub(super) fn parse<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    let parsed = if target.starts_with('/') || target == "*" {
        Target {
            path: target,
            absolute: None,
        }
    } else {
        absolute_form(method, target)?
    };
    if parsed.path == "*" {
        // RFC 9112 §3.2.4.
        return if method == "OPTIONS" {
            Ok(parsed)
        } else {
            Err(Refusal::InvalidTarget)
        };
    }
    if !is_path_and_query(parsed.path.as_bytes()) {
        return Err(Refusal::InvalidTarget);
    }
    Ok(parsed)
}

/// RFC 9112 §3.2.2; a server accepts it although only a proxy is sent it.
fn absolute_form<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    let (scheme, rest) = if let Some(rest) = strip_prefix_ignore_case(target, "http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = strip_prefix_ignore_case(target, "https://") {
        (Scheme::Https, rest)
    } else {
        return Err(Refusal::InvalidTarget);
    };
    let end = rest
        .bytes()
        .position(|byte| matches!(byte, b'/' | b'?'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !is_host(authority.as_bytes()) {
        return Err(Refusal::InvalidTarget);
    }
    let path = match path {
        "" if method == "OPTIONS" => "*",
        "" => "/",
        path if path.starts_with('/') => path,
        _ => return Err(Refusal::InvalidTarget),
    };
    Ok(Target {
        path,
        absolute: Some((scheme, authority)),
    })
}

fn strip_prefix_ignore_case<'b>(text: &'b str, prefix: &str) -> Option<&'b str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}

/// Printable ASCII, without what no browser sends bare (the percent-encode sets of the WHATWG URL standard, plus
/// the quote and the braces that JSON in a path is known to bring). RFC 3986 §3.3 has fewer, but then half of the
/// web's queries would be refused. hyper takes the same bytes.
fn is_path_and_query(bytes: &[u8]) -> bool {
    let (path, query) = match memchr::memchr(b'?', bytes) {
        Some(mark) => bytes.split_at(mark),
        None => (bytes, &[][..]),
    };
    path.iter()
        .all(|byte| TARGET[*byte as usize] & IN_PATH != 0)
        && query
            .iter()
            .all(|byte| TARGET[*byte as usize] & IN_QUERY != 0)
}

const IN_PATH: u8 = 1;
const IN_QUERY: u8 = 2;

const TARGET: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'#' | b'<' | b'>' => 0,
            b'`' => IN_QUERY,
            b'"' => IN_PATH,
            _ => IN_PATH | IN_QUERY,
        };
        byte += 1;
    }
    table
};

/// Whether both name the same authority. Case does not count, nor does writing the scheme's own port.
pub(super) fn same_authority(scheme: Scheme, absolute: &str, host: &str) -> bool {
    let default = match scheme {
        Scheme::Http => "80",
        Scheme::Https => "443",
    };
    let (one, one_port) = split_port(absolute);
    let (other, other_port) = split_port(host);
    one.eq_ignore_ascii_case(other) && one_port.unwrap_or(default) == other_port.unwrap_or(default)
}

/// A valid `Host` in its name (an IPv6 address keeps its brackets) and its port as written.
#[must_use]
pub fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => (&host[..colon], Some(&host[colon + 1..])),
        _ => (host, None),
    }
}

/// `uri-host [ ":" port ]`, of RFC 3986 only what names a machine: letters, digits, `-`, `.`, `_`, `~`, or an
/// address. Percent-encoding and sub-delimiters (`a,b`, `a;b`) are legal there and mean nothing but trouble.
pub(crate) fn is_host(bytes: &[u8]) -> bool {
    let (port_at, name_is_right) = if bytes.first() == Some(&b'[') {
        let Some(close) = memchr::memchr(b']', bytes) else {
            return false;
        };
        let address = std::str::from_utf8(&bytes[1..close]).ok();
        let right = address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        (close + 1, right)
    } else {
        let end = memchr::memchr(b':', bytes).unwrap_or(bytes.len());
        let name = &bytes[..end];
        let right = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
        (end, right && !name.is_empty())
    };
    name_is_right && is_port_part(&bytes[port_at..])
}

/// Nothing, or `:` and a port from 0 to 65535. RFC 3986 also knows `host:` without digits; no client does.
fn is_port_part(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b':', digits @ ..] if (1..=5).contains(&digits.len()) => {
            digits.iter().all(u8::is_ascii_digit)
                && digits
                    .iter()
                    .fold(0_u32, |port, digit| port * 10 + u32::from(digit - b'0'))
                    <= u32::from(u16::MAX)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in [
            "a",
            "a.b-c_d~e",
            "1.2.3.4",
            "a:0",
            "a:65535",
            "[::1]",
            "[::1]:80",
            "a.",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a:", "a:65536", "a:123456", "a:+1", "a:8 0", "a b", "u@a", "a:b@c", "a/b",
            "a?b", "a#b", "a,b", "a%41", "[::1", "[::1]x", "[::1]80", "[]", "[g::1]", "::1",
            "a\\b", "\u{e4}",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn authorities() {
        assert!(same_authority(Scheme::Http, "A.example", "a.EXAMPLE:80"));
        assert!(same_authority(Scheme::Https, "a:443", "a"));
        assert!(same_authority(Scheme::Http, "[::1]", "[::1]:80"));
        assert!(!same_authority(Scheme::Http, "a", "a:443"));
        assert!(!same_authority(Scheme::Http, "a", "b"));
        assert!(!same_authority(Scheme::Http, "[::1]:8", "[::1]"));
    }
}
