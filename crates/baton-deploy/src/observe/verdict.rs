//! From what was seen to the mode that fits (Streams.md §1.1).

use std::collections::BTreeMap;

use baton_compose::policy::StreamMode;
use serde::{Deserialize, Serialize};

/// What one client of one color saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// Why there was no event stream.
    pub(super) refused: Option<String>,
    pub(super) events: Vec<Seen>,
    /// How often the app ended it by itself.
    pub(super) ended: u32,
}

/// One event that dispatches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: Option<Vec<u8>>,
    pub(super) name: String,
    /// Of id, name and data.
    pub(super) print: u64,
    /// The first one of its connection.
    pub(super) first: bool,
}

/// What came of one deploy.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    pub(super) path: String,
    pub(super) old: Side,
    pub(super) new: Side,
    /// A second client of the new color that said where the old one had come to; None where the events
    /// have no ids.
    pub(super) replay: Option<Side>,
}

/// Which mode fits a path, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub path: String,
    pub mode: StreamMode,
    pub reasons: Vec<String>,
    /// Lines for the compose file.
    pub x_baton: String,
}

pub(super) fn verdict(watched: &Watched) -> Verdict {
    let (mode, mut reasons) = decide(watched);
    let ids = watched.old.events.iter().any(|event| event.id.is_some());
    reasons.push(if ids {
        "its events carry ids".to_owned()
    } else {
        "its events carry no ids, so that nothing can be asked for again".to_owned()
    });
    let greeting = greeting(watched);
    let mut rule = format!("path: {:?}, mode: {}", watched.path, mode.as_str());
    if let (StreamMode::Union | StreamMode::Cut, Some(name)) = (mode, greeting) {
        rule.push_str(&format!(", drop_on_attach: [{name}]"));
        reasons.push(format!(
            "each new connection begins with an event {name:?}, which a client must not see again"
        ));
    }
    Verdict {
        path: watched.path.clone(),
        mode,
        reasons,
        x_baton: format!("sse: [ {{ {rule} }} ]"),
    }
}

fn decide(watched: &Watched) -> (StreamMode, Vec<String>) {
    let (old, new) = (&watched.old, &watched.new);
    if let Some(reason) = old.refused.as_ref().or(new.refused.as_ref()) {
        let text = format!("it is not an event stream to everyone: {reason}");
        return (StreamMode::Reconnect, vec![text]);
    }
    if old.events.is_empty() && new.events.is_empty() {
        let text = "no event came while it was watched, so nothing is known: watch it again while there are some";
        return (StreamMode::Reconnect, vec![text.to_owned()]);
    }
    let (mine, theirs) = (telling(old), telling(new));
    let both = theirs.keys().filter(|print| mine.contains_key(*print));
    let both = both.count();
    if both > 0 {
        let text = format!(
            "{both} of {} events of the new color came from the old one as well: both colors see every event",
            theirs.len()
        );
        return (StreamMode::Cut, vec![text]);
    }
    let again = watched.replay.as_ref().map_or(0, |replay| {
        let seen = old.events.iter().map(|event| event.print);
        let seen: Vec<u64> = seen.collect();
        let replayed = replay.events.iter();
        replayed.filter(|event| seen.contains(&event.print)).count()
    });
    if again > 0 {
        let text = format!(
            "asked with Last-Event-ID, the new color gave {again} events again that the old one had sent: it can replay"
        );
        return (StreamMode::Cut, vec![text]);
    }
    if old.ended > 0 && !old.events.iter().any(|event| event.id.is_some()) {
        let text = format!(
            "the app ended it by itself ({} times): it is finite, and may end where it began; if a page opens it again and again, take reconnect",
            old.ended
        );
        return (StreamMode::Drain, vec![text]);
    }
    let text = match (mine.len(), theirs.len()) {
        (mine, 0) => format!(
            "{mine} events came from the old color and none from the new one: what is emitted there is heard there only"
        ),
        (mine, theirs) => format!(
            "{mine} events came from the old color, {theirs} from the new one, and none from both: each is emitted by one color only"
        ),
    };
    (StreamMode::Union, vec![text])
}

