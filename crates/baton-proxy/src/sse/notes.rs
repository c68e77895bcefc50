//! What the proxy itself says in a stream. Only ever between two events.

use std::time::Duration;

/// A comment: keeps what is between us and the client from closing an idle connection.
pub const KEEP_ALIVE: &[u8] = b":\n\n";

/// Tells the client to reconnect after `retry` (whole milliseconds), for the end of a `reconnect` stream.
#[must_use]
pub fn closing(retry: Duration) -> Vec<u8> {
    format!("retry: {}\n\n", retry.as_millis()).into_bytes()
}

/// 250 to 1000 ms, spread evenly by `random`, so that clients do not all come back at once (Streams.md §1.1).
#[must_use]
pub const fn reconnect_delay(random: u64) -> Duration {
    const LEAST: u64 = 250;
    const MOST: u64 = 1000;
    Duration::from_millis(LEAST + random % (MOST - LEAST + 1))
}

/// Sets the client's last event id without dispatching anything; an empty `id` resets it. `id` holds no CR or LF.
pub(super) fn id_change(id: Option<&[u8]>) -> Vec<u8> {
    match id {
        Some(id) => [b"id: ", id, b"\n\n"].concat(),
        None => b"id\n\n".to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, IdChange};
    use super::*;

    #[test]
    fn the_delay_is_spread_over_its_range() {
        let delays = (0..10_000).map(reconnect_delay);
        assert_eq!(delays.clone().min(), Some(Duration::from_millis(250)));
        assert_eq!(delays.clone().max(), Some(Duration::from_millis(1000)));
        assert_eq!(reconnect_delay(u64::MAX), reconnect_delay(u64::MAX % 751));
    }

    #[test]
    fn notes_are_events_that_dispatch_nothing() {
        let closing = closing(Duration::from_millis(700));
        assert_eq!(closing, b"retry: 700\n\n");
        assert_eq!(Event::parse(&closing).retry(), Some(700));
        assert_eq!(
            Event::parse(&id_change(Some(b" 1"))).id(),
            IdChange::Set(b" 1")
        );
        assert_eq!(Event::parse(&id_change(None)).id(), IdChange::Reset);
        for note in [KEEP_ALIVE, &closing, &id_change(None)] {
            assert!(!Event::parse(note).dispatches());
            assert!(note.ends_with(b"\n\n"));
        }
    }
}
