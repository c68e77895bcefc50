//! A body on its way through: taken out of one framing and put into the other.

use crate::exchange::response::Coding;
use crate::h1::chunked::trailer_fields;
use crate::h1::write::{chunk_head, write_last_chunk};
use crate::h1::{BodyDecoder, Decoded, Refusal};

/// What one call has done with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recoded {
    /// Bytes of the input that are done with; the rest wants more behind it.
    pub(crate) consumed: usize,
    /// Bytes of the body itself among them.
    pub(crate) data: u64,
    pub(crate) ended: bool,
}

/// Takes all that `input` has of a body and writes it to `out` in its new framing.
///
/// # Errors
/// The sender broke a rule of its framing.
pub(crate) fn recode(
    decoder: &mut BodyDecoder,
    coding: Coding,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<Recoded, Refusal> {
    let mut done = Recoded {
        consumed: 0,
        data: 0,
        ended: false,
    };
    loop {
        let rest = &input[done.consumed..];
        match decoder.decode(rest)? {
            Decoded::Data { consumed, data } => {
                let data = &rest[data];
                done.data += data.len() as u64;
                write_piece(coding, data, out);
                done.consumed += consumed;
            }
            Decoded::NeedMore { consumed } => {
                done.consumed += consumed;
                return Ok(done);
            }
            Decoded::End { consumed, trailers } => {
                if coding == Coding::Chunked {
                    // The decoder has validated them; none is an error.
                    write_last_chunk(out, trailer_fields(&rest[trailers]).flatten());
                }
                done.consumed += consumed;
                done.ended = true;
                return Ok(done);
            }
        }
    }
}

pub(crate) fn write_piece(coding: Coding, data: &[u8], out: &mut Vec<u8>) {
    match coding {
        Coding::Raw => out.extend_from_slice(data),
        Coding::Chunked => {
            out.extend_from_slice(&chunk_head(data.len() as u64));
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::recode;
    use crate::exchange::response::Coding;
    use crate::h1::{BodyDecoder, BodyLength};

    #[test]
    fn trailers_pass_in_any_segmentation() {
        let sent = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nx-sum: 5\r\n\r\nNEXT";
        for step in 1..sent.len() {
            let mut decoder = BodyDecoder::new(BodyLength::Chunked);
            let (mut input, mut raw, mut out, mut ended) = (Vec::new(), Vec::new(), Vec::new(), 0);
            let mut again = BodyDecoder::new(BodyLength::Chunked);
            let mut input_again = Vec::new();
            for piece in sent.chunks(step) {
                if ended > 0 {
                    input.extend_from_slice(piece);
                    continue;
                }
                input.extend_from_slice(piece);
                let done = recode(&mut decoder, Coding::Raw, &input, &mut raw).unwrap();
                input.drain(..done.consumed);
                ended += usize::from(done.ended);
                input_again.extend_from_slice(piece);
                let done = recode(&mut again, Coding::Chunked, &input_again, &mut out).unwrap();
                input_again.drain(..done.consumed);
            }
            assert_eq!(raw, b"abcde", "step {step}");
            assert_eq!(input, b"NEXT", "step {step}");
            let text = String::from_utf8(out).unwrap();
            assert!(
                text.ends_with("0\r\nx-sum: 5\r\n\r\n"),
                "step {step}: {text}"
            );
        }
    }
}
