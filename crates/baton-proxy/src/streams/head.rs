//! The head of a managed stream: the client's, and those of the halves that join it.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Response};

use super::kept::Kept;
use super::rule::StreamMode;
use super::splice::{Head, Splice};
use super::terms::Terms;
use super::{begins, manage};
use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::exchange::stream::{self, AnswerBody, lines_of};
use crate::hold::NoPlace;
use crate::sse::acceptable_half;
use crate::upstream::h1::NoAnswer;
use crate::worker::WorkerContext;

/// A client of events whose instance has no answer after this long gets halves like one with a stream:
/// what is emitted elsewhere meanwhile may be what it waits for.
pub(crate) const AWAITED: Duration = Duration::from_millis(250);

/// Sends a request of a client that waits for events. The answer may come from another instance than
/// the one that was asked.
pub(crate) async fn ask(
    worker: &Rc<WorkerContext>,
    kept: Option<Kept>,
    account: Rc<Account>,
    asking: impl Future<Output = Result<Response<AnswerBody>, NoAnswer>> + 'static,
) -> Result<Response<AnswerBody>, NoAnswer> {
    let Some(kept) = kept.filter(|_| !account.is_pinned()) else {
        drop(account);
        return asking.await;
    };
    let mut asking = Box::pin(asking);
    match tokio::time::timeout(AWAITED, &mut asking).await {
        // Others may answer; that one is being stopped.
        Ok(Err(_)) if account.instance().is_cut() => {
            Ok(await_any(worker, kept, account, std::future::ready(None)).await)
        }
        Ok(answer) => answer.map(|answer| manage(worker, || Some(kept), answer)),
        Err(_) => Ok(await_any(worker, kept, account, async { asking.await.ok() }).await),
    }
}

/// The first answer to a request that one instance has got and not answered in time.
pub(crate) async fn await_any(
    worker: &Rc<WorkerContext>,
    kept: Kept,
    account: Rc<Account>,
    asking: impl Future<Output = Option<Response<AnswerBody>>> + 'static,
) -> Response<AnswerBody> {
    let terms = kept.names(|_, target| Terms::of(&account.route, target));
    let Some(terms) = terms else {
        drop(account);
        let failed = Answer::new(502, "closed the connection without an answer");
        return asking.await.unwrap_or_else(|| own(failed));
    };
    let mut splice = Splice::awaiting(worker, kept, terms, &account, Box::pin(asking));
    // Counted by the half from now on.
    let asked = Arc::clone(account.instance());
    drop(account);
    let head = poll_fn(|cx| splice.poll_head(cx)).await;
    let answer = match head {
        Ok(parts) => Response::from_parts(parts, splice.into_body()),
        Err(other) => *other,
    };
    asked.counters.answers.count(answer.status().as_u16());
    answer
}

fn own(answer: Answer) -> Response<AnswerBody> {
    stream::uncounted(answer, &HeaderMap::new())
}

impl Splice {
    /// The client's head; or an answer that is no stream.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::response::Parts, Box<Response<AnswerBody>>>> {
        self.attend(cx);
        match std::mem::replace(&mut self.head, Head::Awaited) {
            Head::Begins(parts, cors) => {
                self.head = Head::Sent(cors);
                Poll::Ready(Ok(*parts))
            }
            Head::Other(answer) => Poll::Ready(Err(answer)),
            head => {
                self.head = head;
                Poll::Pending
            }
        }
    }

    /// An instance has answered: its answer joins the stream, or is the client's.
    pub(super) fn answered(&mut self, at: usize, answer: Response<AnswerBody>) {
        let status = answer.status().as_u16();
        let fields: Vec<_> = lines_of(answer.headers()).collect();
        match &self.head {
            Head::Awaited => match begins(status, fields.iter().copied()) {
                Some(cors) => {
                    let (parts, body) = answer.into_parts();
                    self.head = Head::Begins(Box::new(parts), cors);
                    self.begin(at, body);
                }
                // What the client asked first decides.
                None if at == 0 => {
                    self.head = Head::Other(Box::new(answer));
                    self.halves.clear();
                }
                None => self.refused(at, "another instance answers otherwise"),
            },
            Head::Begins(_, cors) | Head::Sent(cors) => {
                match acceptable_half(status, fields.iter().copied(), cors) {
                    Ok(()) => self.begin(at, answer.into_body()),
                    Err(why) => self.refused(at, &why.to_string()),
                }
            }
            Head::Other(_) => {}
        }
    }

    /// A half cannot be had, or not joined.
    pub(super) fn refused(&mut self, at: usize, why: &str) {
        if !matches!(self.head, Head::Awaited) {
            return self.fall_back(why);
        }
        // The client has nothing yet, and waits for those that were asked.
        let half = self.halves.remove(at);
        self.union.close(half.key());
        self.leave_gauges();
        self.mode = StreamMode::Reconnect;
        if self.halves.is_empty() {
            let text = format!("{}: {why}.", self.route.app);
            let answer = Answer::new(502, text).of(&self.route);
            self.head = Head::Other(Box::new(own(answer)));
        }
    }

    /// The route is gone.
    pub(super) fn is_nowhere(&mut self) {
        if matches!(self.head, Head::Awaited) {
            self.halves.clear();
            self.head = Head::Other(Box::new(own(NoPlace::NoRoute.answer())));
        } else {
            self.come_back();
        }
    }
}
