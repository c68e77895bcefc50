//! Response heads. What is refused here becomes a 502 for the client, whatever `status` says.

use baton_proxy::h1::{
    BodyLength, FieldStore, HeadLimits, Parsed, Refusal, ResponseHead, parse_response,
};
use proptest::prelude::*;

use super::{Row, check_row, first_verdict};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    count: 8,
    target: 64,
};

const fn no(refusal: Refusal) -> Option<(Refusal, u16)> {
    Some((refusal, refusal.status()))
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("RFC 9112 §4", b"HTTP/1.1 200 OK\r\n\r\n", None),
    ("RFC 9112 §4", b"HTTP/1.1 200 \r\n\r\n", None),
    ("RFC 9112 §4", b"HTTP/1.1 200\r\n\r\n", None),
    ("RFC 9112 §4", b"HTTP/1.1 200 Alles\tgut \xe4\r\n\r\n", None),
    ("RFC 9112 §4", b"HTTP/1.1 099 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"HTTP/1.1 20 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"HTTP/1.1 2000 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"HTTP/1.1 2OO OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"HTTP/1.1  200 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"HTTP/1.1\t200 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"ICY 200 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §4", b"\r\nHTTP/1.1 200 OK\r\n\r\n", no(Refusal::InvalidStatusLine)),
    ("RFC 9112 §2.3", b"HTTP/2.0 200 OK\r\n\r\n", no(Refusal::UnsupportedVersion)),
    ("RFC 9112 §2.3", b"HTTP/1.2 200 OK\r\n\r\n", no(Refusal::UnsupportedVersion)),
    ("RFC 9110 §5.5", b"HTTP/1.1 200 O\x01K\r\n\r\n", no(Refusal::ControlByte)),
    ("RFC 9110 §5.5", b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", no(Refusal::ControlByte)),
    ("RFC 9112 §2.2", b"HTTP/1.1 200 OK\nX: a\r\n\r\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"HTTP/1.1 200 OK\r\nX: a\r\n\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", no(Refusal::BareCarriageReturn)),
    ("RFC 9112 §5.2", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", no(Refusal::FoldedLine)),
    ("RFC 9112 §5.1", b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", no(Refusal::SpaceBeforeColon)),
    ("RFC 9112 §5.1", b"HTTP/1.1 200 OK\r\nX\r\n\r\n", no(Refusal::MissingColon)),
    ("RFC 9110 §5.1", b"HTTP/1.1 200 OK\r\nX@: a\r\n\r\n", no(Refusal::InvalidFieldName)),
    ("RFC 9110 §5.4", b"HTTP/1.1 200 OK\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:\r\nI:\r\n\r\n", no(Refusal::TooManyFields)),
    ("RFC 9110 §7.6.1", b"HTTP/1.1 200 OK\r\nConnection: set-cookie\r\n\r\n", no(Refusal::NominatedEndToEnd)),

    ("RFC 9112 §6.1", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::LengthAndTransferEncoding)),
    ("RFC 9112 §6.3", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", no(Refusal::RepeatedLength)),
    ("RFC 9110 §8.6", b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n", no(Refusal::InvalidLength)),
    ("RFC 9110 §8.6", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", no(Refusal::InvalidLength)),
    ("RFC 9110 §8.6", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", no(Refusal::LengthOverflow)),
    ("RFC 9112 §6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", no(Refusal::UnknownTransferEncoding)),
    ("RFC 9112 §6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", no(Refusal::UnknownTransferEncoding)),
    ("RFC 9112 §6.3", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::RepeatedTransferEncoding)),
    ("RFC 9112 §6.1", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::TransferEncodingInHttp10)),

    ("RFC 9112 §6.3", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    ("RFC 9112 §6.3", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", None),
    ("RFC 9112 §6.3", b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n", no(Refusal::ForbiddenContent)),
    ("RFC 9112 §6.3", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::ForbiddenContent)),
    ("RFC 9112 §6.3", b"HTTP/1.1 100 Continue\r\n\r\n", None),
    ("RFC 9112 §6.3", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", None),
    ("RFC 9112 §6.3", b"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n", no(Refusal::ForbiddenContent)),
    ("RFC 9112 §6.3", b"HTTP/1.1 101 Switching Protocols\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::ForbiddenContent)),
    ("RFC 9112 §6.3", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", None),
    ("RFC 9112 §6.1", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", None),
];

fn judge(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut store = FieldStore::new();
    Ok(match parse_response(bytes, &mut store, &LIMITS, "GET")? {
        Parsed::Partial => None,
        Parsed::Complete(head) => Some(head.length),
    })
}

#[test]
fn every_rule_however_the_bytes_arrive() {
    for row in ROWS {
        let bytes = row.1;
        check_row(
            row,
            judge(bytes).map(|length| assert_eq!(length, Some(bytes.len()))),
        );
        let slowly = first_verdict(bytes, 0..bytes.len(), judge);
        check_row(
            row,
            slowly.map(|length| assert_eq!(length, Some(bytes.len()))),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_in_random_pieces(index in 0..ROWS.len(), pieces in prop::collection::vec(1_usize..40, 0..40)) {
        let row = &ROWS[index];
        let bytes = row.1;
        let ends = pieces.iter().scan(0, |end, piece| { *end += piece; Some(*end) });
        let ends = ends.take_while(|end| *end < bytes.len());
        check_row(row, first_verdict(bytes, ends, judge).map(drop));
    }
}

fn with_head(bytes: &[u8], method: &str, look: impl FnOnce(&ResponseHead<'_, '_>)) {
    let mut store = FieldStore::new();
    match parse_response(bytes, &mut store, &LIMITS, method) {
        Ok(Parsed::Complete(head)) => look(&head),
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    }
}

/// RFC 9112 §6.3 (how the body ends) and §9.3 (whether the connection can be used again).
#[test]
fn how_the_body_ends_and_whether_the_connection_goes_on() {
    use BodyLength::{Chunked, Empty, Length, UntilClose};
    let rows: [(&str, &[u8], BodyLength, bool); 19] = [
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            true,
        ),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            Empty,
            true,
        ),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Chunked,
            true,
        ),
        ("GET", b"HTTP/1.1 200 OK\r\n\r\n", UntilClose, false),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
            UntilClose,
            false,
        ),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            false,
        ),
        (
            "HEAD",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Empty,
            true,
        ),
        (
            "HEAD",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Empty,
            true,
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", Empty, true),
        (
            "GET",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Empty,
            true,
        ),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", Empty, true),
        ("GET", b"HTTP/1.1 100 Continue\r\n\r\n", Empty, true),
        (
            "POST",
            b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
            Empty,
            true,
        ),
        (
            "POST",
            b"HTTP/1.1 205 Reset Content\r\n\r\n",
            UntilClose,
            false,
        ),
        (
            "GET",
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
            Length(5),
            false,
        ),
        (
            "GET",
            b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
            Length(5),
            true,
        ),
        (
            "GET",
            b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
            UntilClose,
            false,
        ),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\n", UntilClose, false),
        (
            "GET",
            b"HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\n\r\n",
            Empty,
            true,
        ),
    ];
    for (method, bytes, body, keep_alive) in rows {
        with_head(bytes, method, |head| {
            assert_eq!(
                (head.body, head.keep_alive),
                (body, keep_alive),
                "{method} {}",
                bytes.escape_ascii()
            );
        });
    }
}

#[test]
fn a_head_says_what_was_sent() {
    let bytes = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00";
    with_head(bytes, "GET", |head| {
        assert_eq!(
            (head.status, head.reason, head.upgrade),
            (101, "Switching Protocols", Some("websocket"))
        );
        assert_eq!((head.fields.len(), head.length), (2, bytes.len() - 2));
    });
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let endless = [b"HTTP/1.1 200 OK\r\nX: ".as_slice(), &[b'a'; 600]].concat();
    assert_eq!(judge(&endless), Err(Refusal::HeadTooLarge));
    assert_eq!(judge(&endless[..500]), Ok(None));
}
