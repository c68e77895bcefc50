//! What single fields say: how a message is framed, what `Connection` asks for, what is not passed on.

use super::head::{Field, Version};
use super::refusal::Refusal;

/// Lengths beyond this are refused: 2^63-1, what fits a signed file offset everywhere behind us.
pub const MAX_LENGTH: u64 = i64::MAX as u64;

/// Meant for every recipient, or relied on by what stands behind us: naming one in `Connection` would have
/// us drop it (RFC 9110 §7.6.1).
const NEVER_NOMINATED: [&str; 19] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "location",
    "range",
    "set-cookie",
    "transfer-encoding",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// What all `Connection` fields of a head say together (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionOptions<'b> {
    /// The connection ends after this exchange.
    pub close: bool,
    /// Asked for by HTTP/1.0; says nothing in 1.1.
    pub keep_alive: bool,
    /// Whatever `Upgrade` holds; a head's `upgrade` has both.
    pub upgrade: bool,
    /// The values that nominate fields, as they were sent. Clients need one; a head with more than two is refused.
    nominating: [&'b str; 2],
}

impl<'b> ConnectionOptions<'b> {
    /// The other names in the list: fields that are for this connection only.
    pub fn nominated(&self) -> impl Iterator<Item = &'b str> {
        self.nominating
            .into_iter()
            .flat_map(|value| value.split(','))
            .map(|option| option.trim_matches([' ', '\t']))
            .filter(|option| !option.is_empty() && KnownOption::of(option).is_none())
    }

    /// Whether `name` is nominated; the case of letters does not count.
    #[must_use]
    pub fn nominates(&self, name: &str) -> bool {
        !self.nominating[0].is_empty()
            && self
                .nominated()
                .any(|nominated| nominated.eq_ignore_ascii_case(name))
    }

    fn add(&mut self, value: &'b [u8]) -> Result<(), Refusal> {
        let value = std::str::from_utf8(value).map_err(|_| Refusal::InvalidConnection)?;
        let mut nominates = false;
        for option in value
            .split(',')
            .map(|option| option.trim_matches([' ', '\t']))
        {
            match KnownOption::of(option) {
                _ if option.is_empty() => {}
                Some(KnownOption::Close) => self.close = true,
                Some(KnownOption::KeepAlive) => self.keep_alive = true,
                Some(KnownOption::Upgrade) => self.upgrade = true,
                None if !is_token(option.as_bytes()) => return Err(Refusal::InvalidConnection),
                None if NEVER_NOMINATED
                    .iter()
                    .any(|never| option.eq_ignore_ascii_case(never)) =>
                {
                    return Err(Refusal::NominatedEndToEnd);
                }
                None => nominates = true,
            }
        }
        if nominates {
            let free = self.nominating.iter_mut().find(|value| value.is_empty());
            *free.ok_or(Refusal::InvalidConnection)? = value;
        }
        Ok(())
    }
}

enum KnownOption {
    Close,
    KeepAlive,
    Upgrade,
}

impl KnownOption {
    fn of(option: &str) -> Option<Self> {
        match option.len() {
            5 if option.eq_ignore_ascii_case("close") => Some(Self::Close),
            7 if option.eq_ignore_ascii_case("upgrade") => Some(Self::Upgrade),
            10 if option.eq_ignore_ascii_case("keep-alive") => Some(Self::KeepAlive),
            _ => None,
        }
    }
}

/// The fields that decide about framing and the connection, gathered in one walk over a head.
#[derive(Debug, Default)]
pub(super) struct Gathered<'b> {
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) host: Option<&'b str>,
    pub(super) connection: ConnectionOptions<'b>,
    /// The one `Upgrade` field. Several of them are as good as none (RFC 9110 §7.8 lets a server ignore it).
    pub(super) upgrade: Option<&'b str>,
    upgrades: usize,
    pub(super) expect_continue: bool,
}

