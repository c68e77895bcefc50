//! Messages that are nearly right.

use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Mostly the first, sometimes one of the others.
fn mostly(good: &'static [&'static str], odd: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![60 => select(good), 1 => select(odd)]
        .prop_map(bytes)
        .boxed()
}

/// `\u{80}` to `\u{ff}` stand for single bytes.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| character as u8).collect()
}

fn line_end() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![120 => Just("\r\n"), 1 => select(&["\n", "\r", "\r\r\n", "\r\n ", " \r\n"][..])]
        .prop_map(bytes)
        .boxed()
}

fn request_line() -> BoxedStrategy<Vec<u8>> {
    let method = mostly(
        &["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PURGE"],
        &[
            "get",
            "G@T",
            "",
            "CONNECT",
            "G\u{e4}T",
            "PRI",
            "M-SEARCH",
            "!#$%&'*+-.^_`|~",
        ],
    );
    let target = prop_oneof![
        8 => mostly(
            &["/", "/a?b=c", "/a/b%20c", "http://a/", "http://a", "*", "/?", "//a", "https://a:443/x?y"],
            &["", "?a", "/#x", "/\u{e4}", "/ b", "a", "a:80", "http://u@a/", "http://b/", "http://", "ftp://a/",
              "http://a?x", "http://[::1]/", "http://a:x/", "/\t", "*x", "http:/a", "HTTP://A"],
        ),
        1 => "/[!-~]{0,12}".prop_map(String::into_bytes),
        1 => "[!-~]{1,12}".prop_map(String::into_bytes),
    ];
    let version = mostly(
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &[
            "HTTP/1.2",
            "HTTP/2.0",
            "http/1.1",
            "HTTP/0.9",
            "HTTP/11",
            "HTTP/1.1.1",
            "",
            "HTTP/1.",
            "XTTP/1.1",
        ],
    );
    let space = || mostly(&[" "], &["  ", "\t", "", "\u{b}", "\u{a0}"]);
    let empty_lines = mostly(&["", "", "\r\n"], &["\n", "\r\n\r\n", " ", "\r"]);
    (
        empty_lines,
        method,
        space(),
        target,
        space(),
        version,
        line_end(),
    )
        .prop_map(|(before, method, one, target, two, version, end)| {
            [before, method, one, target, two, version, end].concat()
        })
        .boxed()
}

fn status_line() -> BoxedStrategy<Vec<u8>> {
    let version = mostly(
        &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"],
        &["HTTP/1.2", "HTTP/2.0", "ICY", "http/1.1", ""],
    );
    let space = || mostly(&[" "], &["  ", "\t", ""]);
    let status = mostly(
        &[
            "200", "200", "404", "204", "304", "100", "205", "500", "101", "103",
        ],
        &["099", "20", "2000", "", "999", "600", "2x0", "-20", "+20"],
    );
    let reason = mostly(
        &["OK", "", "Not Found"],
        &["\u{e4}", "a\tb", "a\u{1}", "a\0b", "\u{7f}"],
    );
    (version, space(), status, space(), reason, line_end())
        .prop_map(|(version, one, status, two, reason, end)| {
            [version, one, status, two, reason, end].concat()
        })
        .boxed()
}

fn field(name: BoxedStrategy<Vec<u8>>, value: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let colon = mostly(&[": ", ":", ":\t "], &[" :", "\t:", " : ", "", "::", ";"]);
    let after = mostly(&["", "", " ", "\t"], &["\u{b}", "\0", "\r", "\u{7f}"]);
    (name, colon, value, after, line_end())
        .prop_map(|(name, colon, value, after, end)| [name, colon, value, after, end].concat())
        .boxed()
}

fn named(
    name: &'static str,
    good: &'static [&'static str],
    odd: &'static [&'static str],
) -> BoxedStrategy<Vec<u8>> {
    let name = prop_oneof![4 => Just(name.to_owned()), 1 => Just(name.to_uppercase()), 1 => Just(name.to_lowercase())];
    field(name.prop_map(String::into_bytes).boxed(), mostly(good, odd))
}

