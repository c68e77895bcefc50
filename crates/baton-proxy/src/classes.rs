//! Answers by the class of their status.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many answers of each class were given; monotonic, written by every worker.
#[derive(Debug, Default)]
pub struct ClassCounters([AtomicU64; CLASSES]);

/// `1xx` (a connection that was upgraded) to `5xx`.
const CLASSES: usize = 5;

impl ClassCounters {
    /// A status that is none counts as 5xx.
    pub(crate) fn count(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1);
        self.0[class.min(CLASSES - 1)].fetch_add(1, Relaxed);
    }

    /// From `1xx` to `5xx`.
    #[must_use]
    pub fn read(&self) -> [u64; CLASSES] {
        std::array::from_fn(|class| self.0[class].load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::ClassCounters;

    #[test]
    fn each_status_has_its_class() {
        let classes = ClassCounters::default();
        for status in [101, 200, 204, 301, 404, 499, 500, 599, 0, 700] {
            classes.count(status);
        }
        assert_eq!(classes.read(), [1, 2, 1, 2, 4]);
    }
}
