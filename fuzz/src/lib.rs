//! What must hold for every input of the HTTP/1.1 codec and of the framing of server-sent events, whoever sends it.
//!
//! Both are taken in as source: they stand on nothing else of the proxy.
#![forbid(unsafe_code)]

#[path = "../../crates/baton-proxy/src/h1/mod.rs"]
pub mod h1;
/// What must hold for event streams is shared with the tests.
#[path = "../../crates/baton-proxy/tests/sse_rules/invariants.rs"]
mod invariants;
#[path = "../../crates/baton-proxy/tests/sse_rules/reference.rs"]
mod reference;
#[path = "../../crates/baton-proxy/src/sse/mod.rs"]
pub mod sse;
mod streams;

pub use streams::{sse_framer, sse_union};

use h1::{
    ChunkedDecoder, Decoded, Field, FieldStore, HeadLimits, Parsed, Refusal, RequestHead,
    ResponseHead, Version, parse_request, parse_response, trailer_fields, write_field,
    write_last_chunk,
};

/// Small enough that a fuzzer finds the edges.
const LIMITS: HeadLimits = HeadLimits {
    bytes: 1024,
    count: 16,
    target: 256,
};

/// A request head is judged alike however it arrives, and one that is taken means the same when it is
/// written anew.
pub fn request_head(input: &[u8]) {
    arrives_in_any_pieces(input, |bytes| {
        let mut store = FieldStore::new();
        parse_request(bytes, &mut store, &LIMITS).map(|parsed| outcome(&parsed, |head| head.length))
    });
    let mut store = FieldStore::new();
    let Ok(Parsed::Complete(head)) = parse_request(input, &mut store, &LIMITS) else {
        return;
    };
    assert!(head.length <= input.len().min(LIMITS.bytes + 2));
    assert!(head.target.starts_with('/') || head.target == "*");
    assert_eq!(
        head.host.is_empty(),
        head.host.is_empty() && head.version == Version::Http10
    );
    for field in head.fields {
        is_clean(field);
    }

    let anew = write_request(&head);
    let mut store = FieldStore::new();
    let roomy = HeadLimits {
        bytes: 4096,
        count: 17,
        ..LIMITS
    };
    let Ok(Parsed::Complete(again)) = parse_request(&anew, &mut store, &roomy) else {
        panic!("refused when written anew: {}", anew.escape_ascii());
    };
    assert_eq!(
        (head.method, head.target, head.host, head.version, head.body),
        (
            again.method,
            again.target,
            again.host,
            again.version,
            again.body
        )
    );
    assert_eq!(
        (
            head.keep_alive,
            head.upgrade,
            head.expect_continue,
            head.connection
        ),
        (
            again.keep_alive,
            again.upgrade,
            again.expect_continue,
            again.connection
        )
    );
    same_fields(
        head.fields,
        &again.fields[again.fields.len() - head.fields.len()..],
    );
}

/// The same for a response head; the first byte chooses the method of its request.
pub fn response_head(input: &[u8]) {
    let Some((choice, input)) = input.split_first() else {
        return;
    };
    let method = ["GET", "HEAD", "POST"][usize::from(choice % 3)];
    arrives_in_any_pieces(input, |bytes| {
        let mut store = FieldStore::new();
        parse_response(bytes, &mut store, &LIMITS, method)
            .map(|parsed| outcome(&parsed, |head| head.length))
    });
    let mut store = FieldStore::new();
    let Ok(Parsed::Complete(head)) = parse_response(input, &mut store, &LIMITS, method) else {
        return;
    };
    assert!(head.length <= input.len().min(LIMITS.bytes));
    assert!((100..1000).contains(&head.status));
    assert!(head.reason.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)));
    for field in head.fields {
        is_clean(field);
    }

    let anew = write_response(&head);
    let mut store = FieldStore::new();
    let roomy = HeadLimits {
        bytes: 4096,
        ..LIMITS
    };
    let Ok(Parsed::Complete(again)) = parse_response(&anew, &mut store, &roomy, method) else {
        panic!("refused when written anew: {}", anew.escape_ascii());
    };
    assert_eq!(
        (
            head.status,
            head.reason,
            head.version,
            head.body,
            head.keep_alive,
            head.upgrade,
            head.connection
        ),
        (
            again.status,
            again.reason,
            again.version,
            again.body,
            again.keep_alive,
            again.upgrade,
            again.connection
        )
    );
    same_fields(head.fields, again.fields);
}

