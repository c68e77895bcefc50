//! The request as the app gets it: written anew from validated fields.

use crate::access::Login;
use crate::answer::Answer;
use crate::challenge;
use crate::forwarded::{FieldSink, Forwarded};
use crate::h1::write::decimal;
use crate::h1::{BodyLength, ConnectionOptions, is_framing, is_hop_by_hop};
use crate::io::Peer;
use crate::route::{Route, host_name};
use crate::trace::{self, Begun};
use crate::worker::WorkerContext;

/// A request's head, whatever version it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Origin form, or `*`.
    pub(crate) target: &'a str,
    /// As sent, with its port.
    pub(crate) host: &'a str,
    pub(crate) body: BodyLength,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: Option<&'a str>,
    /// The app is told of this trace, in place of what came.
    pub(crate) trace: Option<Begun>,
}

impl Request<'_> {
    /// RFC 9110 §9.2.1: may be sent again whatever became of it.
    pub(crate) fn is_safe(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE")
    }

    /// RFC 9110 §9.2.2.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.is_safe() || matches!(self.method, "PUT" | "DELETE")
    }

    /// What a route refuses before anything is sent.
    fn refused_by(&self, route: &Route) -> Option<Answer> {
        let limit = route.limits.body;
        match self.body {
            BodyLength::Length(length) if limit > 0 && length > limit => Some(too_large(limit)),
            _ => None,
        }
    }

    /// What a route answers with itself: its page, a redirect, a refusal. Else the password that has to
    /// be checked first.
    pub(crate) fn admitted_by<'f>(
        &self,
        route: &Route,
        worker: &WorkerContext,
        peer: &Peer,
        forwarded: &Forwarded<'_>,
        mut fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    ) -> Result<Option<Box<Login>>, Answer> {
        if let Some(page) = &route.page
            && route.redirect_host.is_none()
        {
            return Err(Answer::page(page));
        }
        // Before a password is asked for, since it would go over a plain connection.
        if let Some(answer) = self.redirected_by(route, forwarded.is_secure(peer)) {
            return Err(answer);
        }
        let login = match &route.access {
            Some(access) => {
                let field = fields.find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
                let passwords = &worker.shared().passwords;
                access.admit(passwords, peer, forwarded, self.host, field.map(|f| f.1))?
            }
            None => None,
        };
        match self.refused_by(route) {
            Some(answer) => Err(answer),
            None => Ok(login),
        }
    }

    /// Where a request is sent instead: a plain one, when its route wants HTTPS, and any, when its host
    /// only stands for another.
    fn redirected_by(&self, route: &Route, secure: bool) -> Option<Answer> {
        let https = route.redirect_https.filter(|_| !secure);
        let other = route.redirect_host.as_deref();
        if https.is_none() && other.is_none()
            || self.host.is_empty()
            || challenge::is_asked_for(self.target)
        {
            return None;
        }
        let name = host_name(self.host);
        // What follows the name: the port that the client has come by.
        let came_by = self.host.strip_prefix(name).unwrap_or_default();
        let host = other.unwrap_or(name);
        let target = if self.target == "*" { "" } else { self.target };
        let location = match https {
            Some(443) => format!("https://{host}{target}"),
            Some(port) => format!("https://{host}:{port}{target}"),
            None if secure => format!("https://{host}{came_by}{target}"),
            None => format!("http://{host}{came_by}{target}"),
        };
        Some(Answer::redirect(self.method, location))
    }

    /// Writes the fields that go to the app, but for the framing. `fields` are those that came.
    pub(crate) fn write_fields<'f>(
        &self,
        route: &Route,
        peer: &Peer,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
        connection: &ConnectionOptions<'_>,
        sink: &mut impl FieldSink,
    ) {
        let mut forwarded = Forwarded::default();
        for (name, value) in fields {
            let written_by_us = match name.len() {
                4 => name.eq_ignore_ascii_case("host"),
                6 => name.eq_ignore_ascii_case("expect"),
                10 => self.trace.is_some() && name.eq_ignore_ascii_case(trace::STATE),
                11 => self.trace.is_some() && name.eq_ignore_ascii_case(trace::PARENT),
                // It was for Baton.
                13 => route.asks_for_password() && name.eq_ignore_ascii_case("authorization"),
                _ => false,
            };
            if written_by_us
                || is_framing(name)
                || is_hop_by_hop(name, connection)
                || forwarded.takes(peer, name, value)
            {
                continue;
            }
            sink.field(name, &[value]);
        }
        forwarded.write(peer, self.host, sink);
        if let Some(begun) = self.trace {
            sink.field(trace::PARENT, &[&begun.value()]);
        }
    }

    /// The whole head in HTTP/1.1.
    pub(crate) fn write_http1<'f>(
        &self,
        out: &mut Vec<u8>,
        route: &Route,
        peer: &Peer,
        fields: impl Iterator<Item = (&'f str, &'f [u8])>,
        connection: &ConnectionOptions<'_>,
    ) {
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        for part in target_for(route, self.target) {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        out.field("Host", &[self.host.as_bytes()]);
        self.write_fields(route, peer, fields, connection, out);
        match self.body {
            BodyLength::Length(length) => out.field("Content-Length", &[&decimal(length)]),
            BodyLength::Chunked => out.field("Transfer-Encoding", &[b"chunked"]),
            // Servers may answer 411 to these without a length (RFC 9110 §8.6).
            _ if matches!(self.method, "POST" | "PUT" | "PATCH") => {
                out.field("Content-Length", &[b"0"]);
            }
            _ => {}
        }
        if self.expect_continue {
            out.field("Expect", &[b"100-continue"]);
        }
        if let Some(protocol) = self.upgrade {
            out.field("Connection", &[b"Upgrade"]);
            out.field("Upgrade", &[protocol.as_bytes()]);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// An upgrade that is passed on. h2c would let a client speak past the proxy: its requests would be
/// neither routed nor counted.
pub(crate) fn upgrade_passed_on(upgrade: Option<&str>) -> Option<&str> {
    upgrade.filter(|protocols| {
        protocols
            .split(',')
            .all(|protocol| !protocol.trim().eq_ignore_ascii_case("h2c"))
    })
}

pub(crate) fn too_large(limit: u64) -> Answer {
    Answer::new(413, format!("The body may have {limit} bytes at most."))
}

/// The target without the route's prefix where the route strips it, as two pieces.
pub(crate) fn target_for<'t>(route: &Route, target: &'t str) -> [&'t str; 2] {
    if !route.strip_path {
        return ["", target];
    }
    let prefix = route.path.trim_end_matches('/');
    match target.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => ["", rest],
        Some(rest) if rest.is_empty() || rest.starts_with('?') => ["/", rest],
        _ => ["", target],
    }
}