fn host() -> BoxedStrategy<Vec<u8>> {
    let one = named(
        "Host",
        &["a", "a", "a:80", "A"],
        &["", "u@a", "a b", "a, a", "[::1]", "a:", "b", "a/b"],
    );
    prop_oneof![
        20 => one.clone(),
        1 => Just(Vec::new()),
        1 => (one.clone(), one).prop_map(|(one, two)| [one, two].concat()),
    ]
    .boxed()
}

fn other_field() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![
        4 => field("[A-Za-z0-9-]{1,8}".prop_map(String::into_bytes).boxed(), "[ -~]{0,12}".prop_map(String::into_bytes).boxed()),
        1 => field("[!-~]{0,6}".prop_map(String::into_bytes).boxed(), prop::collection::vec(any::<u8>(), 0..6).boxed()),
        2 => named("Connection", &["close", "keep-alive", "TE, x-a", "upgrade", ""], &["host", "content-length", "a b", "close,,", "\""]),
        1 => named("Expect", &["100-continue"], &["", "200", "100-continue, 100-continue"]),
        1 => named("Upgrade", &["websocket", "h2c"], &["", "\u{e4}"]),
        1 => named("TE", &["trailers"], &["chunked"]),
        1 => named("Trailer", &["x-a"], &["content-length"]),
        1 => named("Proxy-Connection", &["keep-alive"], &["close"]),
    ]
    .boxed()
}

/// Framing fields and a body that may or may not go with them.
fn framing() -> BoxedStrategy<(Vec<u8>, Vec<u8>)> {
    let plain = || "[a-z]{0,9}".prop_map(String::into_bytes);
    let odd_length = || {
        named(
            "Content-Length",
            &["3", "0", "5"],
            &[
                "",
                "+3",
                "-3",
                "3,3",
                "3, 3",
                "0x3",
                "3 3",
                "03",
                "18446744073709551615",
                "18446744073709551616",
                "9223372036854775808",
                "\u{b2}",
                "3.",
                "1e1",
            ],
        )
    };
    let coding = || {
        named(
            "Transfer-Encoding",
            &["chunked", "Chunked"],
            &[
                "gzip, chunked",
                "chunked, chunked",
                "identity",
                "xchunked",
                "",
                "chunked;a",
                ",chunked",
                "chunked,",
                "chunked, gzip",
                "\"chunked\"",
                "\u{b}chunked",
                "chunke\u{212a}d",
            ],
        )
    };
    prop_oneof![
        4 => plain().prop_map(|rest| (Vec::new(), rest)),
        6 => plain().prop_map(|body| (format!("Content-Length: {}\r\n", body.len()).into_bytes(), body)),
        2 => (odd_length(), plain()),
        8 => (coding(), chunked_body()),
        1 => (odd_length(), coding(), chunked_body()).prop_map(|(one, two, body)| ([one, two].concat(), body)),
        1 => (odd_length(), odd_length(), plain()).prop_map(|(one, two, body)| ([one, two].concat(), body)),
        1 => (coding(), coding(), chunked_body()).prop_map(|(one, two, body)| ([one, two].concat(), body)),
    ]
    .boxed()
}

