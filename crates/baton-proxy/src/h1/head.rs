//! Request and response heads, parsed with `httparse`, each field validated after it.

use std::mem::MaybeUninit;

use super::body::BodyLength;
use super::fields::{ConnectionOptions, Gathered, is_token, parse_field};
use super::lines::{self, Lines};
use super::refusal::Refusal;
use super::target;

/// One field of a head (`name: &str`, `value: &[u8]`); both parts lie in the connection's buffer. The name is
/// a token, the value has no white space around it, no control byte but tabs, and may hold bytes above 0x7f.
pub type Field<'b> = httparse::Header<'b>;

/// More fields than this are never taken, whatever the limits say.
pub const MAX_FIELDS: usize = 128;

/// Room for the fields of one head; nothing is written before it is used, so a new one costs nothing.
#[derive(Debug)]
pub struct FieldStore<'b>([MaybeUninit<Field<'b>>; MAX_FIELDS]);

impl FieldStore<'_> {
    /// Without fields.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_FIELDS])
    }
}

impl Default for FieldStore<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a head may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head, its empty line included. More: 431, or 414 when not even the first line ends.
    pub bytes: usize,
    /// Number of fields, at most [`MAX_FIELDS`]. More: 431.
    pub count: usize,
    /// Bytes of the request target. More: 414.
    pub target: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            bytes: 64 * 1024,
            count: 100,
            target: 16 * 1024,
        }
    }
}

/// The versions that are spoken; any other is refused (RFC 9112 §2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    Http11,
}

/// A request head that passed every rule. Borrowed from the buffer it was read into.
#[derive(Debug)]
pub struct RequestHead<'b, 'f> {
    /// A token, case kept; never CONNECT.
    pub method: &'b str,
    /// Origin form with its query (`/a?b`), or `*` for OPTIONS. An absolute form has been taken apart.
    pub target: &'b str,
    /// Host as sent (with port, if any), or the authority of an absolute target. Empty only in HTTP/1.0
    /// without either.
    pub host: &'b str,
    /// The client's own; the connection's behaviour depends on it.
    pub version: Version,
    /// All fields, in order, hop-by-hop ones included.
    pub fields: &'f [Field<'b>],
    /// How the body behind the head ends.
    pub body: BodyLength,
    /// The client wants to go on after this exchange.
    pub keep_alive: bool,
    /// For [`is_hop_by_hop`](super::is_hop_by_hop).
    pub connection: ConnectionOptions<'b>,
    /// `Connection: upgrade` with this `Upgrade` value, as sent. None when the request has a body: an upgrade
    /// may be ignored (RFC 9110 §7.8), and bytes of a body before a 101 are nobody's.
    pub upgrade: Option<&'b str>,
    /// The client waits for a 100 before it sends the body. Never set without a body or in HTTP/1.0.
    pub expect_continue: bool,
    /// Bytes of the buffer that the head took.
    pub length: usize,
}

/// A response head that passed every rule.
#[derive(Debug)]
pub struct ResponseHead<'b, 'f> {
    /// 100 to 999; every 1xx comes here too, 101 included: whether it was asked for is for the caller to know.
    pub status: u16,
    /// May be empty; is, when it has bytes above 0x7f.
    pub reason: &'b str,
    /// The upstream's own.
    pub version: Version,
    /// All fields, in order, hop-by-hop ones included.
    pub fields: &'f [Field<'b>],
    /// Settled with the request's method and the status (RFC 9112 §6.3).
    pub body: BodyLength,
    /// The upstream connection may be used again once the body has ended.
    pub keep_alive: bool,
    /// For [`is_hop_by_hop`](super::is_hop_by_hop).
    pub connection: ConnectionOptions<'b>,
    /// `Connection: upgrade` with this `Upgrade` value, as sent.
    pub upgrade: Option<&'b str>,
    /// Bytes of the buffer that the head took.
    pub length: usize,
}

/// A head may not be there whole yet.
#[derive(Debug)]
pub enum Parsed<T> {
    /// Nothing is wrong so far; call again with more bytes behind these.
    Partial,
    /// The head, with what it means.
    Complete(T),
}

