//! The id of a stream entry: milliseconds and a sequence number, in that order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// `1526919030474-55`
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct EntryId {
    /// Milliseconds since 1970 by the clock of the server, or what the producer wrote.
    pub ms: u64,
    pub seq: u64,
}

impl EntryId {
    /// The smallest id after this one; None after the largest that there is.
    #[must_use]
    pub fn next(self) -> Option<EntryId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(EntryId { ms: self.ms, seq }),
            None => self.ms.checked_add(1).map(|ms| EntryId { ms, seq: 0 }),
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = String;

    fn from_str(text: &str) -> Result<EntryId, String> {
        let bad = || format!("expected a stream id such as 1526919030474-55, found {text:?}");
        let (ms, seq) = text.split_once('-').ok_or_else(bad)?;
        Ok(EntryId {
            ms: ms.parse().map_err(|_| bad())?,
            seq: seq.parse().map_err(|_| bad())?,
        })
    }
}

impl From<EntryId> for String {
    fn from(id: EntryId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for EntryId {
    type Error = String;

    fn try_from(text: String) -> Result<EntryId, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_carries_over_a_full_sequence() {
        let id = |ms, seq| EntryId { ms, seq };
        assert_eq!(id(5, 0).next(), Some(id(5, 1)));
        assert_eq!(id(5, u64::MAX).next(), Some(id(6, 0)));
        assert_eq!(id(u64::MAX, u64::MAX).next(), None);
    }

    #[test]
    fn reads_what_it_writes_and_refuses_the_rest() {
        let id: EntryId = "18446744073709551615-7".parse().expect("an id");
        assert_eq!(
            id,
            EntryId {
                ms: u64::MAX,
                seq: 7
            }
        );
        assert_eq!(id.to_string(), "18446744073709551615-7");
        let json = serde_json::to_string(&id).expect("JSON");
        assert_eq!(json, "\"18446744073709551615-7\"");
        assert_eq!(serde_json::from_str::<EntryId>(&json).expect("an id"), id);
        for bad in ["", "5", "-", "5-", "5-x", "$", "18446744073709551616-0"] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }
}