/// Events that can tell the colors apart: neither greetings nor what is said over and over (a
/// heartbeat).
fn telling(side: &Side) -> BTreeMap<u64, &Seen> {
    let mut times: BTreeMap<u64, (u32, &Seen)> = BTreeMap::new();
    for event in side.events.iter().filter(|event| !event.first) {
        times.entry(event.print).or_insert((0, event)).0 += 1;
    }
    let once = times.into_iter().filter(|(_, (times, _))| *times == 1);
    once.map(|(print, (_, event))| (print, event)).collect()
}

/// The name of the event that begins a connection on either color; None where there is no such one.
fn greeting(watched: &Watched) -> Option<&str> {
    let first = |side: &Side| side.events.iter().find(|event| event.first).cloned();
    let (old, new) = (first(&watched.old)?, first(&watched.new)?);
    let named = old.name == new.name && old.name != "message";
    let elsewhere = |side: &Side| side.events.iter().any(|e| !e.first && e.name == old.name);
    let only_first = !elsewhere(&watched.old) && !elsewhere(&watched.new);
    let at = watched.old.events.iter().find(|event| event.first)?;
    (named && only_first).then_some(at.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(print: u64, id: Option<&str>) -> Seen {
        Seen {
            id: id.map(|id| id.as_bytes().to_vec()),
            name: "message".to_owned(),
            print,
            first: false,
        }
    }

    fn side(prints: &[u64]) -> Side {
        Side {
            events: prints.iter().map(|print| event(*print, None)).collect(),
            ..Side::default()
        }
    }

    fn watched(old: Side, new: Side) -> Watched {
        Watched {
            path: "/sse".to_owned(),
            old,
            new,
            replay: None,
        }
    }

    #[test]
    fn events_of_their_own_are_joined() {
        let verdict = verdict(&watched(side(&[1, 2, 3]), side(&[4, 5])));
        assert_eq!(verdict.mode, StreamMode::Union);
        assert_eq!(verdict.x_baton, "sse: [ { path: \"/sse\", mode: union } ]");
        assert!(verdict.reasons[0].contains("none from both"), "{verdict:?}");
        let silent = super::verdict(&watched(side(&[1]), side(&[])));
        assert_eq!(silent.mode, StreamMode::Union);
    }

    #[test]
    fn the_same_events_from_both_are_cut() {
        let verdict = verdict(&watched(side(&[1, 2, 3]), side(&[2, 3, 4])));
        assert_eq!(verdict.mode, StreamMode::Cut);
        assert!(verdict.reasons[0].starts_with("2 of 3"), "{verdict:?}");
    }

    #[test]
    fn greetings_and_heartbeats_tell_nothing() {
        let greeting = Seen {
            name: "connect".to_owned(),
            first: true,
            ..event(7, None)
        };
        let mut old = side(&[9, 9, 9, 1]);
        let mut new = side(&[9, 9, 2]);
        old.events.insert(0, greeting.clone());
        new.events.insert(0, greeting);
        let verdict = verdict(&watched(old, new));
        assert_eq!(verdict.mode, StreamMode::Union);
        assert!(
            verdict.x_baton.contains("drop_on_attach: [connect]"),
            "{verdict:?}"
        );
    }

    #[test]
    fn an_app_that_replays_is_cut() {
        let mut seen = watched(side(&[]), side(&[8]));
        seen.old.events = vec![event(1, Some("1")), event(2, Some("2"))];
        seen.replay = Some(side(&[2, 3]));
        assert_eq!(verdict(&seen).mode, StreamMode::Cut);
    }

    #[test]
    fn what_ends_by_itself_drains() {
        let mut seen = watched(side(&[1, 2]), side(&[]));
        seen.old.ended = 1;
        assert_eq!(verdict(&seen).mode, StreamMode::Drain);
    }

    #[test]
    fn without_events_nothing_is_known() {
        let verdict = verdict(&watched(side(&[]), side(&[])));
        assert_eq!(verdict.mode, StreamMode::Reconnect);
        assert!(verdict.reasons[0].contains("watch it again"));
    }
}
