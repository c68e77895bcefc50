//! The client's request, kept for as long as its stream is open, so that it can be asked again.

use std::fmt::Write;

use http::HeaderMap;

use crate::exchange::h2c;
use crate::exchange::request::Request;
use crate::exchange::stream::lines_of;
use crate::forwarded::FieldSink;
use crate::h1::{
    BodyLength, FieldStore, HeadLimits, MAX_FIELDS, Parsed, RequestHead, is_hop_by_hop,
    parse_request,
};
use crate::io::Peer;
use crate::route::Route;
use crate::sse::union::Resume;
use crate::upstream::h2c::RequestBody;

const LIMITS: HeadLimits = HeadLimits {
    bytes: usize::MAX,
    count: MAX_FIELDS,
    target: usize::MAX,
};

/// A GET without a body. One block of memory: there are many of these, and each is read seldom.
#[derive(Debug)]
pub(crate) struct Kept {
    /// As HTTP/1.1 has it.
    head: Box<[u8]>,
    pub(crate) peer: Peer,
}

impl Kept {
    /// A request that came over HTTP/1.1. None: it cannot be asked again.
    pub(crate) fn http1(head: &[u8], peer: Peer) -> Option<Kept> {
        Kept {
            head: head.into(),
            peer,
        }
        .checked()
    }

    /// A request that came over HTTP/2. `fields` has no `Host`.
    pub(crate) fn http2(host: &str, target: &str, fields: &HeaderMap, peer: Peer) -> Option<Kept> {
        let mut line = String::new();
        // Writing to a string does not fail.
        let _ = write!(line, "GET {target} HTTP/1.1\r\nhost: {host}\r\n");
        let mut head = line.into_bytes();
        for (name, value) in lines_of(fields) {
            head.field(name, &[value]);
        }
        head.extend_from_slice(b"\r\n");
        Kept {
            head: head.into(),
            peer,
        }
        .checked()
    }

    fn checked(self) -> Option<Kept> {
        self.read(|_| ()).is_some().then_some(self)
    }

    fn read<T>(&self, read: impl FnOnce(&RequestHead<'_, '_>) -> T) -> Option<T> {
        let mut store = FieldStore::new();
        match parse_request(&self.head, &mut store, &LIMITS) {
            Ok(Parsed::Complete(head)) => Some(read(&head)),
            _ => None,
        }
    }

    /// Host and target, as the routing table is asked.
    pub(crate) fn names<T>(&self, with: impl FnOnce(&str, &str) -> T) -> Option<T> {
        self.read(|head| with(head.host, head.target))
    }

    /// What the client had when it connected.
    pub(crate) fn last_event_id(&self) -> Option<Vec<u8>> {
        self.read(|head| {
            let mut fields = head.fields.iter();
            fields
                .find(|field| is_last_event_id(field.name))
                .map(|field| field.value.to_vec())
        })?
    }

    /// The request once more, in HTTP/1.1.
    pub(crate) fn to_http1(&self, route: &Route, resume: &Resume<'_>) -> Option<Vec<u8>> {
        self.read(|head| {
            let mut out = Vec::with_capacity(self.head.len() + 256);
            let fields = head.fields.iter().map(|field| (field.name, field.value));
            request_of(head, resume).write_http1(
                &mut out,
                route,
                &self.peer,
                resumed(fields, resume),
                &head.connection,
            );
            out
        })
    }

    /// The same for an h2c instance.
    pub(crate) fn to_h2c(
        &self,
        route: &Route,
        resume: &Resume<'_>,
    ) -> Option<http::Request<RequestBody>> {
        self.read(|head| {
            let mut map = HeaderMap::new();
            let fields = head.fields.iter().map(|field| (field.name, field.value));
            for (name, value) in resumed(fields, resume) {
                if !is_hop_by_hop(name, &head.connection) {
                    map.field(name, &[value]);
                }
            }
            h2c::request(&request_of(head, resume), route, &self.peer, &map, None).ok()
        })?
    }
}

fn request_of<'a>(head: &RequestHead<'a, '_>, resume: &'a Resume<'_>) -> Request<'a> {
    Request {
        trace: None,
        method: head.method,
        target: resume.target.as_deref().unwrap_or(head.target),
        host: head.host,
        body: BodyLength::Empty,
        expect_continue: false,
        upgrade: None,
    }
}

