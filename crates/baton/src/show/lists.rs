//! Releases, receipts, events and log lines.

use baton_deploy::control::Event;
use baton_deploy::receipt::Receipt;
use baton_deploy::token::TokenInfo;
use baton_engine::LogLine;
use time::OffsetDateTime;

use super::Paint;
use super::table::Table;
use super::units::{ago, count, millis, moment};
use crate::wire::ReleaseSummary;

/// The table of `baton releases`.
#[must_use]
pub fn releases(releases: &[ReleaseSummary], now: OffsetDateTime, paint: Paint) -> String {
    if releases.is_empty() {
        return "no release yet".to_owned();
    }
    let mut table = Table::new(&["RELEASE", "WHERE", "MADE", "IMAGE", "ID"]);
    for release in releases {
        let place = match (release.color, release.role) {
            (Some(color), Some(role)) => {
                let role = format!("{role:?}").to_lowercase();
                format!("{} ({role})", paint.slot(color))
            }
            _ => "-".to_owned(),
        };
        let image = release.images.values().next();
        table.row(vec![
            paint.bold(&release.release.to_string()),
            place,
            ago(release.created_at, now),
            if release.image.is_empty() {
                "-".to_owned()
            } else {
                release.image.clone()
            },
            image.map_or("-".to_owned(), |image| short_id(&image.id).to_owned()),
        ]);
    }
    table.render()
}

/// Twelve digits of an image ID, as Docker prints it.
fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// The table of `baton token list`.
#[must_use]
pub fn tokens(tokens: &[TokenInfo], paint: Paint) -> String {
    if tokens.is_empty() {
        return "no token yet; `baton token create --scope read` makes one".to_owned();
    }
    let mut table = Table::new(&[
        "NUMBER",
        "NAME",
        "SCOPE",
        "MADE (UTC)",
        "EXPIRES",
        "LAST USED",
    ]);
    for token in tokens {
        let at = |at: Option<OffsetDateTime>| at.map_or("never".to_owned(), moment);
        table.row(vec![
            token.id.to_string(),
            paint.bold(&token.name),
            token.scope.to_string(),
            moment(token.created_at),
            match token.has_expired() {
                true => paint.red("expired"),
                false => at(token.expires_at),
            },
            at(token.last_used_at),
        ]);
    }
    table.render()
}

/// The table of `baton receipts`.
#[must_use]
pub fn receipts(receipts: &[Receipt], paint: Paint) -> String {
    if receipts.is_empty() {
        return "no receipt yet: the first is written when the first deploy has drained".to_owned();
    }
    let mut table = Table::new(&[
        "DEPLOY",
        "ENDED (UTC)",
        "RELEASE",
        "OUTCOME",
        "REQUESTS",
        "FAILED",
        "LONGEST WAIT",
        "TOOK",
        "BY",
    ]);
    for receipt in receipts {
        let failed = count(receipt.failed);
        table.row(vec![
            receipt.deploy.to_string(),
            moment(receipt.ended_at),
            receipt.release.to_string(),
            receipt.outcome.clone(),
            count(receipt.requests),
            if receipt.failed == 0 {
                failed
            } else {
                paint.red(&failed)
            },
            millis(receipt.longest_gap_ms),
            millis(receipt.duration_ms),
            receipt.by.clone().unwrap_or("-".into()),
        ]);
    }
    table.render()
}

/// One line of `baton events`.
#[must_use]
pub fn event(event: &Event, paint: Paint) -> String {
    let app = match &event.app {
        Some(app) => format!("{} ", paint.bold(app.as_str())),
        None => String::new(),
    };
    format!(
        "{}  {app}{}  {}",
        paint.dim(&moment(event.at)),
        event.kind,
        event.text
    )
}

/// One line of `baton logs`.
#[must_use]
pub fn log_line(line: &LogLine, paint: Paint) -> String {
    let name = format!("{}-{} |", line.service, line.replica);
    format!("{} {}", paint.dim(&name), line.text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use baton_compose::project::FetchedImage;
    use baton_compose::{Color, EngineKind};
    use baton_deploy::release::ReleaseId;
    use baton_deploy::slots::SlotRole;

    use super::*;

    #[test]
    fn releases_say_where_they_are() {
        let now = OffsetDateTime::UNIX_EPOCH + time::Duration::days(3);
        let image = FetchedImage {
            id: format!("sha256:{}", "ab".repeat(32)),
            reference: "shop/api:1.7".into(),
            repo_digest: None,
        };
        let live = ReleaseSummary {
            release: ReleaseId(7),
            image: image.reference.clone(),
            images: BTreeMap::from([("api".to_owned(), image)]),
            engine: EngineKind::Docker,
            color: Some(Color::Green),
            role: Some(SlotRole::Live),
            created_at: now - time::Duration::minutes(5),
        };
        let old = ReleaseSummary {
            release: ReleaseId(6),
            image: String::new(),
            images: BTreeMap::new(),
            color: None,
            role: None,
            created_at: now - time::Duration::days(2),
            ..live.clone()
        };
        insta::assert_snapshot!(releases(&[live, old], now, Paint::NONE), @"
        RELEASE  WHERE         MADE           IMAGE         ID
        r7       green (live)  5 minutes ago  shop/api:1.7  abababababab
        r6       -             2 days ago     -             -
        ");
    }

    #[test]
    fn receipts_are_a_line_each() {
        let receipt = crate::show::receipt::tests::example();
        insta::assert_snapshot!(receipts(&[receipt], Paint::NONE), @"
        DEPLOY  ENDED (UTC)          RELEASE  OUTCOME  REQUESTS  FAILED  LONGEST WAIT  TOOK   BY
        12      1970-01-01 00:01:35  r7       live     48,213    0       14 ms         9.3 s  octocat (as deploy)
        ");
    }
}
