//! How long framing takes for typical events: `cargo run --release -p baton-proxy --example sse_bench`.
//!
//! Prints the best of several rounds, in nanoseconds an event.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use baton_proxy::sse::{Framer, HalfKey, Union, Verdict};

const PLAIN: &[u8] = b"data: {\"order\":17,\"state\":\"paid\",\"total\":\"12.50\"}\n\n";
const NAMED: &[u8] =
    b"id: 1732270000000-0\nevent: order\ndata: {\"order\":17,\"state\":\"paid\",\"total\":\"12.50\"}\n\n";
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// Short rounds, many of them: some are not interrupted by whatever else runs on the machine.
const ROUNDS: usize = 1000;
const TURNS: u32 = 1000;

fn measure(what: &str, mut work: impl FnMut()) {
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
    println!("{what:<44} {nanos:>8.1} ns");
}

/// How many events `reads` hold for a framer that has read others before.
fn frame(framer: &mut Framer, reads: &[&[u8]]) -> usize {
    let mut events = 0;
    for read in reads {
        let mut input = black_box(*read);
        while let Ok(Some(event)) = framer.next(&mut input) {
            black_box(event);
            events += 1;
        }
    }
    events
}

fn main() {
    let mut framer = Framer::new();
    for (what, event) in [
        ("plain", PLAIN),
        ("with id and type", NAMED),
        ("comment", KEEP_ALIVE),
    ] {
        measure(
            &format!("{what}, {} bytes, one a read", event.len()),
            || {
                assert_eq!(frame(&mut framer, &[event]), 1);
            },
        );
    }
    measure("with id and type, cut in two reads", || {
        let (start, end) = NAMED.split_at(40);
        assert_eq!(frame(&mut framer, &[start, end]), 1);
    });
    let large = [b"data: ".as_slice(), &[b'x'; 16 * 1024], b"\n\n"].concat();
    measure("16 KiB of data", || {
        assert_eq!(frame(&mut framer, &[&large]), 1);
    });

    for (what, halves) in [("one half", 1), ("two halves", 2)] {
        let mut union = Union::new(None, Arc::from([]));
        for half in 0..halves {
            union.open(HalfKey(half));
        }
        let mut number: u64 = 0;
        measure(
            &format!("with id and type, framed and taken, {what}"),
            || {
                number += 1;
                let mut bytes = *b"id: 0000000000000000\nevent: order\ndata: {\"order\":17}\n\n";
                for (digit, at) in bytes[4..20].iter_mut().zip((0..16).rev()) {
                    *digit = b'a' + ((number >> (4 * at)) & 15) as u8;
                }
                let mut input = black_box(&bytes[..]);
                while let Ok(Some(event)) = framer.next(&mut input) {
                    let verdict = union.take(HalfKey(number % halves), &event);
                    assert_eq!(verdict, Verdict::Forward);
                }
            },
        );
    }
    println!(
        "a framer {} bytes, a union {} bytes, and what they remember",
        size_of::<Framer>(),
        size_of::<Union>()
    );
}
