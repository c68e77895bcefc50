//! A request between its head and its answer.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::HeaderMap;

use crate::access::Login;
use crate::access_log::Record;
use crate::answer::{Answer, accepts_html};
use crate::buffer::Buffer;
use crate::caller::Caller;
use crate::exchange::attempts::Repeat;
use crate::exchange::h2c;
use crate::exchange::relay::Asked;
use crate::exchange::request::{Request, upgrade_passed_on};
use crate::exchange::response::{Client, hsts};
use crate::exchange::upload::Upload;
use crate::forwarded::{FieldSink, Forwarded};
use crate::h1::{
    BodyLength, Field, FieldStore, HeadLimits, Parsed, RequestHead, is_hop_by_hop, parse_request,
};
use crate::hold::NoPlace;
use crate::io::Peer;
use crate::route::{Protocol, Route};
use crate::streams::{self, Kept};
use crate::trace::Begun;
use crate::upstream::h2c::RequestBody;
use crate::worker::WorkerContext;

/// A request that has a route and has not been answered.
pub(super) struct Pending {
    pub(super) upload: Upload,
    pub(super) route: Arc<Route>,
    pub(super) asked: Asked,
    pub(super) safe: bool,
    pub(super) idempotent: bool,
    pub(super) html: bool,
    /// No body follows the head.
    pub(super) bodiless: bool,
    pub(super) caller: Caller,
    /// It goes on when this password has been checked.
    pub(super) login: Option<Box<Login>>,
    /// Its line in the access log.
    pub(super) record: Cell<Option<Box<Record>>>,
}

/// Baton's own answer to a request that has not come to a route's instances.
pub(super) struct Own {
    /// None: no route takes the request.
    pub(super) route: Option<Arc<Route>>,
    pub(super) answer: Answer,
    pub(super) html: bool,
    pub(super) head_only: bool,
    /// The next request may follow.
    pub(super) keep_alive: bool,
    pub(super) record: Option<Box<Record>>,
}

impl Own {
    /// The connection ends with it: where the next request begins is not known.
    pub(super) fn last(answer: Answer) -> Own {
        Own {
            route: None,
            answer,
            html: false,
            head_only: false,
            keep_alive: false,
            record: None,
        }
    }

    fn of(mut self, route: &Arc<Route>) -> Own {
        self.route = Some(Arc::clone(route));
        self
    }
}

impl Pending {
    /// What is left of it to be sent again.
    pub(super) fn repeat(&self) -> Repeat {
        Repeat {
            safe: self.safe,
            idempotent: self.idempotent,
            whole: self.upload.is_whole(),
            unsent: self.upload.is_unsent(),
        }
    }

    /// The request as `http` has it, without its body.
    pub(super) fn h2c_request(&self, peer: &Peer) -> Result<http::Request<RequestBody>, Answer> {
        let mut store = FieldStore::new();
        let limits = HeadLimits::default();
        let Ok(Parsed::Complete(head)) =
            parse_request(self.upload.came.rest(), &mut store, &limits)
        else {
            return Err(Answer::unavailable("The request was held too long."));
        };
        let mut fields = HeaderMap::new();
        for field in head.fields {
            if !is_hop_by_hop(field.name, &head.connection) {
                fields.field(field.name, &[field.value]);
            }
        }
        let request = request_of(&head, &self.route, self.begun());
        let mut outgoing = h2c::request(&request, &self.route, peer, &fields, None)?;
        if is_asked_plain(&head, &self.route) {
            h2c::ask_plain(&mut outgoing);
        }
        Ok(outgoing)
    }

    /// A trace that begins with it.
    pub(super) fn begun(&self) -> Option<Begun> {
        let record = self.record.take();
        let begun = record.as_ref().and_then(|record| record.begun());
        self.record.set(record);
        begun
    }

    /// The request, to be asked again for as long as its answer goes on.
    pub(super) fn keep(&self, peer: &Peer) -> Option<Kept> {
        Kept::http1(self.upload.came.rest(), *peer)
    }

    /// Host and target, as the routing table is asked. Of a head that was parsed before.
    pub(super) fn names(&self) -> (&str, &str) {
        let mut store = FieldStore::new();
        match parse_request(self.upload.came.rest(), &mut store, &HeadLimits::default()) {
            Ok(Parsed::Complete(head)) => (head.host, head.target),
            _ => ("", ""),
        }
    }
}

pub(super) fn head_limits(worker: &WorkerContext) -> HeadLimits {
    let limits = &worker.settings().limits;
    HeadLimits {
        bytes: limits.header_bytes,
        count: limits.header_count,
        ..HeadLimits::default()
    }
}

