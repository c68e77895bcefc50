//! The answer as the client gets it: written anew from validated fields.

use std::time::Duration;

use crate::answer;
use crate::forwarded::FieldSink;
use crate::h1::write::decimal;
use crate::h1::{BodyLength, ResponseHead, Version, is_framing, is_hop_by_hop};
use crate::io::Peer;
use crate::route::Route;
use crate::split::Given;

/// What the client's side of an exchange needs to know about its request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) head_only: bool,
    /// A trusted proxy is in front, which may buffer.
    pub(crate) behind_proxy: bool,
    /// It is told to come by HTTPS from now on, unless the app says so itself.
    pub(crate) hsts: bool,
}

/// A day: long enough for a habit, short enough for a way back (RFC 6797 §6.1).
pub(crate) const HSTS: &str = "max-age=86400";

/// Is a client told to come by HTTPS alone? Only where that is a name without a port.
pub(crate) fn hsts(peer: &Peer, route: &Route) -> bool {
    peer.on_443 && route.redirect_https.is_some()
}

/// How the body goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Coding {
    /// As many bytes as announced, or until the connection closes.
    #[default]
    Raw,
    Chunked,
}

/// What follows from an answer's head.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) coding: Coding,
    /// The client's connection can be used again afterwards.
    pub(crate) keep_alive: bool,
}

impl Client {
    pub(crate) fn plan(&self, body: BodyLength, close: bool) -> Plan {
        let keep_alive = self.keep_alive && !close;
        match body {
            BodyLength::Empty | BodyLength::Length(_) => Plan {
                coding: Coding::Raw,
                keep_alive,
            },
            BodyLength::Chunked | BodyLength::UntilClose => match self.version {
                Version::Http11 => Plan {
                    coding: Coding::Chunked,
                    keep_alive,
                },
                Version::Http10 => Plan {
                    coding: Coding::Raw,
                    keep_alive: false,
                },
            },
        }
    }

    /// Writes the head of a final answer.
    pub(crate) fn write_head(
        &self,
        out: &mut Vec<u8>,
        head: &ResponseHead<'_, '_>,
        plan: Plan,
        given: Option<Given>,
    ) {
        write_status(out, head);
        let mut hsts = self.hsts;
        let mut unbuffered = !(self.behind_proxy && is_event_stream(head));
        for field in head.fields {
            // A body that is not sent keeps the length it would have had (RFC 9110 §8.6).
            let announced =
                is_framing(field.name) && !(self.bodiless(head) && field.name.len() == 14);
            if announced || is_hop_by_hop(field.name, &head.connection) {
                continue;
            }
            if !unbuffered && field.name.eq_ignore_ascii_case("x-accel-buffering") {
                unbuffered = true;
            }
            if hsts && field.name.eq_ignore_ascii_case("strict-transport-security") {
                hsts = false;
            }
            out.field(field.name, &[field.value]);
        }
        if !unbuffered {
            out.field("X-Accel-Buffering", &[b"no"]);
        }
        if hsts {
            out.field("Strict-Transport-Security", &[HSTS.as_bytes()]);
        }
        write_given(out, given);
        match (plan.coding, head.body) {
            (Coding::Chunked, _) => out.field("Transfer-Encoding", &[b"chunked"]),
            (Coding::Raw, BodyLength::Length(length)) => {
                out.field("Content-Length", &[&decimal(length)]);
            }
            (Coding::Raw, BodyLength::Empty) if !self.bodiless(head) && head.status != 204 => {
                out.field("Content-Length", &[b"0"]);
            }
            _ => {}
        }
        match (plan.keep_alive, self.version) {
            (false, _) => out.field("Connection", &[b"close"]),
            (true, Version::Http10) => out.field("Connection", &[b"keep-alive"]),
            (true, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
    }

    /// The head says what a body would have been, and none follows.
    fn bodiless(&self, head: &ResponseHead<'_, '_>) -> bool {
        self.head_only || head.status == 304
    }
}

fn write_given(out: &mut Vec<u8>, given: Option<Given>) {
    if let Some(given) = given {
        out.field("Set-Cookie", &[given.cookie().as_bytes()]);
    }
}

/// Writes a 1xx. A 101 carries the two fields that make it one, and what a final answer would give.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>, given: Option<Given>) {
    write_status(out, head);
    for field in head.fields {
        if !is_framing(field.name) && !is_hop_by_hop(field.name, &head.connection) {
            out.field(field.name, &[field.value]);
        }
    }
    if head.status == 101
        && let Some(protocol) = head.upgrade
    {
        out.field("Connection", &[b"Upgrade"]);
        out.field("Upgrade", &[protocol.as_bytes()]);
        write_given(out, given);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, head: &ResponseHead<'_, '_>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&decimal(u64::from(head.status)));
    out.push(b' ');
    let reason = if head.reason.is_empty() {
        answer::reason(head.status)
    } else {
        head.reason
    };
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn is_event_stream(head: &ResponseHead<'_, '_>) -> bool {
    value_of(head, "content-type").is_some_and(names_event_stream)
}

/// Parameters do not matter (Streams.md §1.1).
pub(crate) fn names_event_stream(content_type: &[u8]) -> bool {
    const EVENTS: &[u8] = b"text/event-stream";
    content_type
        .get(..EVENTS.len())
        .is_some_and(|media| media.eq_ignore_ascii_case(EVENTS))
        && matches!(
            content_type.get(EVENTS.len()),
            None | Some(b';' | b' ' | b'\t')
        )
}

/// How long the server says that it keeps the connection (`Keep-Alive: timeout=5`).
pub(crate) fn keep_alive_timeout(head: &ResponseHead<'_, '_>) -> Option<Duration> {
    let value = std::str::from_utf8(value_of(head, "keep-alive")?).ok()?;
    let seconds = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("timeout="))?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

fn value_of<'b>(head: &ResponseHead<'b, '_>, name: &str) -> Option<&'b [u8]> {
    head.fields
        .iter()
        .find(|field| field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}
