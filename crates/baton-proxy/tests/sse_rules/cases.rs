//! The format, case by case, as the standard says (WHATWG HTML §9.2.5, §9.2.6). The names are those under which
//! browsers are tested for the same things.

use super::reference::{Source, interpret, text};
use super::sse::Framer;

/// What arrives, and what listeners are called with: (type, data, last event id), all as text.
struct Case {
    name: &'static str,
    stream: &'static [u8],
    messages: &'static [(&'static str, &'static str, &'static str)],
    /// What a reconnect presents afterwards, and the reconnection time.
    last_event_id: &'static str,
    retry: Option<u64>,
}

/// Most cases are about messages without ids.
const fn case(
    name: &'static str,
    stream: &'static [u8],
    messages: &'static [(&'static str, &'static str, &'static str)],
) -> Case {
    Case {
        name,
        stream,
        messages,
        last_event_id: "",
        retry: None,
    }
}

const fn with_id(
    name: &'static str,
    stream: &'static [u8],
    messages: &'static [(&'static str, &'static str, &'static str)],
    last_event_id: &'static str,
) -> Case {
    Case {
        last_event_id,
        ..case(name, stream, messages)
    }
}

const fn with_retry(name: &'static str, stream: &'static [u8], retry: Option<u64>) -> Case {
    Case {
        retry,
        ..case(name, stream, &[("message", "x", "")])
    }
}

