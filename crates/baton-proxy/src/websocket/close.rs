//! Close frames (RFC 6455 §5.5.1): FIN set, no extension bits, a status code, no reason.

use crate::random::random;

const FIN_CLOSE: u8 = 0x88;
const MASKED: u8 = 0x80;
const CODE_LENGTH: u8 = 2;

/// For a client: a server never masks (RFC 6455 §5.1).
pub(crate) fn to_client(code: u16) -> [u8; 4] {
    let [high, low] = code.to_be_bytes();
    [FIN_CLOSE, CODE_LENGTH, high, low]
}

/// For an instance: a client always masks, with a key that nobody can guess (RFC 6455 §5.3).
pub(crate) fn to_instance(code: u16) -> [u8; 8] {
    let [a, b, c, d, ..] = random().to_be_bytes();
    let [high, low] = code.to_be_bytes();
    [
        FIN_CLOSE,
        MASKED | CODE_LENGTH,
        a,
        b,
        c,
        d,
        high ^ a,
        low ^ b,
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_code_is_there_masked_or_not() {
        assert_eq!(super::to_client(1012), [0x88, 2, 0x03, 0xf4]);
        let [0x88, 0x82, a, b, _, _, high, low] = super::to_instance(1012) else {
            panic!("no masked Close");
        };
        assert_eq!([high ^ a, low ^ b], [0x03, 0xf4]);
    }
}
