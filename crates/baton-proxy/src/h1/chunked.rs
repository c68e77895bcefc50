//! The chunked coding (RFC 9112 §7.1), incremental and without copying.

use super::body::Decoded;
use super::fields::{MAX_LENGTH, is_forbidden_trailer, is_token_byte, parse_field};
use super::head::Field;
use super::lines::{self, Lines};
use super::refusal::Refusal;

/// Bytes of extensions that one chunk may carry; all chunks of a body together have a limit too. Nobody uses them, but a
/// sender may hide gigabytes in them (CVE-2023-39326).
pub const MAX_EXTENSION_BYTES: u32 = 1024;
/// See [`MAX_EXTENSION_BYTES`].
pub const MAX_EXTENSION_BYTES_PER_BODY: u32 = 16 * 1024;
/// Bytes of a trailer section, its empty line included. A connection's buffer must be able to hold it whole.
pub const MAX_TRAILER_BYTES: usize = 8 * 1024;
/// Fields of a trailer section.
pub const MAX_TRAILERS: usize = 64;
/// Enough for 2^64-1; leading zeros count.
const MAX_SIZE_DIGITS: u8 = 16;

#[derive(Debug, Clone, Copy)]
enum State {
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
        part: Extension,
        bytes: u32,
    },
    /// The CR of a size line has been seen.
    SizeEnd {
        size: u64,
    },
    Data {
        remaining: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
    Refused(Refusal),
}

/// Where in `*( ";" name [ "=" ( token / quoted-string ) ] )` the decoder is. The white space that the grammar
/// allows "only for bad old senders" (BWS) is refused.
#[derive(Debug, Clone, Copy)]
enum Extension {
    /// After `;`, before the first byte of the name.
    NameStart,
    Name,
    /// After `=`.
    ValueStart,
    Token,
    Quoted,
    QuotedEscape,
    /// After the closing quote.
    QuotedEnd,
}

/// Takes chunked bodies apart, one piece a call.
///
/// All that [`Decoded`] reports as consumed is strictly formed, so a caller may pass it on as it is; only
/// chunk extensions ([`saw_extensions`](Self::saw_extensions)) should not travel further (RFC 9112 §7.1.1).
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    extension_bytes: u32,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkedDecoder {
    /// At the first byte of a body.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0, size: 0 },
            extension_bytes: 0,
        }
    }

    /// The last chunk and its trailers have been seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// A chunk so far had extensions.
    #[must_use]
    pub fn saw_extensions(&self) -> bool {
        self.extension_bytes > 0
    }

    /// Takes the next piece out of `input`, which starts where the last call's `consumed` ended.
    ///
    /// # Errors
    /// The first rule that is broken, and the same for every call after it.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        self.step(input)
            .inspect_err(|refusal| self.state = State::Refused(*refusal))
    }

    fn step(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        let mut at = 0;
        loop {
            match self.state {
                State::Data { remaining } if at < input.len() => {
                    return Ok(self.data(input.len() - at, at, remaining));
                }
                State::Trailers => return self.trailers(input, at),
                State::Done => {
                    return Ok(Decoded::End {
                        consumed: at,
                        trailers: at..at,
                    });
                }
                State::Refused(refusal) => return Err(refusal),
                _ => {}
            }
            let Some(&byte) = input.get(at) else {
                return Ok(Decoded::NeedMore { consumed: at });
            };
            at += 1;
            self.state = self.framing(byte)?;
        }
    }

    fn data(&mut self, available: usize, at: usize, remaining: u64) -> Decoded {
        let take = usize::try_from(remaining).map_or(available, |rest| rest.min(available));
        let rest = remaining - take as u64;
        self.state = if rest == 0 {
            State::DataCr
        } else {
            State::Data { remaining: rest }
        };
        Decoded::Data {
            consumed: at + take,
            data: at..at + take,
        }
    }

    /// One byte of framing.
    fn framing(&mut self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size { digits, size } => size_byte(byte, digits, size),
            State::Extension { size, part, bytes } => {
                if byte == b'\r' && part.may_end() {
                    return Ok(State::SizeEnd { size });
                }
                if byte == b'\n' {
                    return Err(Refusal::BareLineFeed);
                }
                self.extension_bytes += 1;
                if bytes >= MAX_EXTENSION_BYTES
                    || self.extension_bytes > MAX_EXTENSION_BYTES_PER_BODY
                {
                    return Err(Refusal::ChunkExtensionTooLarge);
                }
                Ok(State::Extension {
                    size,
                    part: part.next(byte)?,
                    bytes: bytes + 1,
                })
            }
            State::SizeEnd { .. } if byte != b'\n' => Err(Refusal::BareCarriageReturn),
            State::SizeEnd { size: 0 } => Ok(State::Trailers),
            State::SizeEnd { size } => Ok(State::Data { remaining: size }),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::Size { digits: 0, size: 0 }),
            State::DataCr | State::DataLf => Err(Refusal::MissingChunkEnd),
            // `step` returns before it asks for these.
            State::Data { .. } | State::Trailers | State::Done | State::Refused(_) => {
                Ok(self.state)
            }
        }
    }

    /// Waits until the section is there whole: its fields can be passed on only together.
    fn trailers(&mut self, input: &[u8], at: usize) -> Result<Decoded, Refusal> {
        let section = &input[at..];
        let window = &section[..section.len().min(MAX_TRAILER_BYTES)];
        if matches!(window.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::FoldedLine);
        }
        match lines::find_end(window)? {
            Lines::End(end) => {
                let trailers = at..at + end - 2;
                if let Some(refusal) = lines::offence(&section[..end]) {
                    return Err(refusal);
                }
                check_trailers(&input[trailers.clone()])?;
                self.state = State::Done;
                Ok(Decoded::End {
                    consumed: at + end,
                    trailers,
                })
            }
            Lines::Unfinished { .. } if section.len() < MAX_TRAILER_BYTES => {
                Ok(Decoded::NeedMore { consumed: at })
            }
            Lines::Unfinished { .. } => Err(Refusal::TrailersTooLarge),
        }
    }
}