impl<'b> Gathered<'b> {
    /// Walks over the fields of a request or a response; `Host` and `Expect` mean nothing in the latter.
    pub(super) fn from_fields(fields: &[Field<'b>], is_request: bool) -> Result<Self, Refusal> {
        let mut gathered = Self::default();
        for field in fields {
            gathered.take(field, is_request)?;
        }
        if gathered.length.is_some() && gathered.chunked {
            return Err(Refusal::LengthAndTransferEncoding);
        }
        if gathered.upgrades > 1 {
            gathered.upgrade = None;
        }
        Ok(gathered)
    }

    fn take(&mut self, field: &Field<'b>, is_request: bool) -> Result<(), Refusal> {
        let name = field.name;
        if is_request && is_disguised(name) {
            return Err(Refusal::DisguisedField);
        }
        // By length first: most fields of a head are none of these.
        match name.len() {
            4 if is_request && name.eq_ignore_ascii_case("host") => self.take_host(field.value),
            6 if is_request && name.eq_ignore_ascii_case("expect") => {
                if !field.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::UnknownExpectation);
                }
                self.expect_continue = true;
                Ok(())
            }
            7 if name.eq_ignore_ascii_case("upgrade") => {
                self.upgrades += 1;
                self.upgrade = std::str::from_utf8(field.value)
                    .ok()
                    .filter(|value| !value.is_empty());
                Ok(())
            }
            10 if name.eq_ignore_ascii_case("connection") => self.connection.add(field.value),
            14 if name.eq_ignore_ascii_case("content-length") => {
                if self.length.replace(parse_length(field.value)?).is_some() {
                    return Err(Refusal::RepeatedLength);
                }
                Ok(())
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if std::mem::replace(&mut self.chunked, true) {
                    return Err(Refusal::RepeatedTransferEncoding);
                }
                if field.value.eq_ignore_ascii_case(b"chunked") {
                    Ok(())
                } else {
                    Err(Refusal::UnknownTransferEncoding)
                }
            }
            _ => Ok(()),
        }
    }

    fn take_host(&mut self, value: &'b [u8]) -> Result<(), Refusal> {
        if self.host.is_some() {
            return Err(Refusal::RepeatedHost);
        }
        if !super::target::is_host(value) {
            return Err(Refusal::InvalidHost);
        }
        self.host = Some(std::str::from_utf8(value).map_err(|_| Refusal::InvalidHost)?);
        Ok(())
    }

    /// RFC 9112 §9.3: 1.1 goes on unless told otherwise, 1.0 only when asked. `close` wins.
    pub(super) fn keep_alive(&self, version: Version) -> bool {
        !self.connection.close && (version == Version::Http11 || self.connection.keep_alive)
    }

    /// Both halves of an upgrade, which HTTP/1.0 does not have (RFC 9110 §7.8).
    pub(super) fn upgrade(&self, version: Version) -> Option<&'b str> {
        self.upgrade
            .filter(|_| self.connection.upgrade && version == Version::Http11)
    }
}

/// `1*DIGIT`, not above [`MAX_LENGTH`]. A list of equal numbers, which RFC 9110 §8.6 lets a recipient repair,
/// is refused.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::InvalidLength);
    }
    value
        .iter()
        .try_fold(0_u64, |length, digit| {
            length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|length| *length <= MAX_LENGTH)
        .ok_or(Refusal::LengthOverflow)
}

