//! How the halves of one client's stream become one (Streams.md §1.2), rule by rule.

use std::sync::Arc;

use super::invariants::framer;
use super::reference::interpret;
use super::sse::{
    Event, Framer, HalfKey, LastId, MAX_EVENT, MAX_HALVES, MAX_ID, NoHandover, Overflow, Union,
    Verdict,
};

const OLD: HalfKey = HalfKey(1);
const NEW: HalfKey = HalfKey(2);

fn union(halves: &[HalfKey]) -> Union {
    naming(&[], halves)
}

fn naming(names: &[&str], halves: &[HalfKey]) -> Union {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut union = Union::new(None, Arc::from(names));
    for half in halves {
        union.open(*half);
    }
    union
}

fn take(union: &mut Union, half: HalfKey, raw: &str) -> Verdict {
    union.take(half, &Event::parse(raw.as_bytes()))
}

fn resume(union: &Union, half: HalfKey) -> Option<String> {
    let resume = union.resume(half, "/sse").unwrap();
    resume
        .last_event_id
        .map(|id| String::from_utf8(id.to_vec()).unwrap())
}

#[test]
fn what_another_half_gave_is_dropped() {
    let mut union = union(&[OLD, NEW]);
    assert_eq!(
        take(&mut union, OLD, "id: 1\ndata: x\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, NEW, "data: x\r\nid:1\r\n\r\n"),
        Verdict::Duplicate
    );
    assert_eq!(
        take(&mut union, NEW, "id: 2\ndata: y\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, OLD, "id: 2\ndata: y\n\n"),
        Verdict::Duplicate
    );
}

#[test]
fn the_same_id_alone_is_no_duplicate() {
    let mut union = union(&[OLD, NEW]);
    for (half, raw) in [
        (OLD, "id: 1\ndata: x\n\n"),
        (NEW, "id: 1\ndata: other\n\n"),
        (NEW, "id: 1\nevent: order\ndata: x\n\n"),
        (NEW, "id: 1\n\n"),
        (OLD, "id: 1\n\n"),
    ] {
        assert_eq!(take(&mut union, half, raw), Verdict::Forward, "{raw:?}");
    }
}

#[test]
fn events_without_an_id_of_their_own_are_never_dropped() {
    let mut union = union(&[OLD, NEW]);
    for raw in [
        "data: x\n\n",
        "id\ndata: x\n\n",
        "id: 1\0\ndata: x\n\n",
        ": c\n\n",
        "\n",
        "retry: 1\n\n",
    ] {
        for half in [OLD, NEW, OLD] {
            assert_eq!(take(&mut union, half, raw), Verdict::Forward, "{raw:?}");
        }
    }
}

#[test]
fn a_half_may_say_the_same_twice() {
    let mut union = union(&[OLD, NEW]);
    let raw = "id: 1\ndata: x\n\n";
    for (half, verdict) in [
        (OLD, Verdict::Forward),
        (OLD, Verdict::Forward),
        (NEW, Verdict::Duplicate),
        (NEW, Verdict::Duplicate),
        (NEW, Verdict::Forward),
        (OLD, Verdict::Duplicate),
    ] {
        assert_eq!(take(&mut union, half, raw), verdict);
    }
}

#[test]
fn an_event_of_three_halves_is_given_once() {
    let third = HalfKey(3);
    let mut union = union(&[OLD, NEW, third]);
    let raw = "id: 1\ndata: x\n\n";
    assert_eq!(take(&mut union, NEW, raw), Verdict::Forward);
    assert_eq!(take(&mut union, OLD, raw), Verdict::Duplicate);
    assert_eq!(take(&mut union, third, raw), Verdict::Duplicate);
}

/// A new half that replays what the client had before it was there.
#[test]
fn a_replay_is_dropped_as_far_back_as_events_are_remembered() {
    let mut union = union(&[OLD]);
    let raw = |number: usize| format!("id: {number}\ndata: x\n\n");
    for number in 0..100 {
        assert_eq!(take(&mut union, OLD, &raw(number)), Verdict::Forward);
    }
    union.open(NEW);
    assert_eq!(take(&mut union, NEW, &raw(99)), Verdict::Duplicate);
    assert_eq!(take(&mut union, NEW, &raw(36)), Verdict::Duplicate);
    assert_eq!(take(&mut union, NEW, &raw(35)), Verdict::Forward);
    for number in 100..355 {
        assert_eq!(take(&mut union, OLD, &raw(number)), Verdict::Forward);
    }
    for number in 100..355 {
        assert_eq!(take(&mut union, NEW, &raw(number)), Verdict::Duplicate);
    }
}

#[test]
fn what_a_half_gave_that_has_left_is_still_known() {
    let mut union = union(&[OLD, NEW]);
    take(&mut union, OLD, "id: 1\ndata: x\n\n");
    union.close(OLD);
    assert_eq!(
        take(&mut union, NEW, "id: 1\ndata: x\n\n"),
        Verdict::Duplicate
    );
    // One that takes its place is another one.
    union.open(OLD);
    assert_eq!(
        take(&mut union, OLD, "id: 1\ndata: x\n\n"),
        Verdict::Duplicate
    );
}

#[test]
fn beyond_the_most_halves_all_is_forwarded() {
    let keys: Vec<HalfKey> = (0..=MAX_HALVES as u64).map(HalfKey).collect();
    let mut union = union(&keys);
    let raw = "id: 1\ndata: x\n\n";
    assert_eq!(take(&mut union, keys[0], raw), Verdict::Forward);
    assert_eq!(
        take(&mut union, keys[MAX_HALVES - 1], raw),
        Verdict::Duplicate
    );
    assert_eq!(take(&mut union, keys[MAX_HALVES], raw), Verdict::Forward);
    union.close(keys[5]);
    union.open(HalfKey(1000));
    assert_eq!(take(&mut union, HalfKey(1000), raw), Verdict::Duplicate);
    assert_eq!(union.halves(), MAX_HALVES + 1);
}

#[test]
fn named_events_are_dropped_when_a_half_sends_them_on_connect() {
    let mut union = naming(&["connect", "init"], &[OLD]);
    assert_eq!(
        take(&mut union, OLD, "event: connect\ndata: hi\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, OLD, "event: init\ndata: 1\n\n"),
        Verdict::Forward
    );
    union.open(NEW);
    assert_eq!(
        take(&mut union, NEW, ": comments do not count\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, NEW, "event: init\ndata: 2\n\n"),
        Verdict::OnAttach
    );
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata: 2\n\n"),
        Verdict::OnAttach
    );
    // The second is not what was sent on connect.
    assert_eq!(
        take(&mut union, NEW, "event: init\ndata: 3\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata: 3\n\n"),
        Verdict::Forward
    );
}

#[test]
fn the_first_other_event_ends_the_attach() {
    let mut union = naming(&["connect"], &[OLD]);
    take(&mut union, OLD, "event: connect\ndata\n\n");
    union.open(NEW);
    assert_eq!(take(&mut union, NEW, "data: x\n\n"), Verdict::Forward);
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata\n\n"),
        Verdict::Forward
    );
    // As often as it is opened.
    union.open(NEW);
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata\n\n"),
        Verdict::OnAttach
    );
    union.open(NEW);
    union.settle(NEW);
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata\n\n"),
        Verdict::Forward
    );
}