fn chunked_body() -> BoxedStrategy<Vec<u8>> {
    let extension = mostly(
        &["", "", "", "", ";a", ";a=b", ";a=\"b;\\\"c\"", ";a;b=c"],
        &[
            " ",
            ";",
            "; a",
            ";a=",
            " ;a",
            ";a=\"b",
            ";\u{e4}",
            ";a=b\u{1}",
            "\t",
            ";a \t",
        ],
    );
    let size = mostly(
        &["", "", "0", "00"],
        &[
            "0x",
            "+",
            "-",
            " ",
            "ffffffffffffffff",
            "00000000000000000",
            "_",
        ],
    );
    let end = || mostly(&["\r\n"], &["\n", "\r", "", "\r\r\n", " \r\n"]);
    let chunk = ("[a-z]{1,17}", size, extension.clone(), end(), end()).prop_map(
        |(data, zeros, extension, one, two)| {
            [
                zeros,
                format!("{:x}", data.len()).into_bytes(),
                extension,
                one,
                data.into_bytes(),
                two,
            ]
            .concat()
        },
    );
    let trailer = prop_oneof![
        6 => field("x-[a-z]{1,3}".prop_map(String::into_bytes).boxed(), "[a-z]{0,3}".prop_map(String::into_bytes).boxed()),
        1 => other_field(),
        1 => named("Content-Length", &["1"], &["x"]),
    ];
    let trailers = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(trailer, 0..3)];
    (
        prop::collection::vec(chunk, 0..4),
        extension,
        end(),
        trailers,
        end(),
    )
        .prop_map(|(chunks, extension, one, trailers, two)| {
            [
                chunks.concat(),
                b"0".to_vec(),
                extension,
                one,
                trailers.concat(),
                two,
            ]
            .concat()
        })
        .boxed()
}

/// A request, its body, and mostly another request behind it: who disagrees about where the first one ends sees
/// another second one.
pub(super) fn requests() -> BoxedStrategy<Vec<u8>> {
    let one = message(request_line(), host());
    let then = prop_oneof![
        Just(b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        Just(Vec::new()),
        message(request_line(), host()),
    ];
    mutated(
        (one, then)
            .prop_map(|(one, two)| [one, two].concat())
            .boxed(),
    )
}

/// A response, sometimes after an interim one.
pub(super) fn responses() -> BoxedStrategy<Vec<u8>> {
    let interim = mostly(
        &["", "", "", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"],
        &["HTTP/1.1 100 Continue\r\n\r\n"],
    );
    let one = message(status_line(), Just(Vec::new()).boxed());
    mutated(
        (interim, one)
            .prop_map(|(one, two)| [one, two].concat())
            .boxed(),
    )
}

fn message(first: BoxedStrategy<Vec<u8>>, host: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    (
        first,
        host,
        prop::collection::vec(other_field(), 0..3),
        framing(),
        line_end(),
    )
        .prop_map(|(first, host, others, (fields, body), end)| {
            [first, host, others.concat(), fields, end, body].concat()
        })
        .boxed()
}

#[derive(Debug, Clone)]
enum Mutation {
    Change(u8),
    Insert(u8),
    Remove,
    Double(u8),
    Cut,
}

/// Most messages stay as they are.
fn mutated(message: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let byte = || prop_oneof![3 => select(b"\r\n\t :;,\0\x7f\x0b0159afAF\"\\*/#?@[]\xa0\x80".as_slice()), 1 => any::<u8>()];
    let mutation = prop_oneof![
        3 => byte().prop_map(Mutation::Change),
        3 => byte().prop_map(Mutation::Insert),
        3 => Just(Mutation::Remove),
        1 => (1_u8..20).prop_map(Mutation::Double),
        1 => Just(Mutation::Cut),
    ];
    let mutations = prop_oneof![
        3 => Just(Vec::new()),
        2 => prop::collection::vec((any::<Index>(), mutation), 1..4),
    ];
    (message, mutations)
        .prop_map(|(mut bytes, mutations)| {
            for (at, mutation) in mutations {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match mutation {
                    Mutation::Change(byte) => bytes[at] = byte,
                    Mutation::Insert(byte) => bytes.insert(at, byte),
                    Mutation::Remove => drop(bytes.remove(at)),
                    Mutation::Double(length) => {
                        let end = (at + usize::from(length)).min(bytes.len());
                        let again = bytes[at..end].to_vec();
                        bytes.splice(at..at, again);
                    }
                    Mutation::Cut => bytes.truncate(at),
                }
            }
            bytes
        })
        .boxed()
}