/// The client's fields, but for those that Baton says itself.
fn resumed<'f>(
    fields: impl Iterator<Item = (&'f str, &'f [u8])>,
    resume: &'f Resume<'_>,
) -> impl Iterator<Item = (&'f str, &'f [u8])> {
    plain(fields.filter(|(name, _)| !is_last_event_id(name)))
        .chain(resume.last_event_id.map(|id| ("Last-Event-ID", id)))
}

/// The same fields, with an answer asked for that is not compressed.
pub(crate) fn plain<'f>(
    fields: impl Iterator<Item = (&'f str, &'f [u8])>,
) -> impl Iterator<Item = (&'f str, &'f [u8])> {
    const ACCEPT_ENCODING: &str = "Accept-Encoding";
    fields
        .filter(|(name, _)| !name.eq_ignore_ascii_case(ACCEPT_ENCODING))
        .chain(std::iter::once((ACCEPT_ENCODING, &b"identity"[..])))
}

fn is_last_event_id(name: &str) -> bool {
    name.eq_ignore_ascii_case("last-event-id")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue};

    use super::Kept;
    use crate::io::Peer;
    use crate::route::Route;
    use crate::sse::{HalfKey, Union};
    use crate::streams::rule::tests::route;

    const PEER: Peer = Peer {
        address: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9),
        secure: true,
        on_443: false,
        trusted: false,
        trusted_proxies: &crate::io::TrustedProxies(Vec::new()),
    };

    fn written(kept: &Kept, route: &Route, union: &Union) -> String {
        let resume = kept.names(|_, target| union.resume(HalfKey(1), target));
        let head = kept.to_http1(route, &resume.unwrap().unwrap()).unwrap();
        String::from_utf8(head).unwrap()
    }

    #[test]
    fn a_request_is_asked_again_as_it_came() {
        let came = b"GET /api/sse?lastEventId=1&x HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\n\
            Accept-Encoding: gzip, br\r\nLast-Event-ID: 1\r\nConnection: x-hop\r\nX-Hop: y\r\n\r\n";
        let kept = Kept::http1(came, PEER).unwrap();
        assert_eq!(kept.last_event_id().as_deref(), Some(&b"1"[..]));
        let sent = kept.last_event_id();
        let mut union = Union::new(sent.as_deref(), Arc::default());
        let route = Route {
            path: "/api".into(),
            strip_path: true,
            ..route()
        };
        let first = written(&kept, &route, &union);
        assert!(
            first.starts_with(
                "GET /sse?lastEventId=1&x HTTP/1.1\r\nHost: a.test\r\nCookie: a=b\r\n"
            ),
            "{first}"
        );
        assert!(
            first.contains("\r\nAccept-Encoding: identity\r\nLast-Event-ID: 1\r\n"),
            "{first}"
        );
        assert!(
            first.contains("\r\nX-Forwarded-Proto: https\r\n"),
            "{first}"
        );
        assert!(
            !first.contains("X-Hop") && !first.contains("gzip"),
            "{first}"
        );

        union.open(HalfKey(1));
        let event = crate::sse::Event::parse(b"id: 2\ndata: x\n\n");
        union.take(HalfKey(1), &event);
        let second = written(&kept, &route, &union);
        assert!(
            second.starts_with("GET /sse?lastEventId=2&x HTTP/1.1\r\n"),
            "{second}"
        );
        assert!(second.contains("\r\nLast-Event-ID: 2\r\n"), "{second}");
        assert!(!second.contains("Last-Event-ID: 1"), "{second}");
    }

    #[test]
    fn http2_and_http1_are_kept_alike() {
        let mut fields = HeaderMap::new();
        fields.insert("cookie", HeaderValue::from_static("a=b"));
        let kept = Kept::http2("a.test", "/sse", &fields, PEER).unwrap();
        assert_eq!(
            kept.names(|host, target| format!("{host}{target}"))
                .unwrap(),
            "a.test/sse"
        );
        let union = Union::new(None, Arc::default());
        let head = written(&kept, &route(), &union);
        assert!(
            head.starts_with("GET /sse HTTP/1.1\r\nHost: a.test\r\ncookie: a=b\r\n"),
            "{head}"
        );
        assert!(!head.contains("Last-Event-ID"), "{head}");
    }
}