#[test]
fn a_named_event_that_the_client_never_had_is_given() {
    let mut union = naming(&["connect", "init"], &[OLD]);
    take(&mut union, OLD, "event: connect\ndata\n\n");
    union.open(NEW);
    assert_eq!(
        take(&mut union, NEW, "event: init\ndata: 1\n\n"),
        Verdict::Forward
    );
    assert_eq!(
        take(&mut union, NEW, "event: connect\ndata\n\n"),
        Verdict::OnAttach
    );
}

#[test]
fn the_id_is_corrected_when_the_half_that_gave_it_leaves() {
    let mut union = union(&[OLD, NEW]);
    take(&mut union, NEW, "id: new-7\ndata: a\n\n");
    take(&mut union, OLD, "id: old-9\ndata: b\n\n");
    assert_eq!(union.client_id(), &LastId::of(b"old-9"));
    assert_eq!(union.close(OLD).unwrap(), b"id: new-7\n\n");
    assert_eq!(union.client_id(), &LastId::of(b"new-7"));
    assert_eq!(union.close(NEW), None);
}

#[test]
fn the_id_is_reset_when_no_remaining_half_gave_one() {
    let mut union = union(&[OLD, NEW]);
    take(&mut union, OLD, "id: old-9\n\n");
    take(&mut union, NEW, "data: a\n\n");
    let correction = union.close(OLD).unwrap();
    assert_eq!(correction, b"id\n\n");
    assert_eq!(
        interpret(&[b"id: old-9\n\n", &correction[..]].concat()).last_event_id,
        b""
    );
    assert_eq!(resume(&union, HalfKey(9)), None);
}

