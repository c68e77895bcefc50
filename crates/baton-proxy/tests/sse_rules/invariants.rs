//! What must hold for every stream, however it is cut and however halves are interleaved. Shared with the fuzz targets.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reference::{Message, interpret, interpret_events, interpret_from};
use super::sse::{Event, Framer, HalfKey, IdChange, KEEP_ALIVE, LastId, Overflow, Union, Verdict};

const MARK: &[u8] = b"\xEF\xBB\xBF";

/// All that a framer gives for `stream`, read in pieces that end at `cuts`; and what it still holds, once it has
/// overflowed.
fn framed(stream: &[u8], cuts: &[usize], limit: usize) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let mut framer = Framer::with_limit(limit);
    let mut given: Vec<Vec<u8>> = Vec::new();
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        let read = &stream[start.min(end)..end];
        start = start.max(end);
        let mut input = read;
        loop {
            let held = framer.held();
            let before = input;
            match framer.next(&mut input) {
                Ok(Some(event)) => {
                    check_facts(&event);
                    let in_read = read.as_ptr_range().contains(&event.raw().as_ptr());
                    assert!(held > 0 || in_read || before.starts_with(&MARK[..1]));
                    assert!(event.raw().len() <= limit + 1);
                    if event.is_line_feed() {
                        let last = given.last_mut().expect("an event that ended with CR");
                        assert!(last.ends_with(b"\r"));
                        last.push(b'\n');
                    } else {
                        given.push(event.raw().to_vec());
                    }
                    assert_eq!(framer.held(), 0);
                }
                Ok(None) => {
                    assert!(input.is_empty());
                    break;
                }
                Err(Overflow) => {
                    assert_eq!(framer.next(&mut input), Err(Overflow));
                    let mut rest = framer.take_partial();
                    assert_eq!(framer.held(), 0);
                    rest.extend_from_slice(input);
                    rest.extend_from_slice(&stream[end..]);
                    return (given, Some(rest));
                }
            }
        }
    }
    (given, None)
}

/// The facts of an event are those that a client would find.
fn check_facts(event: &Event<'_>) {
    let alone = interpret_events(event.raw(), b"\0");
    assert_eq!(alone.messages.len(), usize::from(event.dispatches()));
    if let [message] = &alone.messages[..] {
        assert_eq!(message.kind, event.name());
        assert_eq!(message.data, event.data().collect::<Vec<_>>().join(&b'\n'));
    }
    let id = match event.id() {
        IdChange::Keep => b"\0",
        IdChange::Set(id) => id,
        IdChange::Reset => b"",
    };
    assert_eq!(alone.last_event_id, id);
    assert_eq!(alone.retry, event.retry());
    // It ends with a blank line, and with nothing else.
    let raw = event.raw();
    let (before, _) = raw.split_at(raw.len() - 1 - usize::from(raw.ends_with(b"\r\n")));
    assert!(before.is_empty() || before.ends_with(b"\r") || before.ends_with(b"\n"));
    assert_eq!(interpret_events(before, b"\0").messages, []);
}

/// However a stream is cut: the same whole events, byte for byte, and nothing else.
pub(crate) fn framer(stream: &[u8], cuts: &[usize], limit: usize) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.sort_unstable();
    let (whole, overflow) = framed(stream, &[], limit);
    let (pieces, also_overflow) = framed(stream, &cuts, limit);
    assert_eq!(overflow.is_some(), also_overflow.is_some());
    assert_eq!(whole, pieces);

    // What is given, and then what is held when it overflows, is the stream without its mark.
    let unmarked = match stream.strip_prefix(MARK) {
        Some(rest) if !rest.starts_with(MARK) => rest,
        _ => stream,
    };
    let given = whole.concat();
    assert!(unmarked.starts_with(&given));
    let rest = &unmarked[given.len()..];
    if let Some(held) = overflow {
        assert_eq!(held, rest);
        return;
    }
    assert!(rest.len() <= limit);
    let source = interpret(stream);
    for output in [&given, &[MARK, &given].concat()] {
        let again = interpret(output);
        assert_eq!(again.messages, source.messages);
        assert_eq!(again.last_event_id, source.last_event_id);
    }
    // In the middle of another stream it means the same.
    let middle = interpret(&[b"data\n\n", &given[..]].concat());
    assert_eq!(middle.messages[1..], source.messages);
    assert_eq!(interpret(rest).messages, []);
}

