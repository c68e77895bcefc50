//! Many clients of event streams, events for them at random, and the account at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use testapp::load::{Accepted, Heard, Kind, PostPlan, Posts, Told, Watch, WatchPlan};

use super::machine::PATIENCE;
use super::tls::Certificate;
use super::{App, Machine, wait_for};

/// What may still come after the last post: the longest delay of the scene, and a busy machine.
const LAST_EVENT: Duration = Duration::from_secs(20);

pub(crate) struct Crowd {
    watches: Vec<Watch>,
    posts: Posts,
}

/// Who listens, and what is posted.
pub(crate) struct CrowdPlan<'a> {
    /// Clients over HTTP/1.1, and over HTTP/2 (ten streams a connection).
    pub(crate) http1: usize,
    pub(crate) http2: usize,
    /// None: plain HTTP, and h2c.
    pub(crate) tls: Option<&'a Certificate>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) posters: usize,
    pub(crate) pause: Duration,
}

impl Crowd {
    /// Lets the clients come, and then starts to post.
    pub(crate) fn start(machine: &Machine, app: &App, plan: CrowdPlan<'_>) -> Crowd {
        Crowd::start_when(machine, app, plan, || true)
    }

    /// As [`Crowd::start`], and waits for something more before it posts.
    pub(crate) fn start_when(
        machine: &Machine,
        app: &App,
        plan: CrowdPlan<'_>,
        ready: impl Fn() -> bool,
    ) -> Crowd {
        let authority = plan.tls.map(|certificate| certificate.authority.clone());
        let address = match plan.tls {
            Some(_) => machine.https,
            None => machine.http,
        };
        let names = |kind: &str, count: usize| -> Vec<String> {
            (0..count)
                .map(|number| format!("{kind}-{number}"))
                .collect()
        };
        let (http1, http2) = (names("one", plan.http1), names("two", plan.http2));
        let users: Vec<String> = http1.iter().chain(&http2).cloned().collect();
        let watch = |users: Vec<String>, streams_per_http2| {
            Watch::start(WatchPlan {
                address,
                host: app.host().to_owned(),
                tls: authority.clone(),
                streams_per_http2,
                users,
                fields: Vec::new(),
            })
        };
        let mut watches = Vec::new();
        if !http1.is_empty() {
            watches.push(watch(http1, 0));
        }
        if !http2.is_empty() {
            watches.push(watch(http2, 10));
        }
        // With late headers nobody can be seen to be there; then the events are held for them.
        if !app.has_variable("LATE_HEADERS") {
            wait_for("every client to listen", PATIENCE, || {
                let open: u64 = watches.iter().map(Watch::open).sum();
                (open == users.len() as u64 && ready()).then_some(())
            });
        }
        let posts = Posts::start(PostPlan {
            address,
            host: app.host().to_owned(),
            tls: authority,
            users,
            kinds: plan.kinds,
            connections: plan.posters,
            pause: plan.pause,
        });
        Crowd { watches, posts }
    }

    pub(crate) fn heard(&self) -> BTreeMap<String, Heard> {
        self.watches.iter().flat_map(Watch::heard).collect()
    }

    /// Stops posting, waits until all that is owed has come (or will not), and lets the clients go.
    pub(crate) fn finish(self) -> Account {
        let accepted = self.posts.stop();
        let heard =
            || -> BTreeMap<String, Heard> { self.watches.iter().flat_map(Watch::heard).collect() };
        let deadline = Instant::now() + LAST_EVENT;
        while Instant::now() < deadline && !lost(&accepted, &heard()).is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
        // A second copy of an event would be late, too.
        std::thread::sleep(Duration::from_millis(300));
        let heard = self.watches.into_iter().flat_map(Watch::stop).collect();
        Account { accepted, heard }
    }
}

/// What was accepted and never heard by the user that it was for.
fn lost(accepted: &Accepted, heard: &BTreeMap<String, Heard>) -> Vec<String> {
    let mut missing: BTreeMap<&str, (&str, Kind)> = BTreeMap::new();
    for (token, (user, kind)) in &accepted.owed {
        missing.insert(token, (user, *kind));
    }
    for (user, heard) in heard {
        for event in &heard.events {
            if missing
                .get(event.token.as_str())
                .is_some_and(|(whose, _)| whose == user)
            {
                missing.remove(event.token.as_str());
            }
        }
    }
    let line = |(token, (user, kind))| format!("{token} for {user} ({kind:?})");
    missing.into_iter().map(line).collect()
}

/// What was accepted, and what was heard.
pub(crate) struct Account {
    pub(crate) accepted: Accepted,
    pub(crate) heard: BTreeMap<String, Heard>,
}

impl Account {
    pub(crate) fn events(&self) -> impl Iterator<Item = &Told> {
        self.heard.values().flat_map(|heard| &heard.events)
    }

    /// Every post was accepted, every accepted event came exactly once and whole, those of one
    /// process in the order in which it emitted them.
    pub(crate) fn nothing_is_lost(&self) {
        let failed = &self.accepted.failed;
        assert!(failed.is_empty(), "posts failed: {:#?}", first(failed));
        assert!(!self.accepted.owed.is_empty(), "nothing was posted");
        let lost = lost(&self.accepted, &self.heard);
        assert!(
            lost.is_empty(),
            "{} of {} events were lost: {:#?}",
            lost.len(),
            self.accepted.owed.len(),
            first(&lost)
        );
        for (user, heard) in &self.heard {
            assert!(
                heard.torn.is_empty(),
                "{user}: no whole event: {:#?}",
                first(&heard.torn)
            );
            let mut seen = BTreeSet::new();
            let mut last: BTreeMap<(&str, u32), u64> = BTreeMap::new();
            for event in &heard.events {
                assert!(seen.insert(&event.token), "{user}: twice: {event:?}");
                let process = (event.release.as_str(), event.pid);
                let before = last.insert(process, event.n).unwrap_or(0);
                assert!(
                    event.n > before,
                    "{user}: {event:?} came after number {before}"
                );
            }
        }
    }

    /// No client saw its stream end, or had to ask again.
    pub(crate) fn nobody_was_disconnected(&self) {
        for (user, heard) in &self.heard {
            assert_eq!(heard.interruptions(), 0, "{user}: {heard:#?}");
            assert_eq!(heard.opened, 1, "{user}: {heard:#?}");
        }
    }

    /// What one color took was handled by the same color.
    pub(crate) fn colors_kept_apart(&self) {
        for event in self.events() {
            assert_eq!(event.by, event.color, "{event:?}");
        }
    }

    /// Releases that events came from.
    pub(crate) fn releases(&self) -> BTreeSet<&str> {
        self.events().map(|event| event.release.as_str()).collect()
    }

    /// One line of figures.
    pub(crate) fn summary(&self) -> String {
        let of = |kind| {
            self.accepted
                .owed
                .values()
                .filter(|(_, k)| *k == kind)
                .count()
        };
        format!(
            "{} clients, {} events accepted ({} at once, {} with their answer, {} through Redis), {} heard, from {} releases",
            self.heard.len(),
            self.accepted.owed.len(),
            of(Kind::Emit),
            of(Kind::EmitAndWait),
            of(Kind::Order),
            self.events().count(),
            self.releases().len()
        )
    }
}

fn first(list: &[String]) -> &[String] {
    &list[..list.len().min(10)]
}