/// A chunked body is the same body, or the same refusal, however it arrives. The first byte says in which
/// pieces.
pub fn chunked(input: &[u8]) {
    let Some((seed, input)) = input.split_first() else {
        return;
    };
    let whole = decode(input, input.len().max(1));
    for piece in [1, 2, 3, 7, usize::from(*seed).max(1)] {
        let pieces = decode(input, piece);
        assert_eq!(
            whole,
            pieces,
            "in pieces of {piece}: {}",
            input.escape_ascii()
        );
    }
    let Ok(Body {
        data,
        trailers,
        consumed: Some(_),
    }) = whole
    else {
        return;
    };

    let mut anew = Vec::new();
    for piece in data.chunks(usize::from(*seed).max(1)) {
        anew.extend_from_slice(&h1::chunk_head(piece.len() as u64));
        anew.extend_from_slice(piece);
        anew.extend_from_slice(b"\r\n");
    }
    let fields = trailer_fields(&trailers).map(|field| field.expect("validated by the decoder"));
    write_last_chunk(&mut anew, fields.inspect(is_clean));
    let again = decode(&anew, anew.len()).expect("what was written is well formed");
    assert_eq!(again.data, data);
    assert_eq!(again.consumed, Some(anew.len()));
    let values = |section: &[u8]| -> Vec<Vec<u8>> {
        trailer_fields(section)
            .map(|field| field.expect("validated").value.to_vec())
            .collect()
    };
    assert_eq!(values(&again.trailers), values(&trailers));
}

#[derive(Debug, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<u8>,
    /// None: the body has not ended.
    consumed: Option<usize>,
}

/// Feeds a decoder as a connection does: what is left unconsumed is shown again with `piece` bytes more.
fn decode(input: &[u8], piece: usize) -> Result<Body, Refusal> {
    let mut decoder = ChunkedDecoder::new();
    let mut body = Body {
        data: Vec::new(),
        trailers: Vec::new(),
        consumed: None,
    };
    let (mut start, mut end) = (0, 0);
    loop {
        match decoder.decode(&input[start..end])? {
            Decoded::Data { consumed, data } => {
                assert!(!data.is_empty() && data.end == consumed);
                body.data.extend_from_slice(&input[start..end][data]);
                start += consumed;
            }
            Decoded::NeedMore { consumed } => {
                start += consumed;
                if end == input.len() {
                    return Ok(body);
                }
                end = (end + piece).min(input.len());
            }
            Decoded::End { consumed, trailers } => {
                assert!(decoder.is_done());
                body.trailers = input[start..end][trailers].to_vec();
                body.consumed = Some(start + consumed);
                return Ok(body);
            }
        }
    }
}

/// None while partial, else the bytes that the head took.
fn outcome<T>(parsed: &Parsed<T>, length: impl Fn(&T) -> usize) -> Option<usize> {
    match parsed {
        Parsed::Partial => None,
        Parsed::Complete(head) => Some(length(head)),
    }
}

/// The first prefix that has a verdict has the verdict of the whole.
fn arrives_in_any_pieces(input: &[u8], judge: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>) {
    let whole = judge(input);
    let input = &input[..input.len().min(LIMITS.bytes + 64)];
    let step = 1 + input.len() / 128;
    for end in (0..input.len()).step_by(step) {
        match judge(&input[..end]) {
            Ok(None) => {}
            verdict => {
                assert_eq!(
                    verdict,
                    whole,
                    "after {end} bytes of {}",
                    input.escape_ascii()
                );
                return;
            }
        }
    }
}

fn is_clean(field: &Field<'_>) {
    assert!(h1::fields::is_token(field.name.as_bytes()));
    assert!(
        field
            .value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
    );
    assert_eq!(field.value, field.value.trim_ascii());
}

fn same_fields(one: &[Field<'_>], other: &[Field<'_>]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        assert_eq!((one.name, one.value), (other.name, other.value));
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    }
}

fn write_request(head: &RequestHead<'_, '_>) -> Vec<u8> {
    let mut out = format!(
        "{} {} {}\r\n",
        head.method,
        head.target,
        version(head.version)
    )
    .into_bytes();
    let has_host = head
        .fields
        .iter()
        .any(|field| field.name.eq_ignore_ascii_case("host"));
    if !has_host && !head.host.is_empty() {
        write_field(&mut out, "Host", head.host.as_bytes());
    }
    for field in head.fields {
        write_field(&mut out, field.name, field.value);
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn write_response(head: &ResponseHead<'_, '_>) -> Vec<u8> {
    let mut out = format!(
        "{} {} {}\r\n",
        version(head.version),
        head.status,
        head.reason
    )
    .into_bytes();
    for field in head.fields {
        write_field(&mut out, field.name, field.value);
    }
    out.extend_from_slice(b"\r\n");
    out
}
