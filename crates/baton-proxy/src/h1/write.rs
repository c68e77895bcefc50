//! Chunk heads, decimals and fields on the way out.

use bytes::BufMut;

use super::head::Field;

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// A short text in place: a number, or a chunk's size line.
#[derive(Debug, Clone, Copy)]
pub struct Short {
    bytes: [u8; 20],
    start: u8,
}

impl std::ops::Deref for Short {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

/// The line before a chunk's data: `1f\r\n`. The data is followed by a CRLF of its own. Never for an empty
/// piece, which would end the body.
#[must_use]
pub fn chunk_head(length: u64) -> Short {
    debug_assert_ne!(length, 0, "an empty chunk ends the body");
    let mut short = Short {
        bytes: [b'\n'; 20],
        start: 18,
    };
    short.bytes[18] = b'\r';
    short.digits(length, 16);
    short
}

/// A number as `Content-Length` wants it.
#[must_use]
pub fn decimal(number: u64) -> Short {
    let mut short = Short {
        bytes: [0; 20],
        start: 20,
    };
    short.digits(number, 10);
    short
}

impl Short {
    /// Writes before what is there. 2^64-1 has 20 decimal and 16 hexadecimal digits.
    fn digits(&mut self, mut number: u64, base: u64) {
        loop {
            self.start -= 1;
            self.bytes[usize::from(self.start)] = b"0123456789abcdef"[(number % base) as usize];
            number /= base;
            if number == 0 {
                return;
            }
        }
    }
}

/// `name: value` and CRLF.
pub fn write_field(out: &mut impl BufMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// The last chunk, with trailers.
pub fn write_last_chunk<'a>(out: &mut impl BufMut, trailers: impl IntoIterator<Item = Field<'a>>) {
    out.put_slice(b"0\r\n");
    for field in trailers {
        write_field(out, field.name, field.value);
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(&*chunk_head(1), b"1\r\n");
        assert_eq!(&*chunk_head(0xBEEF), b"beef\r\n");
        assert_eq!(&*chunk_head(u64::MAX), b"ffffffffffffffff\r\n");
        assert_eq!(&*decimal(0), b"0");
        assert_eq!(&*decimal(1_234_567), b"1234567");
        assert_eq!(&*decimal(u64::MAX), b"18446744073709551615");
    }

    #[test]
    fn trailers_follow_the_last_chunk() {
        let mut out = Vec::new();
        write_last_chunk(
            &mut out,
            [Field {
                name: "grpc-status",
                value: b"0",
            }],
        );
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
    }
}
