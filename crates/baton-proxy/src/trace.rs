//! W3C trace context: `traceparent` is read, and passed on as it came. Where there is none, or one that is
//! none, a trace may begin here.

use crate::random::random;

/// The field that names a trace, and the one that only means something beside it.
pub(crate) const PARENT: &str = "traceparent";
pub(crate) const STATE: &str = "tracestate";

/// `00-` 32 digits `-` 16 digits `-` 2 digits.
const LENGTH: usize = 55;

/// The id of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub u128);

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A trace that begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) id: TraceId,
    parent: u64,
}

impl Begun {
    pub(crate) fn new() -> Begun {
        Begun {
            id: TraceId((u128::from(random()) << 64 | u128::from(random())).max(1)),
            parent: random().max(1),
        }
    }

    /// The value of `traceparent`. Sampled: the line of the log is what was recorded of it, and an app that
    /// does as its parent does (the default of OpenTelemetry) goes on recording as without Baton.
    pub(crate) fn value(self) -> [u8; LENGTH] {
        let mut value = [0; LENGTH];
        let text = format!("00-{}-{:016x}-01", self.id, self.parent);
        value.copy_from_slice(text.as_bytes());
        value
    }
}

/// The trace that a request belongs to: a single valid `traceparent` names it (W3C Trace Context §3.2).
pub(crate) fn of<'f>(fields: impl Iterator<Item = (&'f str, &'f [u8])>) -> Option<TraceId> {
    let mut parents = fields
        .filter(|(name, _)| name.len() == PARENT.len() && name.eq_ignore_ascii_case(PARENT))
        .map(|(_, value)| value);
    let parent = parents.next()?;
    if parents.next().is_some() {
        return None;
    }
    read(parent)
}

fn read(value: &[u8]) -> Option<TraceId> {
    let (known, more) = value.split_at_checked(LENGTH)?;
    let text = std::str::from_utf8(known).ok()?;
    let mut parts = text.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none()
        && (version.len(), id.len(), parent.len(), flags.len()) == (2, 32, 16, 2);
    let lower = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    // Versions to come may go on, after another dash.
    let ends = match version {
        "00" => more.is_empty(),
        "ff" => false,
        _ => more.is_empty() || more.starts_with(b"-"),
    };
    if !whole || !ends || !text.bytes().all(lower) || u64::from_str_radix(parent, 16).ok()? == 0 {
        return None;
    }
    let id = u128::from_str_radix(id, 16).ok()?;
    (id != 0).then_some(TraceId(id))
}

#[cfg(test)]
mod tests {
    use super::{Begun, of, read};

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_what_the_standard_calls_valid_is_a_trace() {
        let id = read(GOOD.as_bytes()).expect("valid");
        assert_eq!(id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let good = |text: &str| read(text.as_bytes()).is_some();
        assert!(good(&GOOD.replacen("00", "cc", 1)));
        assert!(good(&format!("{}-more", GOOD.replacen("00", "cc", 1))));
        for bad in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &format!("{GOOD}-more"),
            &GOOD.replacen("00", "ff", 1),
            &format!("{}more", GOOD.replacen("00", "cc", 1)),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47zz-00f067aa0ba902b7-01",
        ] {
            assert!(!good(bad), "{bad}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let one = ("TraceParent", GOOD.as_bytes());
        assert!(of([one].into_iter()).is_some());
        assert_eq!(of([one, one].into_iter()), None);
    }

    #[test]
    fn what_begins_here_is_valid() {
        let begun = Begun::new();
        assert_eq!(read(&begun.value()), Some(begun.id));
    }
}
