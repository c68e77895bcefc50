//! Where the frames and messages of one direction end (RFC 6455 §5.2).
//!
//! Only heads are looked at: payloads are counted past, masked or not, and so are the extension bits,
//! which change nothing about where a frame ends (RFC 7692 §6 compresses payloads only).

/// Opcodes from here on are control frames, which may stand between the fragments of a message.
const CONTROL: u8 = 8;
const CLOSE: u8 = 8;
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// The two bytes that every frame has, and the longest length behind them. The mask counts as payload.
const LONGEST_HEAD: usize = 10;

/// A place where another frame may be put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boundary {
    /// Between two frames, perhaps between two fragments of a message.
    Frame,
    /// Between two messages.
    Message,
}

/// Follows one direction of a connection, from its first byte after the 101.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    head: [u8; LONGEST_HEAD],
    have: u8,
    /// Bytes of the mask and the payload that are still to pass.
    left: u64,
    in_payload: bool,
    in_message: bool,
    closed: bool,
    data: bool,
}

impl Frames {
    /// Whether the last byte that passed was the last one of a frame, or of a message.
    pub(crate) fn is_at(&self, boundary: Boundary) -> bool {
        let between_frames = self.have == 0 && !self.in_payload;
        between_frames && (boundary == Boundary::Frame || !self.in_message)
    }

    /// A whole Close frame has passed: nothing follows it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a frame with data has begun since this was last asked: pings and pongs come without
    /// anybody's doing.
    pub(crate) fn take_data(&mut self) -> bool {
        std::mem::take(&mut self.data)
    }

    /// All of `bytes` pass.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(end) = self.pass_frame(bytes) {
            bytes = &bytes[end..];
        }
    }

    /// `bytes` pass up to the first such boundary behind the next byte; None: all of them, and there
    /// is none. Asks nothing of a connection that is at one already: [`Frames::is_at`] does.
    pub(crate) fn pass_to(&mut self, boundary: Boundary, bytes: &[u8]) -> Option<usize> {
        let mut passed = 0;
        while let Some(end) = self.pass_frame(&bytes[passed..]) {
            passed += end;
            if self.is_at(boundary) {
                return Some(passed);
            }
        }
        None
    }

    /// The end of the frame that these bytes begin with, or go on with, if it is among them.
    fn pass_frame(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while !self.in_payload {
            let &byte = bytes.get(at)?;
            at += 1;
            self.head[usize::from(self.have)] = byte;
            self.have += 1;
            self.begin_payload();
        }
        let rest = (bytes.len() - at) as u64;
        if rest < self.left {
            self.left -= rest;
            return None;
        }
        // Not more than what `bytes` hold.
        at += usize::try_from(self.left).unwrap_or(usize::MAX);
        self.end_frame();
        Some(at)
    }

    /// Reads the head, if it is there whole.
    fn begin_payload(&mut self) {
        let [first, second, length @ ..] = &self.head;
        let have = usize::from(self.have);
        let length = match second & LENGTH {
            _ if have < 2 => return,
            126 if have < 4 => return,
            127 if have < LONGEST_HEAD => return,
            126 => u64::from(u16::from_be_bytes([length[0], length[1]])),
            127 => u64::from_be_bytes(*length),
            short => u64::from(short),
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        self.left = length.saturating_add(mask);
        self.in_payload = true;
        self.data |= first & OPCODE < CONTROL;
    }

    fn end_frame(&mut self) {
        let [first, ..] = self.head;
        let opcode = first & OPCODE;
        if opcode < CONTROL {
            self.in_message = first & FIN == 0;
        }
        self.closed |= opcode == CLOSE;
        self.have = 0;
        self.left = 0;
        self.in_payload = false;
    }
}

#[cfg(test)]
mod tests {
    use super::{Boundary, Frames};
    use proptest::prelude::*;

    const COMPRESSED: u8 = 0x40;

    fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
        let mut bytes = vec![first];
        let mask = if masked { 0x80 } else { 0 };
        match length {
            0..=125 => bytes.push(mask | length as u8),
            126..=65_535 => {
                bytes.push(mask | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        if masked {
            bytes.extend([0x81, 0x88, 0x7f, 0x00]);
        }
        // Bytes that look like heads.
        bytes.extend((0..length).map(|at| if at % 2 == 0 { 0x88 } else { 0x02 }));
        bytes
    }

    fn ends(frames: &[Vec<u8>], until: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut at = 0;
        let mut ends = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            at += frame.len();
            if until(index) {
                ends.push(at);
            }
        }
        ends
    }

    /// Where a tracker that is fed in these pieces sees boundaries.
    fn seen(boundary: Boundary, bytes: &[u8], sizes: &[usize]) -> Vec<usize> {
        let (mut frames, mut ends, mut at) = (Frames::default(), Vec::new(), 0);
        let mut sizes = sizes.iter().cycle();
        while at < bytes.len() {
            let size = (*sizes.next().unwrap()).min(bytes.len() - at);
            let mut piece = &bytes[at..at + size];
            while let Some(end) = frames.pass_to(boundary, piece) {
                at += end;
                piece = &piece[end..];
                ends.push(at);
            }
            at += piece.len();
        }
        ends
    }

    #[test]
    fn a_close_may_stand_between_fragments_but_the_message_goes_on() {
        let mut frames = Frames::default();
        assert!(frames.is_at(Boundary::Message));
        frames.pass(&frame(0x01, 3, false));
        assert!(frames.is_at(Boundary::Frame) && !frames.is_at(Boundary::Message));
        frames.pass(&frame(0x89, 2, false));
        assert!(!frames.is_at(Boundary::Message), "a ping ends nothing");
        frames.pass(&frame(0x80, 0, false));
        assert!(frames.is_at(Boundary::Message));
        assert!(!frames.is_closed());
        let close = frame(0x88, 2, true);
        frames.pass(&close[..close.len() - 1]);
        assert!(!frames.is_closed() && !frames.is_at(Boundary::Frame));
        frames.pass(&close[close.len() - 1..]);
        assert!(frames.is_closed());
    }

    #[test]
    fn only_data_is_somebodys_doing() {
        let mut frames = Frames::default();
        frames.pass(&frame(0x89, 4, true));
        frames.pass(&frame(0x8a, 0, true));
        assert!(!frames.take_data());
        frames.pass(&frame(0x82, 0, true));
        assert!(frames.take_data() && !frames.take_data());
    }

    #[test]
    fn a_length_beyond_all_measure_overflows_nothing() {
        let mut frames = Frames::default();
        let mut bytes = vec![0x82, 0xff];
        bytes.extend([0xff; 8]);
        bytes.extend([0; 100]);
        frames.pass(&bytes);
        assert!(!frames.is_at(Boundary::Frame));
    }

    fn any_frame() -> impl Strategy<Value = (u8, usize, bool)> {
        let opcode = prop_oneof![Just(0u8), Just(1), Just(2), Just(9), Just(10)];
        let length = prop_oneof![0..8usize, 120..130usize, 65_530..65_540usize];
        (opcode, any::<bool>(), any::<bool>(), length, any::<bool>()).prop_map(
            |(opcode, fin, compressed, length, masked)| {
                let fin = if fin || opcode >= 8 { 0x80 } else { 0 };
                let compressed = if compressed { COMPRESSED } else { 0 };
                (fin | compressed | opcode, length, masked)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn boundaries_are_found_in_any_chunking(
            shapes in prop::collection::vec(any_frame(), 1..12),
            sizes in prop::collection::vec(1..20_000usize, 1..6),
            small in prop::collection::vec(1..4usize, 1..4),
        ) {
            let frames: Vec<_> = shapes
                .iter()
                .map(|&(first, length, masked)| frame(first, length, masked))
                .collect();
            let bytes = frames.concat();
            let mut open = false;
            let whole: Vec<bool> = shapes
                .iter()
                .map(|&(first, ..)| {
                    if first & 0x0f < 8 {
                        open = first & 0x80 == 0;
                    }
                    !open
                })
                .collect();
            for sizes in [&sizes, &small] {
                prop_assert_eq!(seen(Boundary::Frame, &bytes, sizes), ends(&frames, |_| true));
                let messages = ends(&frames, |index| whole[index]);
                prop_assert_eq!(seen(Boundary::Message, &bytes, sizes), messages);
            }
        }
    }
}
