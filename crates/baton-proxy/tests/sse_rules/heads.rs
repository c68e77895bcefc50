//! Which answers may become a half of a stream that a client already has (Streams.md §1.1): what browsers ask of an
//! answer to EventSource (WHATWG HTML §9.2.3), and what joining asks beyond that.

use super::sse::{Cors, WhyNot, acceptable_half};

type Fields = &'static [(&'static str, &'static str)];

const STREAM: (&str, &str) = ("content-type", "text/event-stream");

fn judge(status: u16, fields: &[(&str, &str)], client_got: &[(&str, &str)]) -> Result<(), WhyNot> {
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    let cors = Cors::of(
        client_got
            .iter()
            .map(|(name, value)| (*name, value.as_bytes())),
    );
    acceptable_half(status, fields, &cors)
}

/// request-status-error, request-redirect: the client itself must see those, or must not: 204 and 205 say
/// "never come back", and a redirect may lead to another origin.
#[test]
fn only_200_is_a_stream() {
    assert_eq!(judge(200, &[STREAM], &[]), Ok(()));
    for status in [
        201, 202, 203, 204, 205, 206, 210, 299, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404,
        407, 408, 410, 425, 429, 500, 501, 502, 503, 504, 599, 100, 101,
    ] {
        assert_eq!(judge(status, &[STREAM], &[]), Err(WhyNot::Status(status)));
    }
}

/// format-mime-*: parameters, case and blanks around the type do not count; another type does.
#[test]
fn only_event_streams_are_joined() {
    for value in [
        "text/event-stream",
        "text/event-stream;",
        "text/event-stream;charset=utf-8",
        "text/event-stream; charset=windows-1252",
        "Text/Event-Stream ; x",
        " TEXT/EVENT-STREAM",
        "text/event-stream\t",
    ] {
        assert_eq!(
            judge(200, &[("Content-Type", value)], &[]),
            Ok(()),
            "{value}"
        );
    }
    for value in [
        "",
        ";",
        "text/x-bogus",
        "text/html",
        "application/json",
        "application/octet-stream",
        "text/event-stream-x",
        "text/event-stream x",
        "text/event-stream,text/event-stream",
        "x-text/event-stream",
        "text / event-stream",
        "event-stream",
        "text/event-stream\u{b}",
        "\u{feff}text/event-stream",
    ] {
        let fields = [("Content-Type", value)];
        assert_eq!(
            judge(200, &fields, &[]),
            Err(WhyNot::ContentType),
            "{value}"
        );
    }
    assert_eq!(judge(200, &[], &[]), Err(WhyNot::ContentType));
    assert_eq!(judge(200, &[STREAM, STREAM], &[]), Err(WhyNot::ContentType));
}

/// What cannot be joined with bytes of another answer.
#[test]
fn what_belongs_to_one_answer_only_is_not_joined() {
    let cases: &[(Fields, Result<(), WhyNot>)] = &[
        (
            &[
                ("cache-control", "no-cache"),
                ("x-accel-buffering", "no"),
                ("etag", "x"),
            ],
            Ok(()),
        ),
        (&[("content-encoding", "identity")], Ok(())),
        (&[("content-encoding", "")], Ok(())),
        (&[("transfer-encoding", "chunked")], Ok(())),
        (&[("Content-Length", "100")], Err(WhyNot::ContentLength)),
        (&[("content-length", "0")], Err(WhyNot::ContentLength)),
        (
            &[("Content-Encoding", "gzip")],
            Err(WhyNot::ContentEncoding),
        ),
        (
            &[("content-encoding", "identity, br")],
            Err(WhyNot::ContentEncoding),
        ),
        (
            &[
                ("content-encoding", "identity"),
                ("content-encoding", "zstd"),
            ],
            Err(WhyNot::ContentEncoding),
        ),
        (&[("Set-Cookie", "JSESSIONID=1")], Err(WhyNot::SetCookie)),
    ];
    for (fields, expected) in cases {
        let mut head = vec![STREAM];
        head.extend_from_slice(fields);
        assert_eq!(judge(200, &head, &[]), *expected, "{fields:?}");
        head.rotate_left(1);
        assert_eq!(judge(200, &head, &[]), *expected, "{fields:?}");
    }
}

/// request-credentials: the browser judged the head that it got; another one must say the same.
#[test]
fn cors_fields_are_those_that_the_client_got() {
    let any = ("Access-Control-Allow-Origin", "*");
    let origin = ("Access-Control-Allow-Origin", "https://example.com");
    let credentials = ("Access-Control-Allow-Credentials", "true");
    let exposed = ("Access-Control-Expose-Headers", "x-a");
    type Fields<'f> = &'f [(&'f str, &'f str)];
    let cases: &[(Fields<'_>, Fields<'_>, bool)] = &[
        (&[], &[], true),
        (&[any], &[any], true),
        (&[origin, credentials], &[credentials, origin], true),
        (&[origin, ("vary", "Origin")], &[origin], true),
        (&[any], &[origin], false),
        (&[any], &[], false),
        (&[], &[any], false),
        (&[origin], &[origin, credentials], false),
        (&[origin, exposed], &[origin], false),
        (&[origin, origin], &[origin], false),
    ];
    for (head, client_got, same) in cases {
        let mut fields = head.to_vec();
        fields.push(STREAM);
        let expected = if *same { Ok(()) } else { Err(WhyNot::Cors) };
        assert_eq!(
            judge(200, &fields, client_got),
            expected,
            "{head:?} {client_got:?}"
        );
    }
}

#[test]
fn each_reason_says_what_is_wrong() {
    assert_eq!(
        WhyNot::Status(204).to_string(),
        "its status is 204, not 200"
    );
    for why in [
        WhyNot::ContentType,
        WhyNot::ContentLength,
        WhyNot::ContentEncoding,
        WhyNot::SetCookie,
        WhyNot::Cors,
    ] {
        assert!(why.to_string().starts_with("it"), "{why}");
    }
}