const CASES: &[Case] = &[
    // A mark is one at the start only; later it belongs to the field's name.
    case(
        "format-bom",
        b"\xEF\xBB\xBFdata:1\n\n\xEF\xBB\xBFdata:2\n\ndata:3\n\n",
        &[("message", "1", ""), ("message", "3", "")],
    ),
    case(
        "format-bom: before a blank line",
        b"\xEF\xBB\xBF\n\xEF\xBB\xBFdata:1\ndata:2\n\n",
        &[("message", "2", "")],
    ),
    case("format-bom: nothing else", b"\xEF\xBB\xBF", &[]),
    case("format-bom: cut short", b"\xEF\xBBdata:1\ndata:2\n\n", &[("message", "2", "")]),
    case(
        "format-bom-2",
        b"\xEF\xBB\xBF\xEF\xBB\xBFdata:1\n\ndata:2\n\ndata:3\n\n",
        &[("message", "2", ""), ("message", "3", "")],
    ),
    case(
        "format-bom-2: in one event",
        b"\xEF\xBB\xBF\xEF\xBB\xBFdata:1\ndata:2\n\n",
        &[("message", "2", "")],
    ),
    case(
        "format-bom-2: second cut short",
        b"\xEF\xBB\xBF\xEF\xBBdata:1\ndata:2\n\n",
        &[("message", "2", "")],
    ),
    case(
        "format-comments",
        b"data:1\r:\0\n:\r\ndata:2\n:comment that is longer\rdata:3\n:data:fail\r: another\ndata:4\n\n",
        &[("message", "1\n2\n3\n4", "")],
    ),
    case("format-comments: alone", b":\n\n: keep-alive\r\n\r\n:", &[]),
    case(
        "format-data-before-final-empty-line",
        b"data:test1\n\nid:test\ndata:test2",
        &[("message", "test1", "")],
    ),
    case(
        "format-data-before-final-empty-line: line ended",
        b"data:test1\n\nid:test\ndata:test2\n",
        &[("message", "test1", "")],
    ),
    case(
        "format-field-data",
        b"data:\n\ndata\ndata\n\ndata:test",
        &[("message", "", ""), ("message", "\n", "")],
    ),
    case(
        "format-field-event",
        b"event:test\ndata:x\n\ndata:x\n\n",
        &[("test", "x", ""), ("message", "x", "")],
    ),
    case(
        "format-field-event: without data it is forgotten",
        b"event:test\n\ndata:x\n\n",
        &[("message", "x", "")],
    ),
    case(
        "format-field-event: the last one counts",
        b"event:a\ndata:x\nevent:b\n\n",
        &[("b", "x", "")],
    ),
    case("format-field-event-empty", b"event: \ndata:data\n\n", &[("message", "data", "")]),
    case("format-field-event-empty: no colon", b"event:a\nevent\ndata:x\n\n", &[("message", "x", "")]),
    with_id("format-field-id", b"id:1\ndata:x\n\n", &[("message", "x", "1")], "1"),
    with_id(
        "format-field-id: after the data",
        b"data:x\nid: \xE2\x80\xA6 \n\n",
        &[("message", "x", "\u{2026} ")],
        "\u{2026} ",
    ),
    with_id(
        "format-field-id-2: it stays until another comes",
        b"id:1\ndata:a\n\ndata:b\n\nid:2\ndata:c\n\ndata:d\n\n",
        &[
            ("message", "a", "1"),
            ("message", "b", "1"),
            ("message", "c", "2"),
            ("message", "d", "2"),
        ],
        "2",
    ),
    with_id(
        "format-field-id-3: empty resets",
        b"id:1\ndata:a\n\nid\ndata:b\n\nid:2\ndata:c\n\nid: \ndata:d\n\n",
        &[
            ("message", "a", "1"),
            ("message", "b", ""),
            ("message", "c", "2"),
            ("message", "d", ""),
        ],
        "",
    ),
    with_id(
        "format-field-id-null: one with NUL is ignored",
        b"id:1\ndata:a\n\nid:\0\ndata:b\n\nid:2\0\ndata:c\n\nid:\0\nid:3\nid:4\0\ndata:d\n\n",
        &[
            ("message", "a", "1"),
            ("message", "b", "1"),
            ("message", "c", "1"),
            ("message", "d", "3"),
        ],
        "3",
    ),
    with_id(
        "format-field-id: committed without data",
        b"id:1\n\nid:2\n\nid:3\n",
        &[],
        "2",
    ),
    with_id(
        "format-field-id: without data it still counts for the next",
        b"id:1\n\ndata:x\n\n",
        &[("message", "x", "1")],
        "1",
    ),
    case(
        "format-field-parsing",
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        &[("message", "\0\n 2\n1\n3\n\n4", "")],
    ),
    case(
        "format-field-parsing: more colons",
        b"data:a:b\ndata::c\ndata: : d\n\n",
        &[("message", "a:b\n:c\n: d", "")],
    ),
    with_retry("format-field-retry", b"retry:3000\ndata:x\n\n", Some(3000)),
    with_retry("format-field-retry: leading zeros", b"retry: 0030\ndata:x\n\n", Some(30)),
    with_retry("format-field-retry: without data", b"retry: 7\n\ndata:x\n\n", Some(7)),
    with_retry("format-field-retry-bogus", b"retry:3000\nretry:1000x\ndata:x\n\n", Some(3000)),
    with_retry("format-field-retry-bogus: sign", b"retry:+1\ndata:x\n\n", None),
    with_retry("format-field-retry-bogus: fraction", b"retry:1.5\ndata:x\n\n", None),
    with_retry("format-field-retry-bogus: blank behind", b"retry: 1 \ndata:x\n\n", None),
    with_retry("format-field-retry-bogus: other digits", "retry:\u{661}\ndata:x\n\n".as_bytes(), None),
    with_retry("format-field-retry-empty", b"retry:3000\n\nretry\ndata:x\n\n", Some(3000)),
    case(
        "format-field-unknown",
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n",
        &[("message", "test\n\ntest", "")],
    ),
    case(
        "format-leading-space",
        b"data:\ttest\rdata: \ndata:test\n\n",
        &[("message", "\ttest\n\ntest", "")],
    ),
    case("format-leading-space: only one", b"data:  two\n\n", &[("message", " two", "")]),
    case(
        "format-newlines",
        b"data:test\r\ndata\ndata:test\r\n\r",
        &[("message", "test\n\ntest", "")],
    ),
    case(
        "format-newlines: CR",
        b"data:1\r\rdata:2\rdata:3\r\r",
        &[("message", "1", ""), ("message", "2\n3", "")],
    ),
    case(
        "format-newlines: CRLF",
        b"data:1\r\n\r\ndata:2\r\ndata:3\r\n\r\n",
        &[("message", "1", ""), ("message", "2\n3", "")],
    ),
    case(
        "format-newlines: mixed",
        b"data:1\r\ndata:2\n\rdata:3\n\r\ndata:4\r\n\ndata:5\r\r\ndata:6\n\n",
        &[
            ("message", "1\n2", ""),
            ("message", "3", ""),
            ("message", "4", ""),
            ("message", "5", ""),
            ("message", "6", ""),
        ],
    ),
    case("format-newlines: LF CR is two", b"data:1\n\rdata:2", &[("message", "1", "")]),
    case(
        "format-newlines: others are not",
        b"data:a\x0bb\x0cc\xC2\x85d\xE2\x80\xA8e\n\n",
        &[("message", "a\u{b}b\u{c}c\u{85}d\u{2028}e", "")],
    ),
    case("format-null-character", b"data:\0\n\n\n\n", &[("message", "\0", "")]),
    case(
        "format-utf-8",
        b"data:ok\xE2\x80\xA6\xF0\x9F\x98\x80\xEA\xB0\x80\n\n",
        &[("message", "ok\u{2026}\u{1F600}\u{AC00}", "")],
    ),
    case(
        "format-utf-8: broken",
        b"data:\xE2\x80\ndata:\xFF!\xC3\r\n\n",
        &[("message", "\u{FFFD}\n\u{FFFD}!\u{FFFD}", "")],
    ),
    case("nothing", b"", &[]),
    case("blank lines", b"\n\n\r\n\r\r\n\n", &[]),
];

