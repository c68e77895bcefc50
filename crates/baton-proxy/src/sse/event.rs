//! What one event says that the proxy must know; its bytes stay as they were received.

use std::hash::{BuildHasher, Hasher};

use memchr::{memchr, memchr2};

/// What an event does to the client's last event id, once its blank line has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IdChange<'a> {
    /// No `id` field, or only ones that hold NUL: the client keeps what it has.
    #[default]
    Keep,
    /// The event's own id. Never empty, no CR, LF or NUL in it; not necessarily UTF-8.
    Set(&'a [u8]),
    /// An empty `id`: from now on the client has none.
    Reset,
}

/// One event: all bytes up to and with its blank line, and what they say.
///
/// Blocks without data (comments, an `id` alone, blank lines) are events, too: [`Event::dispatches`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    raw: &'a [u8],
    id: IdChange<'a>,
    name: &'a [u8],
    retry: Option<u64>,
    dispatches: bool,
    line_feed: bool,
}

impl<'a> Event<'a> {
    /// Reads the facts of `raw`: one whole event with its blank line, without BOM.
    #[must_use]
    pub fn parse(raw: &'a [u8]) -> Self {
        let mut event = Self {
            raw,
            id: IdChange::Keep,
            name: b"",
            retry: None,
            dispatches: false,
            line_feed: false,
        };
        for (field, value) in Fields::of(raw) {
            match field {
                b"data" => event.dispatches = true,
                b"event" => event.name = value,
                b"id" if value.is_empty() => event.id = IdChange::Reset,
                b"id" if memchr(0, value).is_none() => event.id = IdChange::Set(value),
                b"retry" => event.retry = digits(value).or(event.retry),
                _ => {}
            }
        }
        event
    }

    /// The LF of a CRLF whose CR ended the half's last event already and was the last byte of its read. It
    /// means nothing; it is passed on so that the client gets the bytes that the app wrote.
    pub(super) const fn line_feed(raw: &'a [u8]) -> Self {
        Self {
            raw,
            id: IdChange::Keep,
            name: b"",
            retry: None,
            dispatches: false,
            line_feed: true,
        }
    }

    /// The bytes as they were received, blank line included.
    #[must_use]
    pub const fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What the event does to the client's last event id. Holds even if nothing is dispatched.
    #[must_use]
    pub const fn id(&self) -> IdChange<'a> {
        self.id
    }

    /// The type that listeners see: the last `event` field, `message` if there is none or it is empty.
    #[must_use]
    pub const fn name(&self) -> &'a [u8] {
        if self.name.is_empty() {
            b"message"
        } else {
            self.name
        }
    }

    /// The reconnection time in milliseconds that the event sets, if it sets one.
    #[must_use]
    pub const fn retry(&self) -> Option<u64> {
        self.retry
    }

    /// Whether the client's listeners are called: the event has a `data` field, be it empty.
    #[must_use]
    pub const fn dispatches(&self) -> bool {
        self.dispatches
    }

    /// Whether this is only the LF that belongs to the CR at the end of the half's last event.
    #[must_use]
    pub const fn is_line_feed(&self) -> bool {
        self.line_feed
    }

    /// A hash of what the client's listeners see: (id, type, data). `None` for events that have no id of their
    /// own or dispatch nothing: those are never duplicates (Streams.md §1.2).
    #[must_use]
    pub fn fingerprint(&self, state: &impl BuildHasher) -> Option<u64> {
        let IdChange::Set(id) = self.id else {
            return None;
        };
        if !self.dispatches {
            return None;
        }
        let mut hasher = state.build_hasher();
        // None of them can hold an LF: it separates without doubt.
        for part in [id, self.name()] {
            hasher.write(part);
            hasher.write_u8(b'\n');
        }
        for data in self.data() {
            hasher.write(data);
            hasher.write_u8(b'\n');
        }
        Some(hasher.finish())
    }

    /// The values of the `data` fields, in order; the client sees them joined with LF.
    pub fn data(&self) -> impl Iterator<Item = &'a [u8]> {
        Fields::of(self.raw)
            .filter(|(field, _)| *field == b"data")
            .map(|(_, value)| value)
    }
}

/// `retry` takes ASCII digits only; what no clock could hold is as good as bogus.
fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The fields of an event, in order: name and value, one leading space removed. Comments and blank lines are left out.
struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    const fn of(raw: &'a [u8]) -> Self {
        Self { rest: raw }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr2(b'\r', b'\n', self.rest).unwrap_or(self.rest.len());
            let (line, rest) = self.rest.split_at(end);
            // The LF of a CRLF reads as a blank line of its own, which is left out anyway.
            self.rest = rest.get(1..).unwrap_or_default();
            let Some(colon) = memchr(b':', line) else {
                if line.is_empty() {
                    continue;
                }
                return Some((line, b""));
            };
            if colon > 0 {
                let value = &line[colon + 1..];
                return Some((&line[..colon], value.strip_prefix(b" ").unwrap_or(value)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;

    use super::*;

    #[test]
    fn facts_are_read_from_every_line() {
        let event =
            Event::parse(b": c\r\nid: 7\revent:order\ndata:  a\ndata\nretry: 10\nfoo: x\n\n");
        assert_eq!(event.id(), IdChange::Set(b"7"));
        assert_eq!(event.name(), b"order");
        assert_eq!(event.retry(), Some(10));
        assert!(event.dispatches());
        assert_eq!(event.data().collect::<Vec<_>>(), [&b" a"[..], b""]);
    }

    #[test]
    fn the_last_valid_field_counts() {
        let event = Event::parse(b"id: 1\nid: 2\0\nretry: 5\nretry: 5s\nevent: a\nevent\n\n");
        assert_eq!(event.id(), IdChange::Set(b"1"));
        assert_eq!(event.retry(), Some(5));
        assert_eq!(event.name(), b"message");
        assert_eq!(Event::parse(b"id: 1\nid\n\n").id(), IdChange::Reset);
        assert!(!event.dispatches());
    }

    #[test]
    fn a_fingerprint_is_of_what_listeners_see() {
        let state = RandomState::new();
        let of = |raw: &'static [u8]| Event::parse(raw).fingerprint(&state);
        assert_eq!(
            of(b"id: 1\ndata: x\n\n"),
            of(b": c\revent: message\rdata:x\rid:1\r\r")
        );
        assert_ne!(of(b"id: 1\ndata: x\n\n"), of(b"id: 1\ndata: y\n\n"));
        assert_ne!(
            of(b"id: 1\ndata: x\n\n"),
            of(b"id: 1\nevent: e\ndata: x\n\n")
        );
        assert_ne!(of(b"id: 1\ndata: x\n\n"), of(b"id: 1\ndata: x\ndata\n\n"));
        assert_eq!(of(b"data: x\n\n"), None);
        assert_eq!(of(b"id: 1\n\n"), None);
        assert_eq!(of(b"id\ndata: x\n\n"), None);
    }
}
