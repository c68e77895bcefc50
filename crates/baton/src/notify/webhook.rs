//! Baton's own JSON, and how it is signed: `docs/notify.md` shows how a receiver checks it.

use baton_compose::policy::Secret;
use baton_deploy::telling::{News, What};
use ring::hmac;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::message::Message;

/// Raised when a field changes its meaning.
const VERSION: u8 = 1;

pub fn payload(message: &Message, news: &News) -> Value {
    let outcome = match &news.what {
        What::Ended { outcome, .. } | What::Drained { outcome } => Some(outcome),
        What::Started | What::Switched => None,
    };
    let origin = news.origin.clone().unwrap_or_default();
    let plan = news.plan.as_ref();
    json!({
        "version": VERSION,
        "event": message.kind.as_str(),
        "app": news.app.as_str(),
        "deploy": news.deploy,
        "kind": plan.map(|plan| plan.kind.as_str()),
        "strategy": plan.map(|plan| plan.strategy.as_str()),
        "release": plan.map(|plan| plan.release),
        "previous": news.previous,
        "color": plan.map(|plan| plan.to),
        "at": news.at.format(&Rfc3339).ok(),
        "started_at": news.started_at.format(&Rfc3339).ok(),
        "by": news.by,
        "commit": origin.commit,
        "author": origin.author,
        "pipeline": origin.pipeline,
        "title": message.title,
        "message": outcome.map(|outcome| &outcome.message),
        "exit_code": outcome.map(|outcome| outcome.exit_code),
        "failure": outcome.and_then(|outcome| outcome.failure.as_ref()),
        "receipt": outcome.and_then(|outcome| outcome.receipt.as_ref()),
    })
}

/// `sha256=…` of `TIMESTAMP.BODY`: the time is signed as well, so that an old message cannot be sent once
/// more.
pub fn signature(secret: &Secret, timestamp: u64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.0.as_bytes());
    let tag = hmac::sign(&key, format!("{timestamp}.{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret`.
    #[test]
    fn the_signature_is_what_others_compute() {
        assert_eq!(
            signature(&Secret("s3cret".to_owned()), 1_700_000_000, "{\"a\":1}"),
            "sha256=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940"
        );
    }
}
