//! From what was typed to what is meant, for `notify`.

use super::lower::Context;
use super::raw;
use crate::error::{Collector, Problem};
use crate::policy::{Destination, Notify};

pub(super) fn notify(
    raw: Option<Vec<raw::Notify>>,
    context: &Context<'_>,
    problems: &mut Collector,
) -> Vec<Notify> {
    let entries = raw.unwrap_or_default().into_iter().enumerate();
    entries
        .filter_map(|(at, raw)| {
            let key = format!("{}.notify[{at}]", context.path);
            one(raw, &key, problems)
        })
        .collect()
}

fn one(raw: raw::Notify, key: &str, problems: &mut Collector) -> Option<Notify> {
    let secret = raw.secret.map(|secret| secret.0);
    if secret.is_some() && raw.webhook.is_none() {
        let key = format!("{key}.secret");
        problems.add(
            key,
            "signs a `webhook`; Slack and Discord know no signature",
        );
        return None;
    }
    let to = match (raw.slack, raw.discord, raw.webhook) {
        (Some(url), None, None) => Destination::Slack { url: url.0 },
        (None, Some(url), None) => Destination::Discord { url: url.0 },
        (None, None, Some(url)) => Destination::Webhook { url: url.0, secret },
        _ => {
            problems.push(
                Problem::new(key, "needs one of `slack`, `discord` and `webhook`")
                    .help("example: notify: [ { slack: \"${SLACK_WEBHOOK}\", language: ko } ]"),
            );
            return None;
        }
    };
    // A secret that is empty signs nothing, and its owner believes that it does.
    if let Destination::Webhook {
        secret: Some(secret),
        url,
    } = &to
        && secret.0.is_empty()
        && !url.0.is_empty()
    {
        let key = format!("{key}.secret");
        problems.push(
            Problem::new(key, "is empty").help("is its variable set where the command runs?"),
        );
    }
    Some(Notify {
        to,
        language: raw.language.map(|name| name.0).unwrap_or_default(),
        events: raw
            .events
            .unwrap_or_default()
            .iter()
            .map(|name| name.0)
            .collect(),
    })
}