/// What happens to a client's stream.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// So many more bytes of a half are read; the first opens it.
    Read(usize, usize),
    /// A half's connection ends and it is opened again: what it sends then is a stream of its own.
    Reopen(usize),
    Settle(usize),
    /// A half leaves for good, unless it is the only one; reading more of it opens it anew.
    Close(usize),
    KeepAlive,
}

/// An event as duplicates are told: its own id, type, data.
type Key = (Option<Vec<u8>>, Vec<u8>, Vec<u8>);

/// What is known of a half without asking the union.
#[derive(Default)]
struct Half {
    framer: Option<Framer>,
    read: usize,
    last_id: Option<Vec<u8>>,
    newest: usize,
    /// All that it gave, forwarded or not.
    gave: BTreeMap<Key, usize>,
    on_attach: Vec<Vec<u8>>,
}

struct Play<'p> {
    streams: &'p [Vec<u8>],
    names: &'p [String],
    union: Union,
    halves: Vec<Half>,
    out: Vec<u8>,
    expected: Vec<Message>,
    forwarded: BTreeMap<Key, usize>,
    client_id: Vec<u8>,
    giver: Option<usize>,
    any_id: bool,
    turn: usize,
}

const SENT: &[u8] = b"before";

/// Whatever the halves send and however they are interleaved, the client finds whole events: all of each half, in
/// its order, but for what the other half gave.
pub(crate) fn union(streams: &[Vec<u8>], steps: &[Step], names: &[String]) {
    let mut play = Play {
        streams,
        names,
        union: Union::new(Some(SENT), Arc::from(names.to_vec())),
        halves: streams.iter().map(|_| Half::default()).collect(),
        out: Vec::new(),
        expected: Vec::new(),
        forwarded: BTreeMap::new(),
        client_id: SENT.to_vec(),
        giver: None,
        any_id: false,
        turn: 0,
    };
    let mut left = false;
    for step in steps {
        match *step {
            Step::Read(half, length) => play.read(half % streams.len(), length),
            Step::Reopen(half) => play.reopen(half % streams.len()),
            Step::Settle(half) => play.union.settle(HalfKey((half % streams.len()) as u64)),
            Step::Close(half) => left |= play.close(half % streams.len()),
            Step::KeepAlive => play.out.extend_from_slice(KEEP_ALIVE),
        }
        play.check_id();
    }
    let client = interpret_from(&play.out, SENT);
    assert_eq!(client.messages, play.expected);
    assert_eq!(client.last_event_id, play.client_id);
    if names.is_empty() && !left {
        play.check_counts();
    }
}