/// Parses a request head at the start of `buf`. One empty line before it is passed over (RFC 9112 §2.2).
///
/// # Errors
/// The first rule that is broken; a prefix that is refused stays refused with more bytes.
pub fn parse_request<'b, 'f>(
    buf: &'b [u8],
    store: &'f mut FieldStore<'b>,
    limits: &HeadLimits,
) -> Result<Parsed<RequestHead<'b, 'f>>, Refusal> {
    let skipped = if buf.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(head) = whole_head(&buf[skipped..], limits)? else {
        return Ok(Parsed::Partial);
    };
    if head == b"\r\n" {
        return Err(Refusal::LeadingEmptyLines);
    }
    let mut request = httparse::Request::new(&mut []);
    let slots = &mut store.0[..limits.count.min(MAX_FIELDS)];
    httparse::ParserConfig::default()
        .parse_request_with_uninit_headers(&mut request, head, slots)
        .map_err(|error| why_request(error, head))?;
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Refusal::InvalidRequestLine);
    };
    check_request(
        Line {
            method,
            target,
            minor,
        },
        request.headers,
        limits,
        skipped + head.len(),
    )
    .map(Parsed::Complete)
}

struct Line<'b> {
    method: &'b str,
    target: &'b str,
    minor: u8,
}

fn check_request<'b, 'f>(
    line: Line<'b>,
    fields: &'f [Field<'b>],
    limits: &HeadLimits,
    length: usize,
) -> Result<RequestHead<'b, 'f>, Refusal> {
    if line.method == "CONNECT" {
        return Err(Refusal::Connect);
    }
    if line.target.len() > limits.target {
        return Err(Refusal::TargetTooLong);
    }
    let version = version(line.minor);
    let target = target::parse(line.method, line.target)?;
    let gathered = Gathered::from_fields(fields, true)?;
    let body = match (gathered.chunked, gathered.length) {
        (true, _) if version == Version::Http10 => return Err(Refusal::TransferEncodingInHttp10),
        (true, _) => BodyLength::Chunked,
        (false, None | Some(0)) => BodyLength::Empty,
        (false, Some(length)) => BodyLength::Length(length),
    };
    let host = match (target.absolute, gathered.host) {
        (_, None) if version == Version::Http11 => return Err(Refusal::MissingHost),
        (Some((scheme, authority)), Some(host))
            if !target::same_authority(scheme, authority, host) =>
        {
            return Err(Refusal::ContradictingHost);
        }
        (_, Some(host)) => host,
        (Some((_, authority)), None) => authority,
        (None, None) => "",
    };
    let has_body = body != BodyLength::Empty;
    Ok(RequestHead {
        method: line.method,
        target: target.path,
        host,
        version,
        fields,
        body,
        keep_alive: gathered.keep_alive(version),
        upgrade: gathered.upgrade(version).filter(|_| !has_body),
        expect_continue: gathered.expect_continue && has_body && version == Version::Http11,
        connection: gathered.connection,
        length,
    })
}

/// Parses a response head at the start of `buf`; `request_method` is that of the request it answers.
///
/// # Errors
/// The first rule that is broken; whatever it is, the upstream connection is of no more use.
pub fn parse_response<'b, 'f>(
    buf: &'b [u8],
    store: &'f mut FieldStore<'b>,
    limits: &HeadLimits,
    request_method: &str,
) -> Result<Parsed<ResponseHead<'b, 'f>>, Refusal> {
    let Some(head) = whole_head(buf, limits)? else {
        return Ok(Parsed::Partial);
    };
    let mut response = httparse::Response::new(&mut []);
    let slots = &mut store.0[..limits.count.min(MAX_FIELDS)];
    httparse::ParserConfig::default()
        .parse_response_with_uninit_headers(&mut response, head, slots)
        .map_err(|error| why_response(error, head))?;
    let (Some(status @ 100..), Some(minor)) = (response.code, response.version) else {
        return Err(Refusal::InvalidStatusLine);
    };
    let version = version(minor);
    let fields: &'f [Field<'b>] = response.headers;
    let gathered = Gathered::from_fields(fields, false)?;
    let body = response_body(&gathered, version, status, request_method)?;
    Ok(Parsed::Complete(ResponseHead {
        status,
        reason: response.reason.unwrap_or(""),
        version,
        fields,
        body,
        keep_alive: gathered.keep_alive(version) && body != BodyLength::UntilClose,
        upgrade: gathered.upgrade(version),
        connection: gathered.connection,
        length: head.len(),
    }))
}

