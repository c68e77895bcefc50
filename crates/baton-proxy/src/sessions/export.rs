//! An instance's sessions as bytes, so that they outlive the process.
//!
//! A few bytes a session: where it lies in the table, its tag, how long ago it was used. The values of the
//! cookies are in none of them.

use std::time::SystemTime;

use super::table::{Place, Table, Word};

/// What the bytes begin with: what they are, and in which form.
const MAGIC: &[u8; 8] = b"sessns-1";
const HEAD: usize = MAGIC.len() + 8 + 8;
const ENTRY: usize = 2 + 4 + 4 + 1;

/// Sessions of one instance.
pub(super) struct Export {
    /// What the hashes are keyed with.
    pub(super) seed: u64,
    pub(super) places: Vec<Place>,
}

impl Export {
    pub(super) fn of(seed: u64, table: &Table, wanted: impl Fn(Word) -> bool, now: u64) -> Export {
        Export {
            seed,
            places: table.places(wanted, now),
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.places.len() * ENTRY);
        bytes.extend_from_slice(MAGIC);
        bytes.extend(self.seed.to_be_bytes());
        bytes.extend(seconds().to_be_bytes());
        for place in &self.places {
            bytes.extend(place.bucket.to_be_bytes());
            bytes.extend(place.tag.to_be_bytes());
            bytes.extend(place.age.to_be_bytes());
            bytes.push(u8::from(place.proven));
        }
        bytes
    }

    /// None: they are something else. Time has gone on since they were written.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Export> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (written, rest) = rest.split_first_chunk()?;
        let passed = seconds().saturating_sub(u64::from_be_bytes(*written));
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        let places = rest.chunks_exact(ENTRY).map(|entry| Place {
            bucket: u16::from_be_bytes([entry[0], entry[1]]),
            tag: u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]),
            age: u32::from_be_bytes([entry[6], entry[7], entry[8], entry[9]])
                .saturating_add(passed),
            proven: entry[10] != 0,
        });
        Some(Export {
            seed: u64::from_be_bytes(*seed),
            places: places.collect(),
        })
    }
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
