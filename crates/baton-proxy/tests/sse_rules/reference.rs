//! The client's side, written down from the standard and nothing else: WHATWG HTML §9.2.5 and §9.2.6, "parsing" and
//! "interpreting an event stream". Slow and whole: it wants all bytes at once.
//!
//! Works on bytes. The standard decodes UTF-8 first; that makes no difference for CR, LF, `:` and blanks, which never
//! stand inside a sequence, so [`text`] decodes what is left at the end.

/// What a listener is called with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) kind: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) last_event_id: Vec<u8>,
}

/// An EventSource after it has read a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Source {
    pub(crate) messages: Vec<Message>,
    /// "last event ID string": what a reconnect would present.
    pub(crate) last_event_id: Vec<u8>,
    /// "reconnection time", if the stream has set it.
    pub(crate) retry: Option<u64>,
}

/// Decodes as the standard does: U+FFFD for what is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stream from its first byte on, read by an EventSource that has `last_event_id` already.
pub(crate) fn interpret_from(stream: &[u8], last_event_id: &[u8]) -> Source {
    // "The UTF-8 decode algorithm strips one leading UTF-8 Byte Order Mark (BOM), if any."
    interpret_events(
        stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream),
        last_event_id,
    )
}

pub(crate) fn interpret(stream: &[u8]) -> Source {
    interpret_from(stream, b"")
}

/// The same from the middle of a stream on, where no mark is looked for.
pub(crate) fn interpret_events(stream: &[u8], last_event_id: &[u8]) -> Source {
    let mut source = Source {
        last_event_id: last_event_id.to_vec(),
        ..Source::default()
    };
    let (mut data, mut kind, mut id) = (Vec::new(), Vec::new(), last_event_id.to_vec());
    for line in lines(stream) {
        if line.is_empty() {
            source.last_event_id.clone_from(&id);
            if !data.is_empty() {
                // "If the data buffer's last character is LF, then remove it": each data field has added one.
                data.pop();
                if kind.is_empty() {
                    kind = b"message".to_vec();
                }
                source.messages.push(Message {
                    kind: kind.clone(),
                    data: data.clone(),
                    last_event_id: id.clone(),
                });
            }
            data.clear();
            kind.clear();
            continue;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => continue,
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"event" => kind = value.to_vec(),
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            b"id" if !value.contains(&0) => id = value.to_vec(),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                // Browsers clamp what does not fit; here it is left out.
                source.retry = text(value).parse().ok().or(source.retry);
            }
            _ => {}
        }
    }
    source
}

/// The lines that have an end: CRLF, LF or CR.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < stream.len() {
        if matches!(stream[at], b'\r' | b'\n') {
            lines.push(&stream[start..at]);
            if stream[at..].starts_with(b"\r\n") {
                at += 1;
            }
            start = at + 1;
        }
        at += 1;
    }
    lines
}
