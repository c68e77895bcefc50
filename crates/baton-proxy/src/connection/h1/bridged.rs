//! Exchanges that one task does not drive from socket to socket: with h2c instances, and managed event
//! streams, whose answer may come from any instance.

use std::future::poll_fn;
use std::rc::Rc;

use super::pending::Pending;
use super::{Connection, Next};
use crate::answer::Answer;
use crate::exchange::account::Account;
use crate::exchange::attempts::{Attempts, Repeat};
use crate::exchange::bridge::{Bridge, BridgeEnd};
use crate::exchange::h2c;
use crate::exchange::relay::{End, Relay};
use crate::exchange::stream::{AnswerBody, with_given};
use crate::h1::BodyLength;
use crate::streams;
use crate::upstream::h1::{AnswerStream, Asked};
use crate::upstream::h2c::Sender;

/// How a bridge has ended, and whether only closing tells the client so.
type Crossed = (BridgeEnd, bool);

impl Connection {
    /// What follows the head of a managed event stream.
    pub(super) async fn stream(&mut self, relay: Relay, pending: &mut Pending) -> Next {
        let idle = relay.account.route.limits.idle;
        let kept = pending.keep(&self.peer);
        pending.upload.forget(&self.worker.buffers);
        self.end.notice_silent_death();
        let (Some(kept), Some((body, cors, plan))) = (kept, relay.into_stream(&self.worker)) else {
            return Next::Close;
        };
        let body = streams::splice(&self.worker, kept, cors, AnswerBody::http1(body));
        let bridge = Bridge::behind_head(pending.asked, body, plan, idle);
        let end = self.cross(pending, bridge).await;
        self.crossed(pending, end).await
    }

    /// What follows a request for events that has no answer yet.
    pub(super) async fn awaited(&mut self, relay: Relay, pending: &mut Pending) -> Next {
        let idle = relay.account.route.limits.idle;
        let Some(kept) = pending.keep(&self.peer) else {
            return Next::Close;
        };
        pending.upload.forget(&self.worker.buffers);
        self.end.notice_silent_death();
        let (account, stream) = relay.into_awaited();
        let (worker, account) = (Rc::clone(&self.worker), Rc::new(account));
        let asked = Asked {
            head_only: false,
            behind_proxy: self.peer.trusted,
            body: BodyLength::Empty,
        };
        let bridge = Bridge::new(pending.asked, &pending.upload, idle, |_| {
            Box::pin(async move {
                let (context, counted) = (Rc::clone(&worker), Rc::clone(&account));
                let answer = AnswerStream::awaited(context, counted, stream, asked);
                let answer = async { answer.await.map(AnswerBody::of_http1) };
                let given = account.given();
                let answer = streams::await_any(&worker, kept, account, answer).await;
                Ok(with_given(answer, given))
            })
        });
        let end = self.cross(pending, bridge).await;
        self.crossed(pending, end).await
    }

    /// An exchange with an h2c instance. None: the request goes out once more.
    pub(super) async fn bridge(
        &mut self,
        pending: &mut Pending,
        account: Account,
        sender: Sender,
        attempts: &mut Attempts,
    ) -> Option<Next> {
        let idle = account.route.limits.idle;
        let (worker, peer) = (Rc::clone(&self.worker), self.peer);
        let account = Rc::new(account);
        let asked = pending.asked;
        let kept = asked.may_be_managed.then(|| pending.keep(&peer)).flatten();
        let bridge = match pending.h2c_request(&peer) {
            Ok(request) => Bridge::new(asked, &pending.upload, idle, |body| {
                let request = request.map(|none| body.unwrap_or(none));
                Box::pin(async move {
                    let (context, counted) = (Rc::clone(&worker), Rc::clone(&account));
                    let given = account.given();
                    let sent = h2c::send(context, counted, sender, request, peer);
                    if asked.expects_events {
                        let answer = streams::ask(&worker, kept, account, sent).await?;
                        return Ok(with_given(answer, given));
                    }
                    drop(account);
                    let answer = sent.await?;
                    let answer = match kept {
                        Some(kept) => streams::manage(&worker, || Some(kept), answer),
                        None => answer,
                    };
                    Ok(with_given(answer, given))
                })
            }),
            Err(answer) => return Some(self.refuse(answer, pending).await),
        };
        let (account, sent) = match self.cross(pending, bridge).await {
            (BridgeEnd::NoAnswer { account, sent }, _) => (account, sent),
            end => return Some(self.crossed(pending, end).await),
        };
        let repeat = Repeat {
            whole: pending.bodiless,
            unsent: !sent && pending.bodiless,
            ..pending.repeat()
        };
        if attempts.again(&account, true, repeat) {
            return None;
        }
        account.broke();
        account.failed();
        let app = &account.route.app;
        let text = format!("{app} closed the connection without an answer.");
        Some(self.refuse(Answer::new(502, text), pending).await)
    }

    /// Drives a bridge to its end.
    async fn cross(&mut self, pending: &mut Pending, mut bridge: Bridge) -> Crossed {
        bridge.record = pending.record.take();
        let upload = &mut pending.upload;
        let end = poll_fn(|cx| bridge.poll(cx, upload, &mut self.end, &self.worker)).await;
        pending.record.set(bridge.record.take());
        (end, bridge.ends_by_close())
    }

    async fn crossed(&mut self, pending: &mut Pending, (end, ends_by_close): Crossed) -> Next {
        match end {
            BridgeEnd::Over(End::Answered { keep_alive }) => self.follow(pending, keep_alive).await,
            BridgeEnd::Over(End::Own(answer)) => self.refuse(answer, pending).await,
            BridgeEnd::Over(End::Cut) => self.cut(pending, ends_by_close),
            BridgeEnd::Over(_) | BridgeEnd::NoAnswer { .. } => Next::Close,
        }
    }
}
