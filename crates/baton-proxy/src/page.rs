//! A page that Baton answers with instead of an app: maintenance, a preview that is not there.

use std::sync::Arc;
use std::time::Duration;

/// What every request of a route is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// One whose answer has a body; another is 503.
    pub status: u16,
    /// HTML.
    pub body: Arc<str>,
    /// In whole seconds, rounded up.
    pub retry_after: Option<Duration>,
}

impl Page {
    /// 1xx, 204 and 304 end at their head (RFC 9110 §15).
    pub(crate) fn status_with_body(&self) -> u16 {
        match self.status {
            204 | 304 => 503,
            status @ 200..=599 => status,
            _ => 503,
        }
    }
}
