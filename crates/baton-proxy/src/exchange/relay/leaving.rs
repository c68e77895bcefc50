//! What is left of an exchange for whoever goes on with it.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::{AnswerState, Relay};
use crate::buffer::Buffer;
use crate::exchange::account::Account;
use crate::exchange::response::{Coding, Plan};
use crate::exchange::upload::Upload;
use crate::sse::Cors;
use crate::upstream::h1::AnswerStream;
use crate::worker::WorkerContext;

impl Relay {
    /// The exchange is over and its request was read to the end: the instance's connection goes back
    /// to the pool if nothing is left on it.
    pub(crate) fn give_back(self, upload: &Upload, worker: &WorkerContext) {
        if self.answer.reusable && upload.is_done() && !upload.is_abandoned() {
            worker
                .upstreams
                .give(self.account.instance(), self.upstream, self.answer.timeout);
        }
    }

    /// What is read next is no longer for the relay.
    pub(super) fn leaves_here(&self) -> bool {
        self.answer.upgraded || self.answer.begins.is_some()
    }

    /// For a managed stream: the rest of the answer, what its head allowed the client, and how its
    /// body goes there.
    pub(crate) fn into_stream(
        self,
        worker: &Rc<WorkerContext>,
    ) -> Option<(AnswerStream, Cors, Plan)> {
        let AnswerState {
            mut input,
            decoder,
            begins,
            coding,
            keep_alive,
            ..
        } = self.answer;
        let body = AnswerStream::behind_head(
            worker,
            Rc::new(self.account),
            self.upstream,
            input.rest(),
            decoder?,
        );
        input.release(&worker.buffers);
        Some((body, begins?, Plan { coding, keep_alive }))
    }

    /// For an answer that is late.
    pub(crate) fn into_awaited(self) -> (Account, TcpStream) {
        (self.account, self.upstream)
    }

    /// For a tunnel: the instance's socket, and what it has sent after its 101.
    pub(crate) fn into_upgraded(self) -> (Account, TcpStream, Buffer) {
        (self.account, self.upstream, self.answer.input)
    }

    /// The answer went to a client that can only tell its end by the end of the connection.
    pub(crate) fn ends_by_close(&self) -> bool {
        self.answer.coding == Coding::Raw && !self.answer.keep_alive
    }
}
