//! Slack's Block Kit, within its documented limits: 50 blocks, 150 characters in a header, 10 fields of
//! 2,000 and a text of 3,000 in a section.

use baton_compose::policy::NewsKind;
use serde_json::{Value, json};

use super::message::{Message, shorten, shorten_front};

const HEADER: usize = 150;
const TEXT: usize = 3_000;
const FIELDS: usize = 10;
const FIELD: usize = 2_000;

pub fn payload(message: &Message) -> Value {
    let title = format!("{} {}", sign(message.kind), message.title);
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": shorten(&title, HEADER), "emoji": true },
    })];
    let facts = message.facts.iter().map(|(name, value)| {
        let text = format!("*{}*\n{}", escape(name), escape(value));
        mrkdwn(&shorten(&text, FIELD))
    });
    let facts: Vec<Value> = facts.take(FIELDS).collect();
    if !facts.is_empty() {
        blocks.push(json!({ "type": "section", "fields": facts }));
    }
    if let Some((name, text)) = &message.text {
        let text = format!("*{}*\n{}", escape(name), escape(text));
        blocks.push(section(&shorten(&text, TEXT)));
    }
    if let Some((name, log)) = &message.log {
        let frame = format!("*{}*\n```\n", escape(name));
        let room = TEXT - frame.encode_utf16().count() - 4;
        let log = escape(log).replace("```", "'''");
        blocks.push(section(&format!(
            "{frame}{}\n```",
            shorten_front(&log, room)
        )));
    }
    if let Some((name, address)) = &message.link {
        blocks.push(json!({
            "type": "context",
            "elements": [mrkdwn(&format!("<{}|{}>", escape(address), escape(name)))],
        }));
    }
    // What a notification shows.
    json!({ "text": escape(&shorten(&title, TEXT)), "blocks": blocks })
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": mrkdwn(text) })
}

fn mrkdwn(text: &str) -> Value {
    json!({ "type": "mrkdwn", "text": text })
}

/// Slack's three; without it a log line could call everyone (`<!channel>`).
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn sign(kind: NewsKind) -> &'static str {
    match kind {
        NewsKind::Started => "🚀",
        NewsKind::Switched => "🟢",
        NewsKind::Failed => "🔴",
        NewsKind::RolledBack | NewsKind::TakenBack => "↩️",
        NewsKind::Done => "✅",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_is_within_the_limits() {
        let long = "<&>🙂가".repeat(5_000);
        let message = Message {
            kind: NewsKind::Failed,
            title: long.clone(),
            facts: vec![("a", long.clone()); 30],
            link: Some(("p", "https://ci.test/1".to_owned())),
            text: Some(("t", long.clone())),
            log: Some(("l", long)),
        };
        let payload = payload(&message);
        let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
        let blocks = payload["blocks"].as_array().unwrap();
        assert!(blocks.len() <= 50);
        assert!(length(&blocks[0]["text"]["text"]) <= HEADER);
        assert_eq!(blocks[1]["fields"].as_array().unwrap().len(), FIELDS);
        assert!(length(&blocks[1]["fields"][0]["text"]) <= FIELD);
        assert!(length(&blocks[2]["text"]["text"]) <= TEXT);
        assert!(length(&blocks[3]["text"]["text"]) <= TEXT);
        assert_eq!(blocks[4]["elements"][0]["text"], "<https://ci.test/1|p>");
        // A header is plain text, and needs no escapes.
        assert!(
            blocks[1..4]
                .iter()
                .all(|block| !block.to_string().contains("<&"))
        );
    }
}