impl Play<'_> {
    fn read(&mut self, half: usize, length: usize) {
        let start = self.halves[half].read;
        let end = self.streams[half].len().min(start + length);
        self.halves[half].read = end;
        if self.halves[half].framer.is_none() {
            self.reopen(half);
        }
        let mut framer = self.halves[half].framer.take().expect("just opened");
        let mut input = &self.streams[half][start..end];
        while let Some(event) = framer.next(&mut input).expect("no long events here") {
            self.take(half, &event);
        }
        self.halves[half].framer = Some(framer);
    }

    fn reopen(&mut self, half: usize) {
        self.union.open(HalfKey(half as u64));
        self.halves[half].framer = Some(Framer::new());
        self.halves[half].on_attach.clear();
    }

    fn take(&mut self, half: usize, event: &Event<'_>) {
        let verdict = self.union.take(HalfKey(half as u64), event);
        let alone = interpret_events(event.raw(), &self.client_id);
        let state = &mut self.halves[half];
        self.turn += 1;
        if event.id() != IdChange::Keep {
            state.last_id = Some(alone.last_event_id.clone());
            state.newest = self.turn;
        }
        let key = alone.messages.first().map(|message| key_of(event, message));
        if let Some(key) = &key {
            *state.gave.entry(key.clone()).or_default() += 1;
        }
        match verdict {
            Verdict::Forward => {
                self.out.extend_from_slice(event.raw());
                self.expected.extend(alone.messages);
                if let Some(key) = key {
                    *self.forwarded.entry(key).or_default() += 1;
                }
                if event.id() != IdChange::Keep {
                    self.client_id = alone.last_event_id;
                    self.giver = Some(half);
                    self.any_id = true;
                }
            }
            Verdict::Duplicate => {
                let key = key.expect("only what dispatches is a duplicate");
                assert!(key.0.is_some() && self.forwarded.contains_key(&key));
            }
            Verdict::OnAttach => {
                let name = event.name();
                assert!(self.names.iter().any(|listed| listed.as_bytes() == name));
                assert!(self.expected.iter().any(|message| message.kind == name));
                assert!(!state.on_attach.iter().any(|dropped| dropped == name));
                state.on_attach.push(name.to_vec());
            }
            Verdict::LineFeed => assert_eq!(event.raw(), b"\n"),
        }
    }

    /// Whether it left.
    fn close(&mut self, half: usize) -> bool {
        let open = self
            .halves
            .iter()
            .filter(|half| half.framer.is_some())
            .count();
        if open < 2 || self.halves[half].framer.is_none() {
            return false;
        }
        let gone = std::mem::take(&mut self.halves[half]);
        self.halves[half].read = gone.read;
        self.halves[half].gave = gone.gave;
        let correction = self.union.close(HalfKey(half as u64));
        if self.giver != Some(half) {
            assert_eq!(correction, None);
            return true;
        }
        let newest = (0..self.halves.len())
            .filter(|half| self.halves[*half].framer.is_some())
            .filter(|half| self.halves[*half].last_id.is_some())
            .max_by_key(|half| self.halves[*half].newest);
        let id = newest.map_or(Vec::new(), |half| {
            self.halves[half].last_id.clone().unwrap_or_default()
        });
        self.giver = newest;
        assert_eq!(correction.is_some(), id != self.client_id);
        self.out.extend(correction.unwrap_or_default());
        self.client_id = id;
        true
    }

    /// The union knows which id the client has, and how to ask for a half with it.
    fn check_id(&self) {
        let known = match self.union.client_id() {
            LastId::Known(id) => id.to_vec(),
            LastId::Reset => Vec::new(),
            other => panic!("{other:?}"),
        };
        assert_eq!(known, self.client_id);
        for (key, half) in self.halves.iter().enumerate() {
            let own = half.framer.as_ref().and(half.last_id.as_deref());
            let id = own.unwrap_or(&self.client_id);
            if let Ok(resume) = self.union.resume(HalfKey(key as u64), "/?lastEventId=0") {
                assert_eq!(resume.last_event_id.unwrap_or_default(), id);
                let rewritten = resume.target.is_some();
                assert_eq!(rewritten, own.is_some() || self.any_id);
            }
        }
    }

    /// The client gets what has no id as often as all halves gave it together, and what has one as often as the half
    /// that gave it most.
    fn check_counts(&self) {
        let mut wanted: BTreeMap<Key, usize> = BTreeMap::new();
        for half in &self.halves {
            for (key, count) in &half.gave {
                let so_far = wanted.entry(key.clone()).or_default();
                *so_far = match key.0 {
                    Some(_) => *count.max(so_far),
                    None => *so_far + count,
                };
            }
        }
        // As far as a union remembers.
        let identified = wanted.iter().filter(|(key, _)| key.0.is_some());
        if identified.map(|(_, count)| count).sum::<usize>() <= 64 {
            assert_eq!(self.forwarded, wanted);
        }
    }
}

fn key_of(event: &Event<'_>, message: &Message) -> Key {
    let id = match event.id() {
        IdChange::Set(id) => Some(id.to_vec()),
        IdChange::Keep | IdChange::Reset => None,
    };
    (id, message.kind.clone(), message.data.clone())
}
