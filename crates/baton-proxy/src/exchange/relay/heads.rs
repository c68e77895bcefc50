//! The heads of an answer: interim ones, then the final one, which says how the body goes on.

use super::{End, MAX_INTERIM, Relay};
use crate::exchange::response;
use crate::exchange::upload::Upload;
use crate::h1::{BodyDecoder, ResponseHead, Version};
use crate::streams;
use crate::worker::WorkerContext;

impl Relay {
    /// Takes an interim or the final head, and writes it for the client.
    pub(super) fn take_head(
        &mut self,
        upload: &mut Upload,
        head: &ResponseHead<'_, '_>,
        out: &mut Vec<u8>,
        worker: &WorkerContext,
    ) -> Result<(), End> {
        if head.status == 101 {
            if !self.asked.upgrade || head.upgrade.is_none() {
                return Err(self.failed(502, "switched to a protocol that nobody asked for"));
            }
            self.account.took_until(self.moved);
            self.answers(101);
            self.account.switches_to(head.upgrade.unwrap_or_default());
            response::write_interim(out, head, self.account.given());
            upload.forget(&worker.buffers);
            self.answer.upgraded = true;
            self.answer.ended = true;
            return Ok(());
        }
        if head.status < 200 {
            return self.take_interim(head, out);
        }
        // A client that was not told to send its body may never do so: then where its next request
        // begins is not known (RFC 9110 §10.1.1).
        let body_in_doubt =
            self.asked.expect_continue && !self.answer.continued && !upload.is_done();
        let plan = self
            .asked
            .client
            .plan(head.body, body_in_doubt || worker.shutdown().is_leaving());
        let given = self.account.given();
        self.asked.client.write_head(out, head, plan, given);
        let events = response::is_event_stream(head);
        self.account.answered(head.status, events, self.moved);
        self.answers(head.status);
        let fields = head.fields.iter().map(|field| (field.name, field.value));
        self.account.learn(worker, fields.clone());
        if events && self.asked.may_be_managed && !self.account.is_pinned() {
            self.answer.begins = streams::begins(head.status, fields);
            self.answer.ended = self.answer.begins.is_some();
        }
        if self.answer.begins.is_none() {
            upload.forget(&worker.buffers);
        }
        self.answer.coding = plan.coding;
        self.answer.keep_alive = plan.keep_alive;
        self.answer.reusable = head.keep_alive;
        self.answer.timeout = response::keep_alive_timeout(head);
        self.answer.decoder = Some(BodyDecoder::new(head.body));
        Ok(())
    }

    fn answers(&mut self, status: u16) {
        if let Some(record) = &mut self.record {
            record.answered(status);
        }
    }

    fn take_interim(&mut self, head: &ResponseHead<'_, '_>, out: &mut Vec<u8>) -> Result<(), End> {
        self.answer.interim += 1;
        if self.answer.interim > MAX_INTERIM {
            return Err(self.failed(502, "sent nothing but interim answers"));
        }
        // HTTP/1.0 has no 1xx; a 100 is for who asked, once (RFC 9110 §15.2).
        let wanted = self.asked.client.version == Version::Http11
            && (head.status != 100 || (self.asked.expect_continue && !self.answer.continued));
        if wanted {
            self.answer.continued |= head.status == 100;
            response::write_interim(out, head, None);
        }
        Ok(())
    }
}
