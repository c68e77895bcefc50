//! What the access log has of a request over HTTP/1.1.

use std::time::Instant;

use super::Connection;
use super::pending::Own;
use crate::access_log::{Opening, Record};
use crate::answer::Answer;
use crate::h1::{RequestHead, Version};

impl Connection {
    /// The answer to what is no request, or not the whole of one.
    pub(super) fn unreadable(&self, answer: Answer) -> Own {
        Own {
            record: Record::unreadable(&self.worker, &self.peer),
            ..Own::last(answer)
        }
    }

    /// The line of a request in the access log, if it has one.
    pub(super) fn record(&self, head: &RequestHead<'_, '_>, came: Instant) -> Option<Box<Record>> {
        let opening = Opening {
            method: head.method,
            host: head.host,
            target: head.target,
            protocol: match head.version {
                Version::Http10 => "HTTP/1.0",
                Version::Http11 => "HTTP/1.1",
            },
            came,
        };
        let fields = head.fields.iter().map(|field| (field.name, field.value));
        Record::of(&self.worker, &self.peer, opening, fields)
    }
}