#[test]
fn the_newest_id_of_the_remaining_halves_is_taken() {
    let third = HalfKey(3);
    let mut union = union(&[OLD, NEW, third]);
    take(&mut union, third, "id: c1\n\n");
    take(&mut union, NEW, "id: b1\n\n");
    take(&mut union, third, "id: c2\n\n");
    take(&mut union, OLD, "id: a1\n\n");
    assert_eq!(union.close(OLD).unwrap(), b"id: c2\n\n");
    assert_eq!(union.close(third).unwrap(), b"id: b1\n\n");
}

#[test]
fn no_correction_where_the_id_is_right_already() {
    // The other half gave it last.
    let mut one = union(&[OLD, NEW]);
    take(&mut one, OLD, "id: a\n\n");
    take(&mut one, NEW, "id: b\n\n");
    assert_eq!(one.close(OLD), None);
    // Both gave it: shared ids.
    let mut two = union(&[OLD, NEW]);
    take(&mut two, OLD, "id: 5\ndata: x\n\n");
    assert_eq!(
        take(&mut two, NEW, "id: 5\ndata: x\n\n"),
        Verdict::Duplicate
    );
    assert_eq!(two.close(OLD), None);
    assert_eq!(two.client_id(), &LastId::of(b"5"));
    // Nobody gave one.
    let mut three = union(&[OLD, NEW]);
    take(&mut three, OLD, "data: x\n\n");
    assert_eq!(three.close(OLD), None);
    // The one that leaves had reset it, and there is no other.
    let mut four = union(&[OLD, NEW]);
    take(&mut four, OLD, "id\n\n");
    assert_eq!(four.close(OLD), None);
    // Not a half at all.
    assert_eq!(four.close(HalfKey(77)), None);
}

#[test]
fn a_dropped_event_does_not_change_what_the_client_has() {
    let mut union = naming(&["init"], &[OLD]);
    take(&mut union, OLD, "event: init\ndata\n\n");
    take(&mut union, OLD, "id: 1\ndata: x\n\n");
    union.open(NEW);
    take(&mut union, OLD, "id: 2\ndata: y\n\n");
    assert_eq!(
        take(&mut union, NEW, "id: 0\nevent: init\ndata\n\n"),
        Verdict::OnAttach
    );
    assert_eq!(
        take(&mut union, NEW, "id: 1\ndata: x\n\n"),
        Verdict::Duplicate
    );
    assert_eq!(union.client_id(), &LastId::of(b"2"));
    // But it is what the new half gave.
    assert_eq!(union.close(OLD).unwrap(), b"id: 1\n\n");
}

#[test]
fn a_new_half_is_asked_with_the_last_id_of_the_connection() {
    let mut union = Union::new(Some(b"sent"), Arc::from([]));
    union.open(OLD);
    assert_eq!(resume(&union, NEW).as_deref(), Some("sent"));
    take(&mut union, OLD, "id: 5\n\n");
    assert_eq!(resume(&union, NEW).as_deref(), Some("5"));
    take(&mut union, OLD, "id\n\n");
    assert_eq!(resume(&union, NEW), None);
}

#[test]
fn a_half_that_is_opened_again_is_asked_with_its_own_last_id() {
    let mut union = union(&[OLD, NEW]);
    take(&mut union, NEW, "id: new-7\n\n");
    take(&mut union, OLD, "id: old-9\n\n");
    assert_eq!(resume(&union, NEW).as_deref(), Some("new-7"));
    assert_eq!(resume(&union, OLD).as_deref(), Some("old-9"));
    assert_eq!(resume(&union, HalfKey(3)).as_deref(), Some("old-9"));
}

#[test]
fn the_query_is_rewritten_once_an_id_was_given() {
    let mut union = union(&[OLD]);
    let target = "/sse?room=1&lastEventId=3";
    assert_eq!(union.resume(NEW, target).unwrap().target, None);
    take(&mut union, OLD, "id: a/4\n\n");
    let resume = union.resume(NEW, target).unwrap();
    assert_eq!(
        resume.target.as_deref(),
        Some("/sse?room=1&lastEventId=a%2F4")
    );
    assert_eq!(resume.last_event_id, Some(&b"a/4"[..]));
    assert_eq!(union.resume(NEW, "/sse").unwrap().target, None);
    take(&mut union, OLD, "id\n\n");
    let resume = union.resume(NEW, target).unwrap();
    assert_eq!(resume.target.as_deref(), Some("/sse?room=1&lastEventId="));
    assert_eq!(resume.last_event_id, None);
}