/// What the client finds in what the framer gives of a stream that is read in pieces that end at `cuts`.
fn through_framer(stream: &[u8], cuts: &[usize]) -> Source {
    let mut framer = Framer::new();
    let mut out = Vec::new();
    let mut start = 0;
    for &end in cuts.iter().chain([&stream.len()]) {
        let mut input = &stream[start..end];
        start = end;
        while let Some(event) = framer.next(&mut input).unwrap() {
            out.extend_from_slice(event.raw());
        }
    }
    interpret(&out)
}

fn check(case: &Case, how: &str, found: &Source) {
    let messages: Vec<_> = found
        .messages
        .iter()
        .map(|message| {
            (
                text(&message.kind),
                text(&message.data),
                text(&message.last_event_id),
            )
        })
        .collect();
    let wanted: Vec<_> = case
        .messages
        .iter()
        .map(|(kind, data, id)| ((*kind).to_owned(), (*data).to_owned(), (*id).to_owned()))
        .collect();
    let name = case.name;
    assert_eq!(messages, wanted, "{name}, {how}");
    assert_eq!(
        text(&found.last_event_id),
        case.last_event_id,
        "{name}, {how}"
    );
    assert_eq!(found.retry, case.retry, "{name}, {how}");
}

#[test]
fn each_case_is_read_as_the_standard_says() {
    for case in CASES {
        check(case, "reference", &interpret(case.stream));
    }
}

#[test]
fn each_case_comes_out_of_the_framer_with_the_same_meaning() {
    for case in CASES {
        let stream = case.stream;
        check(case, "whole", &through_framer(stream, &[]));
        let every: Vec<usize> = (1..stream.len()).collect();
        check(case, "byte by byte", &through_framer(stream, &every));
        for cut in 0..stream.len() {
            check(
                case,
                &format!("cut at {cut}"),
                &through_framer(stream, &[cut]),
            );
        }
    }
}
