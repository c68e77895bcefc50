//! The chunked coding.

use baton_proxy::h1::{
    ChunkedDecoder, Decoded, Refusal, chunk_head, trailer_fields, write_last_chunk,
};
use proptest::prelude::*;

use super::{Row, check_row};

const fn no(refusal: Refusal) -> Option<(Refusal, u16)> {
    Some((refusal, refusal.status()))
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("RFC 9112 §7.1", b"0\r\n\r\n", None),
    ("RFC 9112 §7.1", b"5\r\nhello\r\n0\r\n\r\n", None),
    ("RFC 9112 §7.1", b"a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n", None),
    ("RFC 9112 §7.1", b"0000000000000001\r\nx\r\n0\r\n\r\n", None),
    ("RFC 9112 §7.1", b"00000000000000001\r\nx\r\n0\r\n\r\n", no(Refusal::ChunkSizeOverflow)),
    ("RFC 9112 §7.1", b"8000000000000000\r\n", no(Refusal::ChunkSizeOverflow)),
    ("RFC 9112 §7.1", b"10000000000000000\r\n", no(Refusal::ChunkSizeOverflow)),
    ("RFC 9112 §7.1", b"\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"0x5\r\nhello\r\n0\r\n\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"+5\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"-5\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b" 5\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"5 \r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"5\t\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"5_0\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"g\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b";a\r\nhello\r\n", no(Refusal::InvalidChunkSize)),
    ("RFC 9112 §7.1", b"5\r\nhelloX\r\n0\r\n\r\n", no(Refusal::MissingChunkEnd)),
    ("RFC 9112 §7.1", b"5\r\nhello\n0\r\n\r\n", no(Refusal::MissingChunkEnd)),
    ("RFC 9112 §7.1", b"5\r\nhello\r0\r\n\r\n", no(Refusal::MissingChunkEnd)),
    ("RFC 9112 §7.1", b"5\r\nhello0\r\n\r\n", no(Refusal::MissingChunkEnd)),
    ("RFC 9112 §2.2", b"5\nhello\r\n0\r\n\r\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"5\rhello\r\n0\r\n\r\n", no(Refusal::BareCarriageReturn)),
    ("RFC 9112 §2.2", b"0\r\n\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"0\r\n\rX", no(Refusal::BareCarriageReturn)),

    ("RFC 9112 §7.1.1", b"5;a\r\nhello\r\n0;b=c;d=\"e \\\" ;\"\r\n\r\n", None),
    ("RFC 9112 §7.1.1", b"5;\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5;a=\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5; a\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5;a =b\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5;a=\"b\"c\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5;a=\"b\r\n\"\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §7.1.1", b"5;a\0\r\nhello\r\n", no(Refusal::InvalidChunkExtension)),
    ("RFC 9112 §2.2", b"5;a\nhello\r\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"5;a=\"b\n\"\r\nhello\r\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §2.2", b"5;a\rX\r\nhello\r\n", no(Refusal::BareCarriageReturn)),

    ("RFC 9112 §7.1.2", b"0\r\nX-Checksum: 1\r\nY:\r\n\r\n", None),
    ("RFC 9112 §5.1", b"0\r\nX : 1\r\n\r\n", no(Refusal::SpaceBeforeColon)),
    ("RFC 9112 §5.1", b"0\r\nX\r\n\r\n", no(Refusal::MissingColon)),
    ("RFC 9110 §5.1", b"0\r\nX(: 1\r\n\r\n", no(Refusal::InvalidFieldName)),
    ("RFC 9110 §5.5", b"0\r\nX: \0\r\n\r\n", no(Refusal::ControlByte)),
    ("RFC 9112 §2.2", b"0\r\nX: 1\n\r\n", no(Refusal::BareLineFeed)),
    ("RFC 9112 §5.2", b"0\r\nX: 1\r\n 2\r\n\r\n", no(Refusal::FoldedLine)),
    ("RFC 9112 §5.2", b"0\r\n X: 1\r\n\r\n", no(Refusal::FoldedLine)),
    ("RFC 9110 §6.5.1", b"0\r\nContent-Length: 1\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\ntransfer-encoding: chunked\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\nHost: a\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\nAuthorization: a\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\nConnection: close\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\nTrailer: x\r\n\r\n", no(Refusal::ForbiddenTrailer)),
    ("RFC 9110 §6.5.1", b"0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", no(Refusal::ForbiddenTrailer)),
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Body {
    data: Vec<u8>,
    trailers: Vec<u8>,
    consumed: usize,
    done: bool,
}

/// Feeds a decoder as a connection does: what is left unconsumed is shown again with the next piece.
fn decode(input: &[u8], ends: impl Iterator<Item = usize>) -> Result<Body, Refusal> {
    let mut decoder = ChunkedDecoder::new();
    let mut body = Body::default();
    for end in ends
        .take_while(|end| *end < input.len())
        .chain([input.len()])
    {
        loop {
            let shown = &input[body.consumed..end];
            match decoder.decode(shown)? {
                Decoded::NeedMore { consumed } => {
                    body.consumed += consumed;
                    break;
                }
                Decoded::Data { consumed, data } => {
                    body.data.extend_from_slice(&shown[data]);
                    body.consumed += consumed;
                }
                Decoded::End { consumed, trailers } => {
                    body.trailers = shown[trailers].to_vec();
                    body.consumed += consumed;
                    body.done = true;
                    assert!(decoder.is_done());
                    return Ok(body);
                }
            }
        }
    }
    Ok(body)
}

fn whole(input: &[u8]) -> Result<Body, Refusal> {
    decode(input, std::iter::empty())
}

#[test]
fn every_rule_however_the_bytes_arrive() {
    for row in ROWS {
        let bytes = row.1;
        check_row(
            row,
            whole(bytes).map(|body| assert!(body.done && body.consumed == bytes.len())),
        );
        check_row(
            row,
            decode(bytes, 0..bytes.len()).map(|body| assert!(body.done)),
        );
    }
}

#[test]
fn a_refusal_is_final() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.decode(b"x"), Err(Refusal::InvalidChunkSize));
    assert_eq!(decoder.decode(b"0\r\n\r\n"), Err(Refusal::InvalidChunkSize));
}

#[test]
fn extensions_have_a_limit() {
    let one = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(1023));
    assert!(whole(one.as_bytes()).is_ok_and(|body| body.done));
    let too_large = format!("5;{}\r\nhello\r\n", "a".repeat(1024));
    assert_eq!(
        whole(too_large.as_bytes()),
        Err(Refusal::ChunkExtensionTooLarge)
    );
    let many = format!("1;{}\r\nx\r\n", "a".repeat(1000)).repeat(17);
    assert_eq!(whole(many.as_bytes()), Err(Refusal::ChunkExtensionTooLarge));
}

#[test]
fn trailers_have_a_limit_and_are_given_out_together() {
    let endless = format!("0\r\nX: {}", "a".repeat(8 * 1024));
    assert_eq!(whole(endless.as_bytes()), Err(Refusal::TrailersTooLarge));
    assert_eq!(Refusal::TrailersTooLarge.status(), 431);
    let most = format!("0\r\n{}\r\n", "X:\r\n".repeat(64));
    assert!(whole(most.as_bytes()).is_ok_and(|body| body.done));
    let too_many = format!("0\r\n{}\r\n", "X:\r\n".repeat(65));
    assert_eq!(whole(too_many.as_bytes()), Err(Refusal::TooManyFields));

    let body = whole(b"1\r\nx\r\n0\r\nA: 1 \r\nb:\r\n\r\nGET").unwrap();
    let fields: Vec<_> = trailer_fields(&body.trailers).map(Result::unwrap).collect();
    let pairs: Vec<_> = fields
        .iter()
        .map(|field| (field.name, field.value))
        .collect();
    assert_eq!(pairs, [("A", &b"1"[..]), ("b", b"")]);
    assert_eq!(body.consumed, 22);
}

#[test]
fn extensions_are_noticed() {
    for (bytes, seen) in [(&b"5;a\r\n"[..], true), (b"5\r\n", false)] {
        let mut decoder = ChunkedDecoder::new();
        assert_eq!(
            decoder.decode(bytes),
            Ok(Decoded::NeedMore {
                consumed: bytes.len()
            })
        );
        assert_eq!(decoder.saw_extensions(), seen);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_rule_in_random_pieces(index in 0..ROWS.len(), pieces in prop::collection::vec(1_usize..20, 0..40)) {
        let row = &ROWS[index];
        let ends = pieces.iter().scan(0, |end, piece| { *end += piece; Some(*end) });
        check_row(row, decode(row.1, ends).map(|body| assert!(body.done)));
    }

    #[test]
    fn what_is_written_is_read(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8),
                               pieces in prop::collection::vec(1_usize..100, 0..40),
                               rest: Vec<u8>) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(&chunk_head(chunk.len() as u64));
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        write_last_chunk(&mut bytes, []);
        let length = bytes.len();
        bytes.extend_from_slice(&rest);
        let ends = pieces.iter().scan(0, |end, piece| { *end += piece; Some(*end) });
        let body = decode(&bytes, ends).unwrap();
        prop_assert_eq!(body, Body { data: chunks.concat(), trailers: Vec::new(), consumed: length, done: true });
    }
}
