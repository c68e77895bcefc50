//! Managed event streams: a client's `text/event-stream` that outlives the instance it came from
//! (Streams.md §1).
//!
//! An exchange whose answer is an event stream leaves the way of a request here, unless its mode is
//! `drain`: from then on only whole events are forwarded, so that the stream may go on with another
//! instance, or end, between any two of them.
//!
//! | module | does |
//! | --- | --- |
//! | [`rule`] | path → what becomes of its streams |
//! | `terms` | which requests may become managed streams, and what their route says about them |
//! | `kept` | the client's request, to be asked again |
//! | `splice` | one client's stream: its halves as one body of whole events |
//! | `head` | its head, which may come late; the heads that may join it |
//! | `look` | what a new routing table means for it: which halves it opens, which ones end |
//! | `half` | one half: what one instance says |
//! | `tally` | what is counted while it is open |
//! | `stalled` | clients that take nothing any more |
//! | `opening` | asking an instance for its half; how many at once, how soon again |
//!
//! What the end of a half means (§1.1 and §1.2 taken together):
//!
//! - `union`, its instance is in the set: the half is opened again, also if it was the only one, and
//!   however it has ended: the client notices nothing. At once after an orderly end of one that had
//!   lasted; otherwise after a pause that grows, or the `retry` that the app asked for. Without any
//!   half the stream waits for the next table. Should the app refuse it then, the stream falls back.
//! - `cut` on its way to another instance: goes on there.
//! - Otherwise the end of the only half is the client's: clean if it was clean, else broken.
//!
//! A half that has left the set ends at a boundary, once it has been quiet for a moment. That moment is
//! for what is under way on the wire; whether the app still has something to say is for the drain
//! before it to know (messages, `drain.until`). Streams that Baton itself ends get `retry:` first.
//!
//! What happens to the bytes is in [`sse`](crate::sse), without IO.

mod half;
mod head;
mod kept;
mod look;
mod opening;
pub mod rule;
mod splice;
mod stalled;
mod tally;
mod terms;

use std::rc::Rc;

use http::Response;

use crate::exchange::stream::{AnswerBody, lines_of};
use crate::sse::{Cors, acceptable_half, is_event_stream};
use crate::worker::WorkerContext;

pub(crate) use head::{AWAITED, ask, await_any};
pub(crate) use kept::{Kept, plain};
pub(crate) use opening::Pace;
pub(crate) use splice::Splice;
pub(crate) use stalled::STALLED;
pub(crate) use terms::{Terms, accepts_events, is_asked_plain, may_be_managed};

/// Whether a request's answer can be managed: what its client is allowed by its head, if so. A cookie
/// that the first answer sets reaches the client, so that it does no harm.
pub(crate) fn begins<'f>(
    status: u16,
    fields: impl Iterator<Item = (&'f str, &'f [u8])> + Clone,
) -> Option<Cors> {
    let cors = Cors::of(fields.clone());
    let fields = fields.filter(|(name, _)| !name.eq_ignore_ascii_case("set-cookie"));
    acceptable_half(status, fields, &cors)
        .is_ok()
        .then_some(cors)
}

/// The answer to a request that [may be managed](may_be_managed), managed if it is an event stream.
pub(crate) fn manage(
    worker: &Rc<WorkerContext>,
    kept: impl FnOnce() -> Option<Kept>,
    answer: Response<AnswerBody>,
) -> Response<AnswerBody> {
    // Most answers are none, and cost nothing more.
    let media = answer.headers().get(http::header::CONTENT_TYPE);
    if !media.is_some_and(|media| is_event_stream(media.as_bytes())) {
        return answer;
    }
    let fields: Vec<_> = lines_of(answer.headers()).collect();
    let Some(cors) = begins(answer.status().as_u16(), fields.iter().copied()) else {
        return answer;
    };
    let pinned = answer.body().account().is_some_and(|a| a.is_pinned());
    let Some(kept) = kept().filter(|_| !pinned) else {
        return answer;
    };
    answer.map(|body| splice(worker, kept, cors, body))
}

/// The body of an answer that [begins](begins) a managed stream.
pub(crate) fn splice(
    worker: &Rc<WorkerContext>,
    kept: Kept,
    cors: Cors,
    body: AnswerBody,
) -> AnswerBody {
    let Some(account) = body.account().map(Rc::clone) else {
        return body;
    };
    match kept.names(|_, target| Terms::of(&account.route, target)) {
        Some(terms) => Splice::new(worker, kept, terms, cors, &account, body).into_body(),
        None => body,
    }
}