/// A field that is for one connection and never passed on as it is (RFC 9110 §7.6.1): the known ones, and
/// those that this head's `Connection` nominates.
#[must_use]
pub fn is_hop_by_hop(name: &str, connection: &ConnectionOptions<'_>) -> bool {
    let known = match name.len() {
        2 => name.eq_ignore_ascii_case("te"),
        7 => name.eq_ignore_ascii_case("upgrade"),
        10 => name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive"),
        16 => name.eq_ignore_ascii_case("proxy-connection"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    };
    known || connection.nominates(name)
}

/// A name that is one of those we set or frame by once `_` is read as `-`. Servers that hand fields to the app as
/// CGI variables (RFC 3875 §4.1.18: WSGI, PHP, Rack) see no difference, so `X_Forwarded_For` would slip past the
/// `X-Forwarded-For` that we replace.
#[must_use]
pub fn is_disguised(name: &str) -> bool {
    const OURS: [&str; 7] = [
        "content-length",
        "transfer-encoding",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-real-ip",
    ];
    let same = |ours: &str| {
        ours.len() == name.len()
            && ours.bytes().zip(name.bytes()).all(|(ours, byte)| {
                byte.to_ascii_lowercase() == ours || (byte == b'_' && ours == b'-')
            })
    };
    matches!(name.len(), 9 | 14..=17) && name.contains('_') && OURS.into_iter().any(same)
}

/// `Content-Length` and `Transfer-Encoding`: what is sent on states its own framing.
#[must_use]
pub fn is_framing(name: &str) -> bool {
    match name.len() {
        14 => name.eq_ignore_ascii_case("content-length"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    }
}

/// Fields that a trailer section may not hold: framing, routing, request modifiers, authentication and what
/// says how to read the content (RFC 9110 §6.5.1). They are refused, not dropped: who sends them hopes for a
/// recipient that merges them into the head.
#[must_use]
pub fn is_forbidden_trailer(name: &str) -> bool {
    const ALSO: [&str; 14] = [
        "age",
        "date",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "retry-after",
        "trailer",
        "www-authenticate",
    ];
    is_hop_by_hop(name, &ConnectionOptions::default())
        || NEVER_NOMINATED
            .iter()
            .chain(&ALSO)
            .any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}

/// One field line without its CRLF, whose bytes are known to hold no control. The white space around the value
/// is no part of it (RFC 9112 §5.1).
pub(super) fn parse_field(line: &[u8]) -> Result<Field<'_>, Refusal> {
    let colon = memchr::memchr(b':', line).ok_or(Refusal::MissingColon)?;
    let name = &line[..colon];
    if matches!(name.last(), Some(b' ' | b'\t')) {
        return Err(Refusal::SpaceBeforeColon);
    }
    if !is_token(name) {
        return Err(Refusal::InvalidFieldName);
    }
    let name = std::str::from_utf8(name).map_err(|_| Refusal::InvalidFieldName)?;
    Ok(Field {
        name,
        value: line[colon + 1..].trim_ascii(),
    })
}

/// The elements of a comma-separated list, without the white space around them; empty ones are left out
/// (RFC 9110 §5.6.1.2). Quoted strings are not known: use it for lists of tokens only.
pub fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// Whether bytes are a token, as methods and field names are (RFC 9110 §5.6.2).
#[must_use]
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"007"), Ok(7));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(MAX_LENGTH));
        for overflow in [
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999999",
        ] {
            assert_eq!(
                parse_length(overflow.as_bytes()),
                Err(Refusal::LengthOverflow),
                "{overflow}"
            );
        }
        for bad in [
            "", "+1", "-1", "1,1", "1, 1", "0x1", "1 ", "1.0", "1e3", "a", "1_0",
        ] {
            assert_eq!(
                parse_length(bad.as_bytes()),
                Err(Refusal::InvalidLength),
                "{bad}"
            );
        }
    }

    #[test]
    fn lists() {
        let all: Vec<_> = tokens(b" a ,,\tb,c d, ").collect();
        assert_eq!(all, [&b"a"[..], b"b", b"c d"]);
    }

    #[test]
    fn nominated_fields_are_hop_by_hop() {
        let mut options = ConnectionOptions::default();
        options.add(b"Close, X-Secret ,te").unwrap();
        assert!(options.close && !options.keep_alive);
        assert!(options.nominated().eq(["X-Secret", "te"]));
        assert!(is_hop_by_hop("x-secret", &options));
        assert!(is_hop_by_hop("Transfer-encoding", &options));
        assert!(!is_hop_by_hop("Content-Length", &options));
        assert_eq!(options.add(b"hOst"), Err(Refusal::NominatedEndToEnd));
        assert_eq!(options.add(b"a b"), Err(Refusal::InvalidConnection));
        assert_eq!(options.add(b"keep-alive"), Ok(()));
        assert_eq!(options.add(b"1,2,3,4,5,6,7"), Ok(()));
        assert_eq!(options.add(b"8"), Err(Refusal::InvalidConnection));
    }
}
