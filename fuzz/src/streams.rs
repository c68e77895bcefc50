//! Bytes of a fuzzer → streams, and how they are cut and interleaved.
//!
//! The script comes last and is split off at the last 0xFE: no stream of text holds one, and what a mutation does to the
//! streams leaves it alone.

use super::invariants::{Step, framer, union};

/// Ends the streams; the script follows.
const SCRIPT: u8 = 0xFE;
/// Stands between two streams.
const NEXT: u8 = 0xFD;

/// However a stream is cut, the same whole events come out, and mean what they meant.
pub fn sse_framer(input: &[u8]) {
    let (stream, script) = split(input);
    // A limit that a fuzzer reaches.
    let (&limit, cuts) = script.split_first().unwrap_or((&u8::MAX, &[]));
    let mut at = 0;
    let cuts: Vec<usize> = cuts
        .iter()
        .map(|step| {
            at += usize::from(*step);
            at
        })
        .collect();
    framer(stream, &cuts, 8 + usize::from(limit));
    let every: Vec<usize> = (0..stream.len()).collect();
    framer(stream, &every, 8 + usize::from(limit));
}

/// However halves are interleaved, come and go, the client has what they gave.
pub fn sse_union(input: &[u8]) {
    let (streams, script) = split(input);
    let streams: Vec<Vec<u8>> = streams
        .split(|byte| *byte == NEXT)
        .take(3)
        .map(<[u8]>::to_vec)
        .collect();
    let (&options, script) = script.split_first().unwrap_or((&0, &[]));
    let names: &[String] = match options & 1 {
        1 => &["init".to_owned(), "e".to_owned()],
        _ => &[],
    };
    let steps: Vec<Step> = script
        .iter()
        .map(|byte| {
            let half = usize::from(byte & 3);
            match byte >> 2 {
                60 => Step::Reopen(half),
                61 => Step::Settle(half),
                62 => Step::Close(half),
                63 => Step::KeepAlive,
                length => Step::Read(half, 1 + usize::from(length)),
            }
        })
        // What the script leaves over.
        .chain((0..streams.len()).map(|half| Step::Read(half, usize::MAX / 2)))
        .collect();
    union(&streams, &steps, names);
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    input
        .iter()
        .rposition(|byte| *byte == SCRIPT)
        .map_or((input, &[]), |at| (&input[..at], &input[at + 1..]))
}