#[test]
fn an_id_that_cannot_be_told_is_no_handover() {
    let long = format!("id: {}\n\n", "1".repeat(MAX_ID + 1));
    for raw in ["id:  1\n\n", "id: 1 \n\n", "id: \x01\n\n", &long] {
        let mut union = union(&[OLD]);
        take(&mut union, OLD, raw);
        assert!(
            matches!(union.resume(NEW, "/"), Err(NoHandover(_))),
            "{raw:.20}"
        );
    }
    // Too long an id is not sent as a correction either.
    let mut union = union(&[OLD, NEW]);
    take(&mut union, NEW, &long);
    take(&mut union, OLD, "id: 1\n\n");
    assert_eq!(union.close(OLD).unwrap(), b"id\n\n");
}

/// A CRLF that two reads cut, when another half's event came between.
#[test]
fn an_lf_that_comes_late_is_sent_only_where_its_cr_was_last() {
    for (between, verdict) in [(false, Verdict::Forward), (true, Verdict::LineFeed)] {
        let mut framer = Framer::new();
        let mut union = union(&[OLD, NEW]);
        let mut input = &b"data: x\r\n\r"[..];
        let event = framer.next(&mut input).unwrap().unwrap();
        assert_eq!(event.raw(), b"data: x\r\n\r");
        assert_eq!(union.take(OLD, &event), Verdict::Forward);
        assert_eq!(framer.next(&mut input), Ok(None));
        if between {
            take(&mut union, NEW, "data: y\n\n");
        }
        let mut input = &b"\ndata: z\n\n"[..];
        let line_feed = framer.next(&mut input).unwrap().unwrap();
        assert!(line_feed.is_line_feed());
        assert_eq!(union.take(OLD, &line_feed), verdict);
        let event = framer.next(&mut input).unwrap().unwrap();
        assert_eq!(event.raw(), b"data: z\n\n");
    }
}

#[test]
fn an_idle_stream_holds_no_bytes() {
    let mut framer = Framer::new();
    for read in [&b"data: 1\n\nda"[..], b"ta: 2", b"\n\n"] {
        let mut input = read;
        while framer.next(&mut input).unwrap().is_some() {}
    }
    assert_eq!(framer.held(), 0);
    assert_eq!(framer.take_partial().capacity(), 0);
}

#[test]
fn an_event_of_the_greatest_size_passes_and_a_longer_one_gives_all_back() {
    let event = |length: usize| {
        let mut event = b"data: ".to_vec();
        event.resize(length - 2, b'x');
        event.extend_from_slice(b"\n\n");
        event
    };
    let mut greatest = event(MAX_EVENT);
    greatest.extend_from_slice(b"data: after\n\n");
    let mut longer = b"data: before\n\n".to_vec();
    longer.extend(event(MAX_EVENT + 1));
    longer.extend_from_slice(b"data: after\n\n");
    for piece in [usize::MAX, 16 * 1024, 1000] {
        let (given, held) = read_in(&greatest, piece);
        assert_eq!((given.len(), held), (2, None));
        assert!(given.concat() == greatest);
        let (given, held) = read_in(&longer, piece);
        assert_eq!(given.concat(), b"data: before\n\n");
        assert!(held.unwrap() == longer[14..]);
    }
}

/// The last LF may come late: with it or without it, the same events are too long.
#[test]
fn the_limit_does_not_depend_on_how_a_stream_is_cut() {
    for stream in [
        &b"data: 1\r\n\r\ndata: 22\r\n\r\n"[..],
        b"data: 1\r\rdata: 22\n\n",
    ] {
        for limit in 1..stream.len() {
            for cut in 0..stream.len() {
                framer(stream, &[cut], limit);
            }
        }
    }
}

/// The events in reads of `piece` bytes; and all the rest, from what is given back on, once one is too long.
fn read_in(stream: &[u8], piece: usize) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut framer = Framer::new();
    let mut given = Vec::new();
    let mut read = 0;
    for mut input in stream.chunks(piece.min(stream.len())) {
        read += input.len();
        loop {
            match framer.next(&mut input) {
                Ok(Some(event)) => given.push(event.raw().to_vec()),
                Ok(None) => break,
                Err(Overflow) => {
                    let mut rest = framer.take_partial();
                    rest.extend_from_slice(input);
                    rest.extend_from_slice(&stream[read..]);
                    return (given, Some(rest));
                }
            }
        }
    }
    (given, None)
}