/// `1*HEXDIG`, then an extension or the line end; nothing else, no white space.
fn size_byte(byte: u8, digits: u8, size: u64) -> Result<State, Refusal> {
    match byte {
        b'\r' if digits > 0 => Ok(State::SizeEnd { size }),
        b';' if digits > 0 => Ok(State::Extension {
            size,
            part: Extension::NameStart,
            bytes: 1,
        }),
        b'\n' => Err(Refusal::BareLineFeed),
        _ => {
            let digit = (byte as char)
                .to_digit(16)
                .ok_or(Refusal::InvalidChunkSize)?;
            if digits == MAX_SIZE_DIGITS {
                return Err(Refusal::ChunkSizeOverflow);
            }
            let size = size.checked_mul(16).map(|size| size + u64::from(digit));
            match size {
                Some(size) if size <= MAX_LENGTH => Ok(State::Size {
                    digits: digits + 1,
                    size,
                }),
                _ => Err(Refusal::ChunkSizeOverflow),
            }
        }
    }
}

impl Extension {
    fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd)
    }

    fn next(self, byte: u8) -> Result<Self, Refusal> {
        let token = is_token_byte(byte);
        match (self, byte) {
            (Self::NameStart | Self::Name, _) if token => Ok(Self::Name),
            (Self::ValueStart | Self::Token, _) if token => Ok(Self::Token),
            (Self::Name, b'=') => Ok(Self::ValueStart),
            (Self::ValueStart, b'"') => Ok(Self::Quoted),
            (Self::Name | Self::Token | Self::QuotedEnd, b';') => Ok(Self::NameStart),
            (Self::Quoted, b'"') => Ok(Self::QuotedEnd),
            (Self::Quoted, b'\\') => Ok(Self::QuotedEscape),
            (Self::Quoted | Self::QuotedEscape, b'\t' | b' '..=0x7e | 0x80..) => Ok(Self::Quoted),
            _ => Err(Refusal::InvalidChunkExtension),
        }
    }
}

fn check_trailers(section: &[u8]) -> Result<(), Refusal> {
    for (index, field) in trailer_fields(section).enumerate() {
        field?;
        if index == MAX_TRAILERS {
            return Err(Refusal::TooManyFields);
        }
    }
    Ok(())
}

/// The fields of a trailer section, as [`Decoded::End`] shows it (without the empty line). The decoder has
/// walked over them before, so that none of what it gave out is an error here.
pub fn trailer_fields(section: &[u8]) -> impl Iterator<Item = Result<Field<'_>, Refusal>> {
    section.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\r\n").ok_or(Refusal::BareLineFeed)?;
        let field = parse_field(line)?;
        if is_forbidden_trailer(field.name) {
            Err(Refusal::ForbiddenTrailer)
        } else {
            Ok(field)
        }
    })
}
