//! The lines of a head or a trailer section: where it ends, and that every line ends in CRLF. `httparse`
//! takes a bare LF as a line end and some servers take a bare CR, so both are refused before it runs.

use super::refusal::Refusal;

/// What [`find_end`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lines {
    /// No empty line yet. `first_line` tells whether at least one line is whole.
    Unfinished { first_line: bool },
    /// The section, its empty line included, takes this many bytes. Every LF in it follows a CR and no line is
    /// folded; a bare CR or a control byte may still be there ([`offence`]).
    End(usize),
}

/// Finds the empty line that ends a section. While it is not there, refuses at the first byte that may not be
/// there: a TLS client on a plain port is not kept waiting.
pub(super) fn find_end(buf: &[u8]) -> Result<Lines, Refusal> {
    let mut start = 0;
    for lf in memchr::memchr_iter(b'\n', buf) {
        if lf == start || buf[lf - 1] != b'\r' {
            return Err(first_offence(buf));
        }
        if lf == start + 1 {
            return Ok(Lines::End(lf + 1));
        }
        if start > 0 && matches!(buf[start], b' ' | b'\t') {
            return Err(first_offence(buf));
        }
        start = lf + 1;
    }
    let unfinished = &buf[start..];
    if start > 0 && matches!(unfinished.first(), Some(b' ' | b'\t')) {
        return Err(first_offence(buf));
    }
    // The last byte may be the CR of a line end that is still on its way.
    let settled = if unfinished.last() == Some(&b'\r') {
        &buf[..buf.len() - 1]
    } else {
        buf
    };
    if !has_good_bytes(settled) {
        return Err(first_offence(buf));
    }
    Ok(Lines::Unfinished {
        first_line: start > 0,
    })
}

/// Every LF of `buf` is known to follow a CR: then no CR is bare if there are as many of both.
fn has_good_bytes(buf: &[u8]) -> bool {
    let mut controls = false;
    let mut bare = 0_i32;
    // Chunks keep the counters in a byte, which lets the compiler use whole vectors.
    for chunk in buf.chunks(120) {
        let mut bad = 0_u8;
        let mut balance = 0_i8;
        for &byte in chunk {
            let cr = byte == b'\r';
            let lf = byte == b'\n';
            let control = (byte < b' ') & (byte != b'\t') & !cr & !lf;
            bad |= u8::from(control | (byte == 0x7f));
            balance += i8::from(cr) - i8::from(lf);
        }
        controls |= bad != 0;
        bare += i32::from(balance);
    }
    !controls && bare == 0
}

/// For a section that is refused: the offence that stands first, so that the verdict on a prefix does not change
/// when more bytes arrive.
#[cold]
fn first_offence(buf: &[u8]) -> Refusal {
    offence(buf).unwrap_or(Refusal::ControlByte)
}

/// The first byte of a section that may not be there, looked for one by one.
pub(super) fn offence(section: &[u8]) -> Option<Refusal> {
    let mut line_start = 0;
    for (at, &byte) in section.iter().enumerate() {
        match byte {
            b' ' | b'\t' if at == line_start && at > 0 => return Some(Refusal::FoldedLine),
            b'\r' if section.get(at + 1).is_some_and(|next| *next != b'\n') => {
                return Some(Refusal::BareCarriageReturn);
            }
            b'\n' => {
                if at == 0 || section[at - 1] != b'\r' {
                    return Some(Refusal::BareLineFeed);
                }
                line_start = at + 1;
            }
            b'\t' | b'\r' => {}
            0..b' ' | 0x7f => return Some(Refusal::ControlByte),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_offence_is_named_however_the_bytes_arrive() {
        let rows: &[(&[u8], Refusal)] = &[
            (b"a\nb\x00", Refusal::BareLineFeed),
            (b"\n", Refusal::BareLineFeed),
            (b"a\x00\nb", Refusal::ControlByte),
            (b"a\rb\r\n", Refusal::BareCarriageReturn),
            (b"a\r\r\n\r\n", Refusal::BareCarriageReturn),
            (b"a\r\n b\r\n\r\n", Refusal::FoldedLine),
            (b"a\r\n\tb", Refusal::FoldedLine),
            (b"a\r\nb\x7f\r\n\r\n", Refusal::ControlByte),
            (b"a\r\n\r\x01", Refusal::BareCarriageReturn),
        ];
        let judge = |bytes: &[u8]| match find_end(bytes) {
            Ok(Lines::End(end)) => offence(&bytes[..end]),
            Ok(Lines::Unfinished { .. }) => None,
            Err(refusal) => Some(refusal),
        };
        for (bytes, refusal) in rows {
            assert_eq!(judge(bytes), Some(*refusal), "{}", bytes.escape_ascii());
            let first = (0..=bytes.len()).find_map(|end| judge(&bytes[..end]));
            assert_eq!(first, Some(*refusal), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_follows_the_empty_line_is_not_looked_at() {
        assert_eq!(find_end(b"a\r\nb\r\n\r\n\x00\n"), Ok(Lines::End(8)));
        assert_eq!(find_end(b"\r\n"), Ok(Lines::End(2)));
        assert_eq!(
            find_end(b"a\r\nb\r"),
            Ok(Lines::Unfinished { first_line: true })
        );
        assert_eq!(find_end(b""), Ok(Lines::Unfinished { first_line: false }));
    }
}
