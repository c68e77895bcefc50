//! Bytes as they are read → whole events.

use memchr::memchr2;

use super::event::Event;

/// A longer event turns its stream into raw pass-through; bytes (Streams.md §1.2).
pub const MAX_EVENT: usize = 256 * 1024;

/// What a stream may start with, twice: one is a mark and removed, the second belongs to the first field's name.
const MARKS: &[u8; 6] = b"\xEF\xBB\xBF\xEF\xBB\xBF";
const MARK: usize = 3;

/// An event is longer than the framer's limit. From here on the stream can only be passed on as it is:
/// first [`Framer::take_partial`], then the rest of the input, then whatever is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than what is kept of one")]
pub struct Overflow;

/// Cuts what is read from one half into whole events. One per connection to an instance.
///
/// ```
/// # use baton_proxy::sse::{Framer, Overflow};
/// # fn main() -> Result<(), Overflow> {
/// let mut framer = Framer::new();
/// let mut out = Vec::new();
/// for read in [&b"data: 1\n\ndata"[..], b": 2\n\n: cut o"] {
///     let mut input = read;
///     while let Some(event) = framer.next(&mut input)? {
///         out.extend_from_slice(event.raw());
///     }
/// }
/// assert_eq!(out, b"data: 1\n\ndata: 2\n\n");
/// # Ok(())
/// # }
/// ```
///
/// Events that lie whole in one read are slices of it; only an event that was cut by the end of a read is copied, into
/// a buffer that lives until that event has been given. At the end of the input just drop the framer: what it still
/// holds is an event without its blank line, which the standard says to discard.
#[derive(Debug)]
pub struct Framer {
    limit: usize,
    /// An event's beginning, if a read ended in the middle of it; or the event that was given last.
    partial: Vec<u8>,
    /// `partial` holds an event that has been given: the next call starts anew.
    given: bool,
    /// The first bytes are not known yet; so many of them were those of [`MARKS`].
    start: Start,
    /// Bytes of the line that is being read, line end excluded.
    line: usize,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    overflowed: bool,
}

#[derive(Debug)]
enum Start {
    /// So many bytes of [`MARKS`] were read, and nothing else.
    Marks(usize),
    Known,
}

impl Default for Framer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer {
    /// A framer at the start of a half. Holds no memory of its own.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_limit(MAX_EVENT)
    }

    /// The same with another limit than [`MAX_EVENT`], bytes.
    #[must_use]
    pub const fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            given: false,
            start: Start::Marks(0),
            line: 0,
            after_cr: false,
            overflowed: false,
        }
    }

    /// Takes the next whole event off `input`; `None`: all of it is taken and no event is complete.
    ///
    /// May be left off at any time: what is not taken is still in `input`.
    ///
    /// # Errors
    /// [`Overflow`], again at every further call.
    pub fn next<'e, 'i: 'e>(
        &'e mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'e>>, Overflow> {
        if self.given {
            self.given = false;
            self.partial = Vec::new();
        }
        if self.overflowed {
            return Err(Overflow);
        }
        if let Start::Marks(read) = self.start
            && !self.skip_mark(read, input)
        {
            return Ok(None);
        }
        if self.after_cr && self.partial.is_empty() && input.first() == Some(&b'\n') {
            self.after_cr = false;
            return Ok(Some(Event::line_feed(take(input, 1))));
        }
        let end = self.event_end(input);
        let length = end.unwrap_or(input.len());
        // The LF of the last CRLF may come with a read of its own: it does not count.
        let counted = length - usize::from(end.is_some() && input[..length].ends_with(b"\r\n"));
        if self.partial.len() + counted > self.limit {
            self.overflowed = true;
            return Err(Overflow);
        }
        let piece = take(input, length);
        if end.is_none() {
            self.partial.extend_from_slice(piece);
            return Ok(None);
        }
        if self.partial.is_empty() {
            return Ok(Some(Event::parse(piece)));
        }
        self.partial.extend_from_slice(piece);
        self.given = true;
        Ok(Some(Event::parse(&self.partial)))
    }

    /// How many bytes of an unfinished event are held.
    #[must_use]
    pub fn held(&self) -> usize {
        match self.start {
            Start::Marks(read) => read,
            Start::Known if self.given => 0,
            Start::Known => self.partial.len(),
        }
    }

    /// Gives up framing: the bytes that were taken but not given, in order. What is read next follows them as it is.
    #[must_use]
    pub fn take_partial(&mut self) -> Vec<u8> {
        if let Start::Marks(read) = std::mem::replace(&mut self.start, Start::Known) {
            return MARKS[..read].to_vec();
        }
        if std::mem::take(&mut self.given) {
            self.partial = Vec::new();
        }
        std::mem::take(&mut self.partial)
    }

    /// Takes a byte order mark off the start of the half, as the client would at the start of its stream; in the
    /// middle of it the mark would spoil the first field. Two marks are both kept: one or two, the first field's name is
    /// unknown to the client then, wherever the half starts in its stream. False: more bytes must come to tell.
    fn skip_mark(&mut self, mut read: usize, input: &mut &[u8]) -> bool {
        while read < MARKS.len() {
            match input.first() {
                Some(byte) if *byte == MARKS[read] => read += 1,
                Some(_) => break,
                None => {
                    self.start = Start::Marks(read);
                    return false;
                }
            }
            *input = &input[1..];
        }
        self.start = Start::Known;
        let kept = match read {
            MARK..6 => &MARKS[MARK..read],
            _ => &MARKS[..read],
        };
        if !kept.is_empty() {
            self.partial = kept.to_vec();
            self.line = kept.len();
        }
        true
    }

    /// Where the blank line ends that ends the event, if it is in `input`.
    fn event_end(&mut self, input: &[u8]) -> Option<usize> {
        let mut at = 0;
        if !input.is_empty() && std::mem::take(&mut self.after_cr) && input[0] == b'\n' {
            at = 1;
        }
        while let Some(length) = memchr2(b'\r', b'\n', &input[at..]) {
            let line = std::mem::take(&mut self.line) + length;
            at += length + 1;
            if input[at - 1] == b'\r' {
                match input.get(at) {
                    Some(b'\n') => at += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            if line == 0 {
                return Some(at);
            }
        }
        self.line += input.len() - at;
        None
    }
}

fn take<'i>(input: &mut &'i [u8], length: usize) -> &'i [u8] {
    let (piece, rest) = input.split_at(length);
    *input = rest;
    piece
}
