//! Every rule of the HTTP/1.1 codec with the section where it stands: bytes → taken, or refused with which
//! status. Each row is judged whole, byte by byte and in random pieces, and must be judged alike.
// Not every function of a test has `#[test]` on it.
#![allow(clippy::unwrap_used)]

mod chunked;
mod request;
mod response;

use baton_proxy::h1::Refusal;

/// Where the rule stands, what arrives, and the refusal with its status (None: taken).
type Row = (&'static str, &'static [u8], Option<(Refusal, u16)>);

fn check_row(row: &Row, verdict: Result<(), Refusal>) {
    let (section, bytes, expected) = row;
    let text = bytes.escape_ascii();
    match (verdict, expected) {
        (Ok(()), None) => {}
        (Err(refusal), Some((wanted, status))) => {
            assert_eq!(refusal, *wanted, "{text}");
            assert_eq!(refusal.status(), *status, "{text}");
            assert_eq!(refusal.section(), *section, "{text}");
            assert!(!refusal.to_string().is_empty());
        }
        (verdict, expected) => {
            panic!("{section}: expected {expected:?}, found {verdict:?}: {text}")
        }
    }
}

/// The verdict on a head that arrives up to each of `ends` in turn: that of the first prefix that has one.
fn first_verdict<T>(
    bytes: &[u8],
    ends: impl Iterator<Item = usize>,
    judge: impl Fn(&[u8]) -> Result<Option<T>, Refusal>,
) -> Result<Option<T>, Refusal> {
    for end in ends.chain([bytes.len()]) {
        match judge(&bytes[..end]) {
            Ok(None) => {}
            verdict => return verdict,
        }
    }
    Ok(None)
}
