//! What is told, for a person, before any place's own form.

use baton_compose::policy::{Language, NewsKind};
use baton_deploy::outcome::Outcome;
use baton_deploy::plan::DeployKind;
use baton_deploy::telling::{News, What};

use super::words::{self, Label, Subject};

/// Log lines that are told: the end of what the failed instance wrote.
const LOG_LINES: usize = 15;

#[derive(Debug, Clone)]
pub struct Message {
    pub kind: NewsKind,
    pub title: String,
    /// Names and values, in the order in which they are read.
    pub facts: Vec<(&'static str, String)>,
    /// Name and address of the pipeline's run.
    pub link: Option<(&'static str, String)>,
    /// Name and text: why, or the receipt's figures.
    pub text: Option<(&'static str, String)>,
    /// Name and lines.
    pub log: Option<(&'static str, String)>,
}

impl Message {
    pub fn of(news: &News, kind: NewsKind, language: Language) -> Message {
        let outcome = match &news.what {
            What::Ended { outcome, .. } | What::Drained { outcome } => Some(&**outcome),
            What::Started | What::Switched => None,
        };
        let label = |label| words::label(language, label);
        let origin = news.origin.clone().unwrap_or_default();
        Message {
            kind,
            title: title(news, kind, language),
            facts: facts(news, language),
            link: origin
                .pipeline
                .filter(|address| is_link(address))
                .map(|address| (label(Label::Pipeline), address)),
            text: outcome.and_then(|outcome| text(outcome, kind, language)),
            log: outcome
                .and_then(|outcome| log(outcome, kind))
                .map(|lines| (label(Label::Log), lines)),
        }
    }
}

fn title(news: &News, kind: NewsKind, language: Language) -> String {
    let plan = news.plan.as_ref();
    let (release, color) = match plan {
        Some(plan) => (plan.release.to_string(), plan.to.as_str()),
        None => (String::new(), ""),
    };
    let of = plan.map(|plan| plan.kind);
    let subject = Subject {
        app: news.app.as_str(),
        release: &release,
        color,
        staged: of == Some(DeployKind::Stage),
        back: matches!(
            of,
            Some(DeployKind::RollbackWarm | DeployKind::RollbackBoot)
        ),
    };
    words::title(language, kind, subject)
}

fn facts(news: &News, language: Language) -> Vec<(&'static str, String)> {
    let origin = news.origin.clone().unwrap_or_default();
    let release = news.plan.as_ref().map(|plan| plan.release.to_string());
    let previous = news.previous.map(|release| release.to_string());
    // Twelve digits tell commits apart, and can be read.
    let commit = origin
        .commit
        .map(|commit| commit.chars().take(12).collect());
    [
        (Label::Release, release),
        (Label::Previous, previous),
        (Label::Commit, commit),
        (Label::Author, origin.author),
        (Label::By, news.by.clone()),
    ]
    .into_iter()
    .filter_map(|(label, value)| Some((words::label(language, label), value?)))
    .filter(|(_, value)| !value.is_empty())
    .collect()
}

fn text(outcome: &Outcome, kind: NewsKind, language: Language) -> Option<(&'static str, String)> {
    if matches!(kind, NewsKind::Failed | NewsKind::TakenBack) {
        let mut reason = outcome.message.clone();
        if let Some(exit) = outcome.failure.as_ref().and_then(|f| f.exit.as_ref())
            && !reason.contains(exit)
        {
            reason = format!("{reason} ({exit})");
        }
        return Some((words::label(language, Label::Reason), reason));
    }
    let receipt = outcome.receipt.as_ref()?;
    let figures = words::receipt(language, receipt);
    Some((words::label(language, Label::Receipt), figures))
}

fn log(outcome: &Outcome, kind: NewsKind) -> Option<String> {
    let lines = &outcome.failure.as_ref()?.log;
    let told = matches!(kind, NewsKind::Failed | NewsKind::TakenBack) && !lines.is_empty();
    let skipped = lines.len().saturating_sub(LOG_LINES);
    told.then(|| lines[skipped..].join("\n"))
}

/// The pipeline says it, so anything may be in it.
fn is_link(address: &str) -> bool {
    (address.starts_with("https://") || address.starts_with("http://"))
        && address.len() <= 1_000
        && address.bytes().all(|byte| {
            byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'|' | b'"' | b')')
        })
}

/// No longer than `limit` UTF-16 units, which is how places count at their strictest.
pub fn shorten(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let mut left = limit.saturating_sub(1);
    let kept = text.chars().take_while(|c| {
        let fits = c.len_utf16() <= left;
        left = left.saturating_sub(c.len_utf16());
        fits
    });
    format!("{}…", kept.collect::<String>())
}

/// The same, keeping the end: of a log the last lines count.
pub fn shorten_front(text: &str, limit: usize) -> String {
    if text.encode_utf16().count() <= limit {
        return text.to_owned();
    }
    let mut left = limit.saturating_sub(1);
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        if c.len_utf16() > left {
            break;
        }
        left -= c.len_utf16();
        from = at;
    }
    format!("…{}", &text[from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        assert_eq!(shorten("배포 완료", 5), "배포 완료");
        assert_eq!(shorten("배포 완료됨", 5), "배포 완…");
        assert_eq!(shorten("ab🙂cd", 4), "ab…");
        assert_eq!(shorten_front("one\ntwo", 4), "…two");
        assert_eq!(shorten_front("🙂🙂", 3), "…🙂");
        for limit in 1..10 {
            for text in ["🙂🙂🙂🙂🙂🙂", "abcdefghijk", "가나다라마바사아자차카"]
            {
                assert!(shorten(text, limit).encode_utf16().count() <= limit);
                assert!(shorten_front(text, limit).encode_utf16().count() <= limit);
            }
        }
    }

    #[test]
    fn only_an_address_is_a_link() {
        assert!(is_link("https://ci.example.com/runs/7"));
        assert!(!is_link("javascript:alert(1)"));
        assert!(!is_link("https://a|<!channel>"));
    }
}
