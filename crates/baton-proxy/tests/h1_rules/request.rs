//! Request heads.

use baton_proxy::h1::{
    BodyLength, FieldStore, HeadLimits, Parsed, Preface, Refusal, RequestHead, Version,
    is_hop_by_hop, parse_request, starts_with_h2_preface,
};
use proptest::prelude::*;

use super::{Row, check_row, first_verdict};

const LIMITS: HeadLimits = HeadLimits {
    bytes: 512,
    count: 8,
    target: 64,
};

const fn no(refusal: Refusal, status: u16) -> Option<(Refusal, u16)> {
    Some((refusal, status))
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // -- lines
    ("RFC 9112 §2.2", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §2.2", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::LeadingEmptyLines, 400)),
    ("RFC 9112 §2.2", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::BareLineFeed, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n", no(Refusal::BareLineFeed, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\n\r\n", no(Refusal::BareLineFeed, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\n", no(Refusal::BareLineFeed, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\rHost: a\r\n\r\n", no(Refusal::BareCarriageReturn, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", no(Refusal::BareCarriageReturn, 400)),
    ("RFC 9112 §2.2", b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", no(Refusal::BareCarriageReturn, 400)),
    ("RFC 9112 §5.2", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", no(Refusal::FoldedLine, 400)),
    ("RFC 9112 §5.2", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", no(Refusal::FoldedLine, 400)),
    ("RFC 9112 §5.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", no(Refusal::FoldedLine, 400)),
    ("RFC 9112 §5.2", b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", no(Refusal::FoldedLine, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", no(Refusal::ControlByte, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x01\r\n\r\n", no(Refusal::ControlByte, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x7fc\r\n\r\n", no(Refusal::ControlByte, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\x0bc\r\n\r\n", no(Refusal::ControlByte, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\tc \xe4\xff\r\n\r\n", None),
    // A TLS client that meets a plain port is told so at once.
    ("RFC 9110 §5.5", b"\x16\x03\x01\x02\x00\x01", no(Refusal::ControlByte, 400)),

    // -- request line
    ("RFC 9110 §9.1", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidMethod, 400)),
    ("RFC 9110 §9.1", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidMethod, 400)),
    ("RFC 9110 §9.1", b"G\xc3\xa4T / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidMethod, 400)),
    ("RFC 9110 §9.1", b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3", b"GET /\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9110 §9.1", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidMethod, 400)),
    ("RFC 9112 §3", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET / http/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET / HTTP/11\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §3", b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidRequestLine, 400)),
    ("RFC 9112 §2.3", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", no(Refusal::UnsupportedVersion, 505)),
    ("RFC 9112 §2.3", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", no(Refusal::UnsupportedVersion, 505)),
    ("RFC 9112 §2.3", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", no(Refusal::UnsupportedVersion, 505)),
    ("RFC 9112 §2.3", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", no(Refusal::UnsupportedVersion, 505)),
    ("RFC 9110 §9.3.6", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", no(Refusal::Connect, 501)),

    // -- target
    ("RFC 9112 §3.2.1", b"GET /a%20b?c=d&e={f}|[g] HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2.1", b"GET /\"{}|^\\[]?`{}|^\\[]'?/ HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2", b"GET /` HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /?\" HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3", b"GET /aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::TargetTooLong, 414)),
    ("RFC 9112 §3.2.2", b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2.2", b"GET HTTP://A:80/b HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2.2", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2", b"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2.2", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::ContradictingHost, 400)),
    ("RFC 9112 §3.2.2", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::ContradictingHost, 400)),
    ("RFC 9112 §3.2", b"GET http://a/ HTTP/1.1\r\n\r\n", no(Refusal::MissingHost, 400)),
    ("RFC 9112 §3.2.2", b"GET http://a/ HTTP/1.0\r\n\r\n", None),
    ("RFC 9112 §3.2.4", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2.4", b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ("RFC 9112 §3.2", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),
    ("RFC 9112 §3.2", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", no(Refusal::InvalidTarget, 400)),

    // -- Host
    ("RFC 9112 §3.2", b"GET / HTTP/1.1\r\n\r\n", no(Refusal::MissingHost, 400)),
    ("RFC 9112 §3.2", b"GET / HTTP/1.0\r\n\r\n", None),
    ("RFC 9112 §3.2", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", no(Refusal::RepeatedHost, 400)),
    ("RFC 9112 §3.2", b"GET / HTTP/1.0\r\nHost: a\r\nhOST: b\r\n\r\n", no(Refusal::RepeatedHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", no(Refusal::InvalidHost, 400)),
    ("RFC 9110 §7.2", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", None),

    // -- fields
    ("RFC 9112 §5.1", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", no(Refusal::SpaceBeforeColon, 400)),
    ("RFC 9112 §5.1", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", no(Refusal::SpaceBeforeColon, 400)),
    ("RFC 9112 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", no(Refusal::MissingColon, 400)),
    ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", no(Refusal::InvalidFieldName, 400)),
    ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", no(Refusal::InvalidFieldName, 400)),
    ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n", no(Refusal::InvalidFieldName, 400)),
    ("RFC 9110 §5.1", b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa4: b\r\n\r\n", no(Refusal::InvalidFieldName, 400)),
    ("RFC 9110 §5.5", b"GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \t \r\n\r\n", None),
    ("RFC 9110 §5.4", b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\n\r\n", None),
    ("RFC 9110 §5.4", b"GET / HTTP/1.1\r\nHost: a\r\nA:\r\nB:\r\nC:\r\nD:\r\nE:\r\nF:\r\nG:\r\nH:\r\n\r\n", no(Refusal::TooManyFields, 431)),
    ("RFC 9110 §10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n", None),
    ("RFC 9110 §10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n", no(Refusal::UnknownExpectation, 417)),
    ("RFC 9110 §10.1.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect:\r\n\r\n", no(Refusal::UnknownExpectation, 417)),

    ("RFC 3875 §4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n", no(Refusal::DisguisedField, 400)),
    ("RFC 3875 §4.1.18", b"POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", no(Refusal::DisguisedField, 400)),
    ("RFC 3875 §4.1.18", b"GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded-For: 1.2.3.4\r\n\r\n", no(Refusal::DisguisedField, 400)),
    ("RFC 3875 §4.1.18", b"GET / HTTP/1.1\r\nHost: a\r\nX_Real_IP: 1.2.3.4\r\n\r\n", no(Refusal::DisguisedField, 400)),
    ("RFC 3875 §4.1.18", b"GET / HTTP/1.1\r\nHost: a\r\napi_key: x\r\nX_Request_Id_Is: x\r\n\r\n", None),

    // -- Connection
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: TE, ,x-mine\r\nTE: trailers\r\n\r\n", None),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, host\r\n\r\n", no(Refusal::NominatedEndToEnd, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\n\r\n", no(Refusal::NominatedEndToEnd, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\n\r\n", no(Refusal::NominatedEndToEnd, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: X-Forwarded-For\r\n\r\n", no(Refusal::NominatedEndToEnd, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: clo se\r\n\r\n", no(Refusal::InvalidConnection, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: 1,2\r\nConnection: 3\r\nConnection: close\r\n\r\n", None),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: 1\r\nConnection: 2\r\nConnection: 3\r\n\r\n", no(Refusal::InvalidConnection, 400)),
    ("RFC 9110 §7.6.1", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: clos\xe9\r\n\r\n", no(Refusal::InvalidConnection, 400)),

    // -- framing
    ("RFC 9112 §6.3", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n", None),
    ("RFC 9112 §6.1", b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: cHuNkEd\r\n\r\n", None),
    ("RFC 9112 §6.1", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::LengthAndTransferEncoding, 400)),
    ("RFC 9112 §6.1", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", no(Refusal::LengthAndTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", no(Refusal::RepeatedLength, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 4\r\n\r\n", no(Refusal::RepeatedLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa3\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", no(Refusal::InvalidLength, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\n", no(Refusal::LengthOverflow, 400)),
    ("RFC 9110 §8.6", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", no(Refusal::LengthOverflow, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::RepeatedTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.3", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", no(Refusal::UnknownTransferEncoding, 400)),
    ("RFC 9112 §6.1", b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", no(Refusal::TransferEncodingInHttp10, 400)),
];

fn judge(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    let mut store = FieldStore::new();
    Ok(match parse_request(bytes, &mut store, &LIMITS)? {
        Parsed::Partial => None,
        Parsed::Complete(head) => Some(head.length),
    })
}

fn taken_whole(bytes: &[u8], verdict: Result<Option<usize>, Refusal>) -> Result<(), Refusal> {
    verdict.map(|length| assert_eq!(length, Some(bytes.len()), "{}", bytes.escape_ascii()))
}

#[test]
fn every_rule_however_the_bytes_arrive() {
    for row in ROWS {
        let bytes = row.1;
        check_row(row, taken_whole(bytes, judge(bytes)));
        check_row(
            row,
            taken_whole(bytes, first_verdict(bytes, 0..bytes.len(), judge)),
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_in_random_pieces(index in 0..ROWS.len(), pieces in prop::collection::vec(1_usize..40, 0..40)) {
        let row = &ROWS[index];
        let bytes = row.1;
        let ends = pieces.iter().scan(0, |end, piece| { *end += piece; Some(*end) });
        let ends = ends.take_while(|end| *end < bytes.len());
        check_row(row, taken_whole(bytes, first_verdict(bytes, ends, judge)));
    }

    #[test]
    fn what_follows_a_head_does_not_matter(index in 0..ROWS.len(), rest: Vec<u8>) {
        let taken: Vec<&Row> = ROWS.iter().filter(|row| row.2.is_none()).collect();
        let row = taken[index % taken.len()];
        let more = [row.1, &rest].concat();
        prop_assert_eq!(judge(&more), Ok(Some(row.1.len())));
    }
}

#[test]
fn a_head_over_the_limit_is_refused() {
    let endless_target = [b"GET /".as_slice(), &[b'a'; 600]].concat();
    assert_eq!(judge(&endless_target), Err(Refusal::TargetTooLong));
    assert_eq!(judge(&endless_target[..511]), Ok(None));
    assert_eq!(judge(&endless_target[..512]), Err(Refusal::TargetTooLong));
    let endless_field = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 600]].concat();
    assert_eq!(judge(&endless_field), Err(Refusal::HeadTooLarge));
    assert_eq!(Refusal::HeadTooLarge.status(), 431);
    // The limit itself is still taken.
    let mut exact = b"GET / HTTP/1.1\r\nHost: a\r\nX: ".to_vec();
    exact.resize(508, b'a');
    exact.extend_from_slice(b"\r\n\r\n");
    assert_eq!(judge(&exact), Ok(Some(512)));
}

fn with_head(bytes: &[u8], look: impl FnOnce(&RequestHead<'_, '_>)) {
    let mut store = FieldStore::new();
    match parse_request(bytes, &mut store, &HeadLimits::default()) {
        Ok(Parsed::Complete(head)) => look(&head),
        other => panic!("{other:?}: {}", bytes.escape_ascii()),
    }
}

#[test]
fn a_head_says_what_was_sent() {
    let bytes = b"POST /a?b HTTP/1.1\r\nHost: Example.com:81\r\nX-A:  1 \t\r\nTransfer-Encoding: chunked\r\n\
        Connection: TE, X-A\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n5\r\n";
    with_head(bytes, |head| {
        assert_eq!(
            (head.method, head.target, head.host),
            ("POST", "/a?b", "Example.com:81")
        );
        assert_eq!(
            (head.version, head.body),
            (Version::Http11, BodyLength::Chunked)
        );
        assert!(head.keep_alive && head.expect_continue && head.upgrade.is_none());
        assert_eq!(head.length, bytes.len() - 3);
        let fields: Vec<_> = head
            .fields
            .iter()
            .map(|field| (field.name, field.value))
            .collect();
        assert_eq!(fields[1], ("X-A", &b"1"[..]));
        assert_eq!(fields.len(), 6);
        assert!(is_hop_by_hop("x-a", &head.connection) && !is_hop_by_hop("host", &head.connection));
    });
}

#[test]
fn absolute_targets_are_taken_apart() {
    let rows: [(&[u8], &str, &str); 5] = [
        (
            b"GET http://b:81/x?y HTTP/1.1\r\nHost: B:81\r\n\r\n",
            "/x?y",
            "B:81",
        ),
        (b"GET http://b HTTP/1.1\r\nHost: b\r\n\r\n", "/", "b"),
        (b"OPTIONS http://b HTTP/1.1\r\nHost: b\r\n\r\n", "*", "b"),
        (b"GET http://b/ HTTP/1.0\r\n\r\n", "/", "b"),
        (b"GET / HTTP/1.0\r\n\r\n", "/", ""),
    ];
    for (bytes, target, host) in rows {
        with_head(bytes, |head| {
            assert_eq!((head.target, head.host), (target, host))
        });
    }
}

#[test]
fn whether_the_connection_goes_on() {
    let rows: [(&[u8], bool); 7] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            false,
        ),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\nConnection: keep-alive\r\n\r\n",
            false,
        ),
        (b"GET / HTTP/1.0\r\n\r\n", false),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
        (b"GET / HTTP/1.0\r\nConnection: x\r\n\r\n", false),
    ];
    for (bytes, keep_alive) in rows {
        with_head(bytes, |head| {
            assert_eq!(head.keep_alive, keep_alive, "{}", bytes.escape_ascii())
        });
    }
}

#[test]
fn an_upgrade_wants_both_fields_and_no_body() {
    let rows: [(&[u8], Option<&str>); 6] = [
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Some("websocket")),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", None),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", None),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", None),
        (b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 1\r\n\r\n", None),
    ];
    for (bytes, upgrade) in rows {
        with_head(bytes, |head| {
            assert_eq!(head.upgrade, upgrade, "{}", bytes.escape_ascii())
        });
    }
}

#[test]
fn a_100_is_owed_only_for_a_body() {
    let rows: [(&[u8], bool); 3] = [
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            true,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            false,
        ),
        (
            b"POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
            false,
        ),
    ];
    for (bytes, owed) in rows {
        with_head(bytes, |head| {
            assert_eq!(head.expect_continue, owed, "{}", bytes.escape_ascii())
        });
    }
}

#[test]
fn the_http2_preface_is_told_from_a_request() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for end in 0..PREFACE.len() {
        assert_eq!(starts_with_h2_preface(&PREFACE[..end]), Preface::Partial);
    }
    assert_eq!(starts_with_h2_preface(PREFACE), Preface::Yes);
    assert_eq!(
        starts_with_h2_preface(&[PREFACE, b"\0\0\x12"].concat()),
        Preface::Yes
    );
    assert_eq!(starts_with_h2_preface(b"PUT"), Preface::No);
    assert_eq!(
        starts_with_h2_preface(b"PRI * HTTP/2.0\r\nHost"),
        Preface::No
    );
}
