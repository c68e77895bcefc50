//! Discord's embeds, within their documented limits: a title of 256 characters, a description of 4,096, 25
//! fields with names of 256 and values of 1,024; 6,000 in all.

use baton_compose::policy::NewsKind;
use serde_json::{Value, json};

use super::message::{Message, shorten, shorten_front};

const TITLE: usize = 256;
const FIELDS: usize = 25;
const VALUE: usize = 200;
/// Of the 4,096, so that all of it stays within 6,000: text, and log.
const TEXT: usize = 1_500;
const LOG: usize = 1_800;

pub fn payload(message: &Message) -> Value {
    let facts = message.facts.iter().take(FIELDS.min(8)).map(|(name, value)| {
        json!({ "name": name, "value": shorten(&escape(value), VALUE), "inline": true })
    });
    let mut description = Vec::new();
    if let Some((name, text)) = &message.text {
        description.push(format!("**{name}**\n{}", shorten(&escape(text), TEXT)));
    }
    if let Some((name, log)) = &message.log {
        let log = log.replace("```", "'''");
        description.push(format!(
            "**{name}**\n```\n{}\n```",
            shorten_front(&log, LOG)
        ));
    }
    let mut embed = json!({
        "title": shorten(&message.title, TITLE),
        "description": description.join("\n"),
        "color": color(message.kind),
        "fields": facts.collect::<Vec<_>>(),
    });
    if let Some((_, address)) = &message.link {
        embed["url"] = address.as_str().into();
    }
    // Whatever a log line says, it calls nobody.
    json!({ "embeds": [embed], "allowed_mentions": { "parse": [] } })
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '_' | '`' | '~' | '|' | '\\' | '>' | '[') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn color(kind: NewsKind) -> u32 {
    match kind {
        NewsKind::Started => 0x34_98_db,
        NewsKind::Switched | NewsKind::Done => 0x2e_cc_71,
        NewsKind::Failed => 0xe7_4c_3c,
        NewsKind::RolledBack | NewsKind::TakenBack => 0xf3_9c_12,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_message_is_within_the_limits() {
        let long = "*`🙂가".repeat(5_000);
        let message = Message {
            kind: NewsKind::Failed,
            title: long.clone(),
            facts: vec![("name", long.clone()); 30],
            link: Some(("p", "https://ci.test/1".to_owned())),
            text: Some(("t", long.clone())),
            log: Some(("l", long)),
        };
        let payload = payload(&message);
        let embed = &payload["embeds"][0];
        let length = |value: &Value| value.as_str().unwrap().encode_utf16().count();
        let fields = embed["fields"].as_array().unwrap();
        assert!(length(&embed["title"]) <= TITLE && length(&embed["description"]) <= 4_096);
        assert!(fields.len() <= FIELDS);
        let fields: usize = fields
            .iter()
            .map(|f| length(&f["name"]) + length(&f["value"]))
            .sum();
        assert!(length(&embed["title"]) + length(&embed["description"]) + fields <= 6_000);
    }
}
