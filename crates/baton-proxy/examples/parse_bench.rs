//! How long the codec takes for typical messages: `cargo run --release -p baton-proxy --example parse_bench`.
//!
//! Prints the best of several rounds, in nanoseconds a message. `httparse` alone is the floor that it stands on.

use std::hint::black_box;
use std::time::Instant;

use baton_proxy::h1::{
    ChunkedDecoder, Decoded, FieldStore, HeadLimits, Parsed, parse_request, parse_response,
};

const BROWSER: &[u8] = b"GET /api/orders/17?expand=items HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    Connection: keep-alive\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-US,en;q=0.9,ko;q=0.8\r\n\
    Referer: https://www.example.com/orders\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

const LOAD: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Content-Type: application/json\r\n\
    Content-Length: 27\r\n\
    Cache-Control: no-store\r\n\
    X-Request-Id: 0123456789abcdef\r\n\
    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";

/// Short rounds, many of them: some are not interrupted by whatever else runs on the machine.
const ROUNDS: usize = 1000;
const TURNS: u32 = 1000;

fn measure(what: &str, length: usize, mut work: impl FnMut()) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..TURNS {
                work();
            }
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    let nanos = best.as_secs_f64() * 1e9 / f64::from(TURNS);
    println!(
        "{what:<28} {length:>5} bytes {nanos:>8.1} ns {:>8.2} GB/s",
        length as f64 / nanos
    );
}

fn main() {
    let limits = HeadLimits::default();
    for (what, bytes) in [
        ("request, browser", BROWSER),
        ("request, load generator", LOAD),
    ] {
        measure(what, bytes.len(), || {
            let mut store = FieldStore::new();
            let parsed = parse_request(black_box(bytes), &mut store, &limits);
            assert!(matches!(black_box(parsed), Ok(Parsed::Complete(_))));
        });
        measure(&format!("{what}, httparse"), bytes.len(), || {
            let mut fields = [httparse::EMPTY_HEADER; 32];
            let mut request = httparse::Request::new(&mut fields);
            assert!(black_box(request.parse(black_box(bytes))).is_ok());
        });
    }
    measure("response", ANSWER.len(), || {
        let mut store = FieldStore::new();
        let parsed = parse_response(black_box(ANSWER), &mut store, &limits, "GET");
        assert!(matches!(black_box(parsed), Ok(Parsed::Complete(_))));
    });
    let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
    let body = [chunk.repeat(4), b"0\r\n\r\n".to_vec()].concat();
    measure("chunked body, 16 KiB chunks", body.len(), || {
        let mut decoder = ChunkedDecoder::new();
        let mut at = 0;
        loop {
            match decoder.decode(black_box(&body[at..])) {
                Ok(Decoded::Data { consumed, .. }) => at += consumed,
                Ok(Decoded::End { .. }) => break,
                other => panic!("{other:?}"),
            }
        }
    });
}
