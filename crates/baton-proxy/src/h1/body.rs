//! How a body is delimited, and how it is taken out of the bytes that arrive.

use std::ops::Range;

use super::chunked::ChunkedDecoder;
use super::refusal::Refusal;

/// RFC 9112 §6.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// No body at all, or `Content-Length: 0`.
    Empty,
    /// Bytes by `Content-Length`, at least one.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Responses only: until the connection closes.
    UntilClose,
}

/// One step of a decoder. Ranges are positions in the input of that call; nothing is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// `consumed` bytes were framing and may be dropped; the rest wants more bytes behind it before it means
    /// anything (that is at most the trailer section, [`MAX_TRAILER_BYTES`](super::chunked::MAX_TRAILER_BYTES)).
    NeedMore { consumed: usize },
    /// Body bytes, never empty. `consumed` is where the next call starts: the framing before the data and the
    /// data.
    Data { consumed: usize, data: Range<usize> },
    /// The body has ended. `trailers` holds its validated trailer lines, each with its CRLF, without the empty
    /// line; mostly empty. What follows `consumed` belongs to the next message. Said again for each further call.
    End {
        consumed: usize,
        trailers: Range<usize>,
    },
}

/// Any body; one variant per way to end.
#[derive(Debug)]
pub enum BodyDecoder {
    Length(LengthDecoder),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// At the first byte of a body.
    #[must_use]
    pub fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::Empty => Self::Length(LengthDecoder::new(0)),
            BodyLength::Length(length) => Self::Length(LengthDecoder::new(length)),
            BodyLength::Chunked => Self::Chunked(ChunkedDecoder::new()),
            BodyLength::UntilClose => Self::UntilClose,
        }
    }

    /// Takes the next piece out of `input`.
    ///
    /// # Errors
    /// A broken rule of the chunked coding; the decoder says so for ever after.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Refusal> {
        match self {
            Self::Length(decoder) => Ok(decoder.decode(input)),
            Self::Chunked(decoder) => decoder.decode(input),
            Self::UntilClose if input.is_empty() => Ok(Decoded::NeedMore { consumed: 0 }),
            Self::UntilClose => Ok(Decoded::Data {
                consumed: input.len(),
                data: 0..input.len(),
            }),
        }
    }

    /// The last byte of the body has been seen. Never true for a body that ends with the connection.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match self {
            Self::Length(decoder) => decoder.is_done(),
            Self::Chunked(decoder) => decoder.is_done(),
            Self::UntilClose => false,
        }
    }

    /// Whether the connection may end here without the body being cut short (RFC 9112 §8).
    #[must_use]
    pub fn may_end_by_close(&self) -> bool {
        matches!(self, Self::UntilClose) || self.is_done()
    }
}

/// A body of a known number of bytes.
#[derive(Debug)]
pub struct LengthDecoder {
    remaining: u64,
}

impl LengthDecoder {
    /// At the first of `length` bytes.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self { remaining: length }
    }

    /// Bytes of the body that are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Nothing is to come any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.remaining == 0
    }

    /// Takes the next piece out of `input`.
    pub fn decode(&mut self, input: &[u8]) -> Decoded {
        if self.remaining == 0 {
            return Decoded::End {
                consumed: 0,
                trailers: 0..0,
            };
        }
        if input.is_empty() {
            return Decoded::NeedMore { consumed: 0 };
        }
        let take =
            usize::try_from(self.remaining).map_or(input.len(), |rest| rest.min(input.len()));
        self.remaining -= take as u64;
        Decoded::Data {
            consumed: take,
            data: 0..take,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_ends_where_it_says() {
        let mut decoder = BodyDecoder::new(BodyLength::Length(5));
        assert_eq!(decoder.decode(b""), Ok(Decoded::NeedMore { consumed: 0 }));
        assert_eq!(
            decoder.decode(b"abc"),
            Ok(Decoded::Data {
                consumed: 3,
                data: 0..3
            })
        );
        assert!(!decoder.may_end_by_close());
        assert_eq!(
            decoder.decode(b"deGET"),
            Ok(Decoded::Data {
                consumed: 2,
                data: 0..2
            })
        );
        assert!(decoder.is_done());
        assert_eq!(
            decoder.decode(b"GET"),
            Ok(Decoded::End {
                consumed: 0,
                trailers: 0..0
            })
        );
    }

    #[test]
    fn until_close_never_ends_by_itself() {
        let mut decoder = BodyDecoder::new(BodyLength::UntilClose);
        assert_eq!(
            decoder.decode(b"abc"),
            Ok(Decoded::Data {
                consumed: 3,
                data: 0..3
            })
        );
        assert!(!decoder.is_done() && decoder.may_end_by_close());
    }
}