/// RFC 9112 §6.3, rules 1 to 8.
fn response_body(
    gathered: &Gathered<'_>,
    version: Version,
    status: u16,
    request_method: &str,
) -> Result<BodyLength, Refusal> {
    if gathered.chunked && version == Version::Http10 {
        return Err(Refusal::TransferEncodingInHttp10);
    }
    if matches!(status, 100..=199 | 204) {
        // RFC 9110 §8.6 and RFC 9112 §6.1 forbid both fields here; `Content-Length: 0` does no harm.
        return if gathered.chunked || gathered.length.is_some_and(|length| length > 0) {
            Err(Refusal::ForbiddenContent)
        } else {
            Ok(BodyLength::Empty)
        };
    }
    Ok(match (gathered.chunked, gathered.length) {
        // What the fields say is what a GET would have brought.
        _ if status == 304 || request_method == "HEAD" => BodyLength::Empty,
        (true, _) => BodyLength::Chunked,
        (false, Some(0)) => BodyLength::Empty,
        (false, Some(length)) => BodyLength::Length(length),
        (false, None) => BodyLength::UntilClose,
    })
}

fn version(minor: u8) -> Version {
    if minor == 0 {
        Version::Http10
    } else {
        Version::Http11
    }
}

/// The bytes of a head, once it is there whole and within the limit.
fn whole_head<'b>(buf: &'b [u8], limits: &HeadLimits) -> Result<Option<&'b [u8]>, Refusal> {
    let window = &buf[..buf.len().min(limits.bytes)];
    match lines::find_end(window)? {
        Lines::End(end) => Ok(Some(&buf[..end])),
        Lines::Unfinished { .. } if buf.len() < limits.bytes => Ok(None),
        Lines::Unfinished { first_line: false } => Err(Refusal::TargetTooLong),
        Lines::Unfinished { first_line: true } => Err(Refusal::HeadTooLarge),
    }
}

/// `httparse` refuses every control byte and bare CR, wherever it stands, and says what kind of thing is wrong; this
/// says which rule.
#[cold]
fn why_request(error: httparse::Error, head: &[u8]) -> Refusal {
    if let Some(refusal) = lines::offence(head).or_else(|| why_fields(error, head)) {
        return refusal;
    }
    let line = first_line(head);
    let mut parts = line.split(|byte| *byte == b' ');
    let method = parts.next().unwrap_or_default();
    if !is_token(method) {
        return Refusal::InvalidMethod;
    }
    match (parts.next(), parts.next(), parts.next()) {
        (Some(target), Some(version), None) if !target.is_empty() => {
            if is_other_version(version) {
                Refusal::UnsupportedVersion
            } else if error == httparse::Error::Version {
                Refusal::InvalidRequestLine
            } else {
                Refusal::InvalidTarget
            }
        }
        _ => Refusal::InvalidRequestLine,
    }
}

#[cold]
fn why_response(error: httparse::Error, head: &[u8]) -> Refusal {
    if let Some(refusal) = lines::offence(head).or_else(|| why_fields(error, head)) {
        return refusal;
    }
    let version = first_line(head)
        .split(|byte| *byte == b' ')
        .next()
        .unwrap_or_default();
    if is_other_version(version) {
        Refusal::UnsupportedVersion
    } else {
        Refusal::InvalidStatusLine
    }
}

/// The rule that the field lines break, if it is they that `httparse` stumbled over.
fn why_fields(error: httparse::Error, head: &[u8]) -> Option<Refusal> {
    match error {
        httparse::Error::TooManyHeaders => return Some(Refusal::TooManyFields),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => {}
        _ => return None,
    }
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if let Err(refusal) = parse_field(line) {
            return Some(refusal);
        }
    }
    Some(Refusal::InvalidFieldName)
}

fn first_line(head: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\r', head).unwrap_or(head.len());
    &head[..end]
}

/// `HTTP/d.d`, but not one of ours.
fn is_other_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
        if major.is_ascii_digit() && minor.is_ascii_digit() && !(*major == b'1' && *minor <= b'1'))
}

/// Whether bytes start an HTTP/2 connection with prior knowledge (RFC 9113 §3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    /// It is something else: HTTP/1, or nonsense.
    No,
    /// So far it is one.
    Partial,
    /// All 24 bytes are there.
    Yes,
}

/// Looks for the HTTP/2 client preface at the start of a connection.
#[must_use]
pub fn starts_with_h2_preface(buf: &[u8]) -> Preface {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    if buf.starts_with(PREFACE) {
        Preface::Yes
    } else if PREFACE.starts_with(buf) {
        Preface::Partial
    } else {
        Preface::No
    }
}