/// Finds the route of a request and writes it anew for it. `whole`: nothing came behind the
/// head, which was complete at `came`.
pub(super) fn admit(
    worker: &WorkerContext,
    peer: &Peer,
    head: &RequestHead<'_, '_>,
    whole: bool,
    came: Instant,
    record: &mut Option<Box<Record>>,
) -> Result<Pending, Own> {
    let accept = value_of(head.fields, "accept");
    let html = accept.is_some_and(accepts_html);
    let bodiless = head.body == BodyLength::Empty;
    let answer_with = |answer| Own {
        route: None,
        answer,
        html,
        head_only: head.method == "HEAD",
        // What came after a request to upgrade is nobody's.
        keep_alive: head.keep_alive && bodiless && head.upgrade.is_none(),
        record: None,
    };
    // Of any host, also one that has no route yet; before it would be sent to HTTPS.
    if let Some(text) = worker.shared().challenges.text(head.target) {
        return Err(answer_with(Answer::text(text)));
    }
    let table = worker.table();
    let Some(route) = table.find(head.host, head.target) else {
        return Err(answer_with(NoPlace::NoRoute.answer()));
    };
    route.counters.requests.fetch_add(1, Ordering::Relaxed);
    if head.length > route.limits.header_bytes {
        let answer = Answer::new(431, "The head of the request is too large.");
        return Err(Own::last(answer).of(route));
    }
    let begun = record.as_ref().and_then(|record| record.begun());
    let request = request_of(head, route, begun);
    if request.upgrade.is_some() && !whole {
        let text = "Bytes came after a request to upgrade, before its answer.";
        return Err(Own::last(Answer::new(400, text)).of(route));
    }
    let fields = || head.fields.iter().map(|field| (field.name, field.value));
    let forwarded = Forwarded::of(peer, fields());
    if let Some(record) = record {
        record.routed(&route.app, forwarded.client(peer));
    }
    let login = match request.admitted_by(route, worker, peer, &forwarded, fields()) {
        Ok(login) => login,
        Err(answer) => return Err(answer_with(answer).of(route)),
    };
    let rendered = render(worker, peer, head, route, begun);
    Ok(Pending {
        login,
        record: Cell::new(None),
        caller: Caller::of(worker, peer, route, head.target, fields, &forwarded, came),
        upload: Upload::new(rendered, head.body, route.limits.body),
        route: Arc::clone(route),
        asked: Asked {
            client: Client {
                version: head.version,
                keep_alive: head.keep_alive,
                head_only: head.method == "HEAD",
                behind_proxy: peer.trusted,
                hsts: hsts(peer, route),
            },
            upgrade: request.upgrade.is_some(),
            expect_continue: head.expect_continue,
            may_be_managed: may_be_managed(head, route),
            expects_events: may_be_managed(head, route) && streams::accepts_events(accept),
        },
        safe: request.is_safe(),
        idempotent: request.is_idempotent(),
        html,
        bodiless,
    })
}

fn request_of<'a>(head: &RequestHead<'a, '_>, route: &Route, trace: Option<Begun>) -> Request<'a> {
    Request {
        trace,
        method: head.method,
        target: head.target,
        host: head.host,
        body: head.body,
        expect_continue: head.expect_continue,
        upgrade: match route.protocol {
            Protocol::Http1 => upgrade_passed_on(head.upgrade),
            Protocol::H2c => None,
        },
    }
}

/// The head as the route's instances get it.
pub(super) fn render(
    worker: &WorkerContext,
    peer: &Peer,
    head: &RequestHead<'_, '_>,
    route: &Route,
    trace: Option<Begun>,
) -> Buffer {
    let mut rendered = Buffer::default();
    let out = rendered.writer(&worker.buffers);
    let fields = head.fields.iter().map(|field| (field.name, field.value));
    let request = request_of(head, route, trace);
    if is_asked_plain(head, route) {
        request.write_http1(out, route, peer, streams::plain(fields), &head.connection);
    } else {
        request.write_http1(out, route, peer, fields, &head.connection);
    }
    rendered
}

fn may_be_managed(head: &RequestHead<'_, '_>, route: &Route) -> bool {
    let bodiless = head.body == BodyLength::Empty && head.upgrade.is_none();
    streams::may_be_managed(route, head.method, head.target, bodiless)
}

/// Whether the app is asked for an answer that is not compressed.
fn is_asked_plain(head: &RequestHead<'_, '_>, route: &Route) -> bool {
    may_be_managed(head, route)
        && streams::is_asked_plain(route, head.target, value_of(head.fields, "accept"))
}

fn value_of<'b>(fields: &[Field<'b>], name: &str) -> Option<&'b [u8]> {
    fields
        .iter()
        .find(|field| field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value)
}
