//! Last event ids: what a client has, and how a new half is told.

use smallvec::SmallVec;

/// A longer id is not kept, nor sent in a field, bytes: servers refuse request heads of 8 KiB.
pub const MAX_ID: usize = 4096;

/// The last event id that a stream has given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LastId {
    /// None was ever given.
    #[default]
    None,
    /// It was reset with an empty `id`.
    Reset,
    /// Its bytes; never empty, no CR, LF or NUL in them.
    Known(SmallVec<[u8; 24]>),
    /// One longer than [`MAX_ID`].
    TooLong,
}

/// The client's last event id cannot be told to a new half: no handover, the client must reconnect by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the last event id cannot be sent in a Last-Event-ID field: {0}")]
pub struct NoHandover(pub &'static str);

impl LastId {
    /// An id as it was sent; empty means reset.
    #[must_use]
    pub fn of(id: &[u8]) -> Self {
        match id.len() {
            0 => Self::Reset,
            1..=MAX_ID => Self::Known(SmallVec::from_slice(id)),
            _ => Self::TooLong,
        }
    }

    /// Its bytes, if there is one that was kept.
    #[must_use]
    pub fn known(&self) -> Option<&[u8]> {
        match self {
            Self::Known(id) => Some(id),
            _ => None,
        }
    }

    /// What `Last-Event-ID` must say; `None`: the field is left out.
    ///
    /// # Errors
    /// [`NoHandover`] if a field value cannot hold the id (RFC 9110 §5.5), or would come out of it as another one.
    pub fn as_field(&self) -> Result<Option<&[u8]>, NoHandover> {
        let id = match self {
            Self::None | Self::Reset => return Ok(None),
            Self::Known(id) => id.as_slice(),
            Self::TooLong => return Err(NoHandover("it is too long")),
        };
        let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if id
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            Err(NoHandover("it holds a control character"))
        } else if is_blank(id.first()) || is_blank(id.last()) {
            Err(NoHandover("it begins or ends with a blank"))
        } else if std::str::from_utf8(id).is_err() {
            // The client has U+FFFD there, and would send that.
            Err(NoHandover("it is not UTF-8"))
        } else {
            Ok(Some(id))
        }
    }
}

/// `target` (path and query) with the value of every `lastEventId` and `last_event_id` parameter replaced by `id`,
/// percent-encoded. `None`: it has no such parameter. Clients that cannot set the field (polyfills, and
/// EventSource across origins) send the id there.
#[must_use]
pub fn with_last_event_id(target: &str, id: &[u8]) -> Option<String> {
    let (path, query) = target.split_once('?')?;
    let is_id = |parameter: &&str| {
        let name = parameter
            .split_once('=')
            .map_or(*parameter, |(name, _)| name);
        matches!(name, "lastEventId" | "last_event_id")
    };
    query.split('&').find(is_id)?;
    let mut rewritten = String::with_capacity(target.len() + 3 * id.len());
    rewritten.push_str(path);
    for (count, parameter) in query.split('&').enumerate() {
        rewritten.push(if count == 0 { '?' } else { '&' });
        if is_id(&parameter) {
            rewritten.push_str(parameter.split('=').next().unwrap_or_default());
            rewritten.push('=');
            push_encoded(&mut rewritten, id);
        } else {
            rewritten.push_str(parameter);
        }
    }
    Some(rewritten)
}

/// Everything but RFC 3986's unreserved characters is encoded: right in any part of a query, form-decoded or not.
fn push_encoded(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push('%');
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_field_can_hold_is_told() {
        assert_eq!(LastId::None.as_field(), Ok(None));
        assert_eq!(LastId::of(b"").as_field(), Ok(None));
        assert_eq!(LastId::of(b"17-0").as_field(), Ok(Some(&b"17-0"[..])));
        let accented = "\u{2026} a\tb";
        assert_eq!(
            LastId::of(accented.as_bytes()).as_field(),
            Ok(Some(accented.as_bytes()))
        );
    }

    #[test]
    fn an_id_that_would_arrive_as_another_is_no_handover() {
        for id in [
            &b" 1"[..],
            b"1 ",
            b"1\t",
            b"1\x0b2",
            b"\x7f",
            b"\xff",
            &[b'1'; MAX_ID + 1],
        ] {
            assert!(LastId::of(id).as_field().is_err(), "{}", id.escape_ascii());
        }
    }

    #[test]
    fn query_parameters_are_rewritten_in_place() {
        let rewrite = |target| with_last_event_id(target, "a b&c=\u{e9}+%".as_bytes());
        let id = "a%20b%26c%3D%C3%A9%2B%25";
        assert_eq!(
            rewrite("/sse?lastEventId=5"),
            Some(format!("/sse?lastEventId={id}"))
        );
        assert_eq!(
            rewrite("/sse?a=1&last_event_id=&b&lastEventId"),
            Some(format!("/sse?a=1&last_event_id={id}&b&lastEventId={id}"))
        );
        assert_eq!(
            rewrite("/sse?x=?&lastEventId=1=2&y"),
            Some(format!("/sse?x=?&lastEventId={id}&y"))
        );
        for target in [
            "/sse",
            "/sse?",
            "/lastEventId=1",
            "/sse?lasteventid=1&xlastEventId=2",
            "/?q=lastEventId",
        ] {
            assert_eq!(rewrite(target), None, "{target}");
        }
        assert_eq!(
            with_last_event_id("/?lastEventId=4", b""),
            Some("/?lastEventId=".to_owned())
        );
    }
}
