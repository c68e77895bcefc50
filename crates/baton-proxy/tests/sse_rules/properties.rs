//! Any chunking, any interleaving.

use proptest::collection::vec;
use proptest::prelude::*;

use super::invariants::{Step, framer, union};

/// A line that means something, or almost does.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(vec![
        &b"data: a"[..],
        b"data:b",
        b"data",
        b"data:  c",
        b"data: \xEA\xB0\x80\xF0\x9F\x98\x80",
        b"data: \xFF\xEA\xB0",
        b"id: 1",
        b"id: 2",
        b"id:\xEA\xB0\x80",
        b"id",
        b"id: ",
        b"id: 3\0",
        b"event: order",
        b"event: init",
        b"event",
        b"retry: 100",
        b"retry: 1s",
        b"retry",
        b": comment",
        b":",
        b"foo: bar",
        b" data: x",
        b"data : x",
        b"\xEF\xBB\xBF",
        b"\xEF\xBB\xBFdata: marked",
    ])
    .prop_map(<[u8]>::to_vec);
    let anything = vec(any::<u8>(), 0..6);
    prop_oneof![8 => fixed, 1 => anything]
}

fn line_end() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![&b"\n"[..], b"\r\n", b"\r"])
}

/// Lines with ends of every kind; a blank line after every one to four.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let event = (vec((line(), line_end()), 0..4), line_end()).prop_map(|(lines, end)| {
        let mut bytes: Vec<u8> = lines
            .into_iter()
            .flat_map(|(line, end)| [line, end.to_vec()].concat())
            .collect();
        bytes.extend_from_slice(end);
        bytes
    });
    let mark = prop::sample::select(vec![
        &b""[..],
        b"",
        b"\xEF\xBB\xBF",
        b"\xEF\xBB",
        b"\xEF\xBB\xBF\xEF\xBB",
        b"\xEF\xBB\xBF\xEF\xBB\xBF",
    ]);
    (mark, vec(event, 0..10), line())
        .prop_map(|(mark, events, tail)| [mark.to_vec(), events.concat(), tail].concat())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0_usize..3, 1_usize..30).prop_map(|(half, length)| Step::Read(half, length)),
        1 => (0_usize..3).prop_map(Step::Reopen),
        1 => (0_usize..3).prop_map(Step::Settle),
        1 => (0_usize..3).prop_map(Step::Close),
        1 => Just(Step::KeepAlive),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_gives_the_same_events(
        stream in stream(),
        cuts in vec(any::<usize>(), 0..20),
        limit in 40_usize..200,
    ) {
        framer(&stream, &cuts, limit);
        framer(&stream, &(0..stream.len()).collect::<Vec<_>>(), limit);
    }

    /// Whole streams, nobody leaves: the strict count holds.
    #[test]
    fn any_interleaving_of_halves_gives_the_events_of_all(
        streams in vec(stream(), 1..4),
        reads in vec((0_usize..3, 1_usize..30), 0..60),
    ) {
        let steps: Vec<Step> = reads
            .into_iter()
            .chain((0..3).map(|half| (half, usize::MAX / 2)))
            .map(|(half, length)| Step::Read(half, length))
            .collect();
        union(&streams, &steps, &[]);
    }

    #[test]
    fn halves_may_come_and_go(
        streams in vec(stream(), 1..4),
        steps in vec(step(), 0..80),
        named in any::<bool>(),
    ) {
        let names = ["init".to_owned(), "order".to_owned()];
        union(&streams, &steps, if named { &names } else { &[] });
    }
}
