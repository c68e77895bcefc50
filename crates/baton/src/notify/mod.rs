//! Telling the team what a deploy comes to: Slack, Discord, a webhook (`x-baton.notify`).
//!
//! | module | does |
//! | --- | --- |
//! | [`message`] | what is told, for a person: title, facts, reason, log lines |
//! | [`words`] | English and Korean |
//! | [`slack`], [`discord`], [`webhook`] | the message as each of them wants it, within its limits |
//! | [`post`] | one POST over HTTP or HTTPS, which may take so long |
//! | [`mailbox`] | one place's queue: in order, tried again, given up |
//!
//! A deploy knows nothing of this: it is overheard. A place that is slow, down or wrong costs its own
//! queue, and nothing else. Addresses are secrets, and are written nowhere.

mod discord;
mod mailbox;
mod message;
mod post;
mod slack;
mod webhook;
mod words;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use baton_compose::policy::{Destination, NewsKind, Notify};
use baton_deploy::outcome::ExitCode;
use baton_deploy::plan::DeployKind;
use baton_deploy::telling::{Listener, News, What};

use self::mailbox::{Letter, Mailbox};
use self::message::Message;
use self::post::Poster;

/// How often messages were sent, given up, or not even queued, by the kind of place.
pub type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// Tells the team.
#[derive(Debug, Default)]
pub struct Team {
    poster: Poster,
    /// By where it goes: a change of the address is another place.
    mailboxes: Mutex<Vec<(Destination, Mailbox)>>,
    counts: mailbox::Counter,
}

impl Team {
    pub fn counts(&self) -> Counts {
        self.counts.read()
    }

    fn send(&self, to: &Destination, letter: Box<Letter>) {
        let mut mailboxes = self
            .mailboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|(_, mailbox)| !mailbox.is_closed());
        let known = mailboxes.iter().find(|(known, _)| known == to);
        let letter = match known {
            Some((_, mailbox)) => match mailbox.put(letter) {
                Ok(()) => return,
                // It has just been emptied and left.
                Err(letter) => letter,
            },
            None => letter,
        };
        let mailbox = Mailbox::open(to.kind(), self.poster.clone(), self.counts.clone());
        // One that was just opened has room.
        let _ = mailbox.put(letter);
        mailboxes.retain(|(known, _)| known != to);
        mailboxes.push((to.clone(), mailbox));
    }
}

impl Listener for Team {
    fn told(&self, news: &News) {
        let Some(kind) = kind_of(news) else { return };
        let wanted = |notify: &&Notify| notify.wants(kind) && !notify.to.url().is_empty();
        for notify in news.notify.iter().filter(wanted) {
            let message = Message::of(news, kind, notify.language);
            let body = match &notify.to {
                Destination::Slack { .. } => slack::payload(&message),
                Destination::Discord { .. } => discord::payload(&message),
                Destination::Webhook { .. } => webhook::payload(&message, news),
            };
            let secret = match &notify.to {
                Destination::Webhook { secret, .. } => secret.clone(),
                _ => None,
            };
            let letter = Letter {
                url: notify.to.url().to_owned(),
                body: body.to_string(),
                about: format!(
                    "{} of deploy {} of {}",
                    kind.as_str(),
                    news.deploy,
                    news.app
                ),
                id: format!("{}-{}-{}", news.app, news.deploy, kind.as_str()),
                event: kind.as_str(),
                secret,
            };
            self.send(&notify.to, Box::new(letter));
        }
    }
}

/// None: nothing that anyone is told.
fn kind_of(news: &News) -> Option<NewsKind> {
    let plan = news.plan.as_ref().map(|plan| plan.kind);
    let back = matches!(
        plan,
        Some(DeployKind::RollbackWarm | DeployKind::RollbackBoot)
    );
    match &news.what {
        What::Started => Some(NewsKind::Started),
        What::Switched if back => Some(NewsKind::RolledBack),
        What::Switched => Some(NewsKind::Switched),
        What::Ended { outcome, .. } => match outcome.exit_code {
            ExitCode::TakenBack => Some(NewsKind::TakenBack),
            // Another deploy runs: its own end is told.
            ExitCode::Done | ExitCode::Locked => None,
            _ => Some(NewsKind::Failed),
        },
        What::Drained { outcome } => match outcome.exit_code {
            ExitCode::Done => Some(NewsKind::Done),
            ExitCode::TakenBack => Some(NewsKind::TakenBack),
            _ => None,
        },
    }
}
