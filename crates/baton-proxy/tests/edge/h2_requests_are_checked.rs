//! What HTTP/2 makes malformed, and what a proxy must refuse besides.

use crate::origin;
use baton_proxy::{Protocol, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What one request is answered, written field by field: a status, or the code of a RST_STREAM or GOAWAY.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Status(u16),
    Reset(u32),
    GoAway(u32),
}

/// HPACK literals without indexing and without Huffman coding (RFC 7541 §6.2.2).
fn encode(fields: Fields<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

async fn outcome(address: std::net::SocketAddr, fields: Fields<'_>) -> Outcome {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let block = encode(fields);
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            // `:status` comes first, of the static table or as a literal of three digits.
            1 => {
                let known = [
                    (0x88, 200),
                    (0x8b, 304),
                    (0x8c, 400),
                    (0x8d, 404),
                    (0x8e, 500),
                ];
                let status = known.iter().find(|(byte, _)| *byte == payload[0]);
                return Outcome::Status(match status {
                    Some((_, status)) => *status,
                    None => literal_status(&payload),
                });
            }
            3 => return Outcome::Reset(code(0)),
            7 => return Outcome::GoAway(code(4)),
            _ => {}
        }
    }
}

/// `:status` with an indexed name and a value that may be Huffman coded: digits have five or six bits there.
fn literal_status(block: &[u8]) -> u16 {
    let length = usize::from(block[1] & 0x7f);
    let value = &block[2..2 + length];
    if block[1] & 0x80 == 0 {
        return std::str::from_utf8(value).unwrap().parse().unwrap();
    }
    let bits: String = value.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut digits) = (bits.as_str(), String::new());
    while digits.len() < 3 {
        let (size, digit) = match &rest[..5] {
            "00000" => (5, 0),
            "00001" => (5, 1),
            "00010" => (5, 2),
            _ => {
                let code = u8::from_str_radix(&rest[..6], 2).unwrap();
                (6, code - 0b01_1001 + 3)
            }
        };
        digits.push_str(&digit.to_string());
        rest = &rest[size..];
    }
    digits.parse().unwrap()
}

const PROTOCOL_ERROR: u32 = 1;

#[tokio::test]
async fn each_rule() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(
        &app,
        Protocol::Http1,
        Settings {
            ..origin::settings()
        },
    );
    let address = proxy.http_addrs()[0];
    let get: Vec<(&str, &str)> = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.test"),
    ];
    let with = |more: Fields<'static>| [get.as_slice(), more].concat();
    let malformed = Outcome::Reset(PROTOCOL_ERROR);
    let cases = vec![
        ("a plain request", with(&[]), Outcome::Status(200)),
        (
            "Host that agrees",
            with(&[("host", "A.test")]),
            Outcome::Status(200),
        ),
        (
            "Host that contradicts",
            with(&[("host", "b.test")]),
            Outcome::Status(400),
        ),
        (
            "Host twice",
            with(&[("host", "a.test"), ("host", "a.test")]),
            Outcome::Status(400),
        ),
        ("no host at all", get[..3].to_vec(), Outcome::Status(400)),
        (
            "te: trailers",
            with(&[("te", "trailers")]),
            Outcome::Status(200),
        ),
        (
            "te: gzip",
            with(&[("te", "gzip")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "connection",
            with(&[("connection", "close")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "keep-alive",
            with(&[("keep-alive", "5")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "proxy-connection",
            with(&[("proxy-connection", "close")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "upgrade",
            with(&[("upgrade", "websocket")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            Outcome::Reset(PROTOCOL_ERROR),
        ),
        (
            "white space before a value",
            with(&[("a", " b")]),
            Outcome::Status(400),
        ),
        (
            "white space behind a value",
            with(&[("a", "b\t")]),
            Outcome::Status(400),
        ),
        (
            "a length without a body",
            with(&[("content-length", "5")]),
            malformed,
        ),
    ];
    for (what, fields, expected) in cases {
        assert_eq!(outcome(address, &fields).await, expected, "{what}");
    }
}

/// Bytes that could become a second field, or a second request, towards an HTTP/1.1 app.
#[tokio::test]
async fn nothing_can_be_smuggled_in_a_field() {
    let app = origin::origin("app").await;
    let proxy = origin::proxy_to(&app, Protocol::Http1, origin::settings());
    let address = proxy.http_addrs()[0];
    for (name, value) in [
        ("a", "b\r\nc: d"),
        ("a", "b\nc"),
        ("a", "b\0"),
        ("a b", "c"),
        ("a:", "c"),
        ("A", "c"),
        ("", "c"),
    ] {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a.test"),
            (name, value),
        ];
        let outcome = outcome(address, &fields).await;
        assert_ne!(outcome, Outcome::Status(200), "{name:?}: {value:?}");
    }
    for (method, path, authority) in [
        ("GET", "/ HTTP/1.1\r\nx: y", "a.test"),
        ("GET", "no-slash", "a.test"),
        ("GET", "*", "a.test"),
        ("GET / HTTP/1.1\r\n", "/", "a.test"),
        ("CONNECT", "/", "a.test"),
        ("GET", "/", "a.test, b.test"),
        ("GET", "/", "me@a.test"),
        ("GET", "/", "a.test/x"),
        ("GET", "/ ", "a.test"),
    ] {
        let fields = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", authority),
        ];
        let outcome = outcome(address, &fields).await;
        assert_ne!(
            outcome,
            Outcome::Status(200),
            "{method:?} {path:?} {authority:?}"
        );
    }
}
