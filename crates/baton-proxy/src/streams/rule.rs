//! What becomes of an event stream at a switch, by path.

use std::sync::Arc;
use std::time::Duration;

/// What the proxy does with an event stream when instances change (Streams.md §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamMode {
    /// The client has a half on every one of [`Route::halves`](crate::Route::halves); their events are
    /// one stream to it. It stays connected while any instance may come.
    Union,
    /// The client follows [`Route::instances`](crate::Route::instances): when its instance has left
    /// them, another one is opened, and the old half is dropped at an event boundary.
    Cut,
    /// When its instance has left [`Route::halves`](crate::Route::halves), the stream is told `retry:`
    /// and closed at an event boundary: the client comes back by itself.
    #[default]
    Reconnect,
    /// Nothing: it stays until it ends by itself, or its instance is cut. Bytes pass as they are.
    Drain,
}

/// Says for some paths what happens to their event streams. The first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRule {
    /// Glob over the path of the request as the client sent it, without its query: `*` is any part of
    /// one segment, a segment `**` any number of segments, none as well.
    pub path: Box<str>,
    pub mode: StreamMode,
    /// Names of events that a new half sends on connect and that the client must not see twice.
    pub drop_on_attach: Arc<[String]>,
    /// A half that has no answer after this long counts as attached: some apps send their headers only
    /// with the first event.
    pub attach_grace: Duration,
}

impl StreamRule {
    /// What `attach_grace` is where nobody says otherwise.
    pub const ATTACH_GRACE: Duration = Duration::from_secs(2);

    /// A rule without `drop_on_attach`, with the usual grace.
    #[must_use]
    pub fn new(path: impl Into<Box<str>>, mode: StreamMode) -> StreamRule {
        StreamRule {
            path: path.into(),
            mode,
            drop_on_attach: Arc::default(),
            attach_grace: StreamRule::ATTACH_GRACE,
        }
    }

    /// Whether a request target (path, with or without its query) falls under this rule.
    #[must_use]
    pub fn takes(&self, target: &str) -> bool {
        let path = target.split('?').next().unwrap_or(target);
        segments_fit(
            self.path.trim_start_matches('/'),
            path.trim_start_matches('/'),
        )
    }
}

/// Segment by segment. A pattern has few segments, so that going back costs nothing.
fn segments_fit(pattern: &str, path: &str) -> bool {
    let (first, more) = split(pattern);
    if first == "**" {
        let Some(more) = more else {
            return true;
        };
        let mut rest = Some(path);
        while let Some(here) = rest {
            if segments_fit(more, here) {
                return true;
            }
            rest = split(here).1;
        }
        return false;
    }
    let (segment, rest) = split(path);
    if !part_fits(first.as_bytes(), segment.as_bytes()) {
        return false;
    }
    match (more, rest) {
        (None, None) => true,
        (Some(more), Some(rest)) => segments_fit(more, rest),
        // `/sse/**` takes `/sse` as well.
        (Some(more), None) => more == "**",
        (None, Some(_)) => false,
    }
}

fn split(path: &str) -> (&str, Option<&str>) {
    match path.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (path, None),
    }
}

/// One segment; `*` is any number of bytes of it.
fn part_fits(pattern: &[u8], segment: &[u8]) -> bool {
    let (mut p, mut s, mut star) = (0, 0, None);
    while s < segment.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, s));
                p += 1;
            }
            Some(byte) if *byte == segment[s] => {
                p += 1;
                s += 1;
            }
            _ => match &mut star {
                // The last star takes one byte more.
                Some((at, taken)) => {
                    *taken += 1;
                    (p, s) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{StreamMode, StreamRule};
    use crate::route::{Mode, Protocol, Route, RouteLimits};
    use crate::streams::terms::{Terms, is_asked_plain, may_be_managed};

    /// For tests that need any.
    pub(in crate::streams) fn route() -> Route {
        Route {
            app: "shop".into(),
            hosts: vec!["*".into()],
            path: "/".into(),
            strip_path: false,
            protocol: Protocol::Http1,
            redirect_https: None,
            redirect_host: None,
            limits: RouteLimits {
                body: 0,
                header_bytes: 4096,
                idle: Duration::from_secs(60),
            },
            max_wait: Duration::ZERO,
            mode: Mode::Serve,
            instances: Vec::new(),
            streams: Arc::default(),
            default_stream_mode: StreamMode::default(),
            halves: Vec::new(),
            sessions: None,
            pinned: Vec::new(),
            split: None,
            streams_wait: false,
            access: None,
            error_page: None,
            page: None,
            counters: Arc::default(),
        }
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = [
            StreamRule::new("/sse/files/*", StreamMode::Drain),
            StreamRule::new("/sse/**", StreamMode::Union),
        ];
        let route = Route {
            streams: rules.into(),
            ..route()
        };
        let mode = |target| Terms::of(&route, target).mode;
        assert_eq!(mode("/sse/files/1?x"), StreamMode::Drain);
        assert_eq!(mode("/sse/orders"), StreamMode::Union);
        assert_eq!(mode("/other"), StreamMode::Reconnect);
        let managed = |method, target| may_be_managed(&route, method, target, true);
        assert!(managed("GET", "/sse/orders") && managed("GET", "/other"));
        assert!(!managed("POST", "/sse/orders") && !managed("GET", "/sse/files/1"));
        assert!(!may_be_managed(&route, "GET", "/sse/orders", false));
        assert!(is_asked_plain(&route, "/sse/orders", None));
        assert!(is_asked_plain(&route, "/other", Some(b"text/event-stream")));
        assert!(!is_asked_plain(&route, "/other", Some(b"text/html, */*")));
    }

    fn takes(path: &str, target: &str) -> bool {
        StreamRule::new(path, StreamMode::Union).takes(target)
    }

    #[test]
    fn a_star_is_a_part_of_one_segment() {
        assert!(takes("/sse/*", "/sse/a"));
        assert!(takes("/sse/*/events", "/sse/a/events?x=/y"));
        assert!(takes("/room-*-feed", "/room-1-2-feed"));
        assert!(!takes("/sse/*", "/sse/a/b"));
        assert!(!takes("/sse/*", "/sse"));
        assert!(!takes("/room-*-feed", "/room-1-feeds"));
    }

    #[test]
    fn two_stars_are_any_number_of_segments() {
        for target in ["/sse", "/sse/", "/sse/a", "/sse/a/b", "/sse?x", "/sse/a?b"] {
            assert!(takes("/sse/**", target), "{target}");
        }
        assert!(!takes("/sse/**", "/sse2"));
        assert!(takes("/**/events", "/events"));
        assert!(takes("/**/events", "/a/b/events"));
        assert!(!takes("/**/events", "/a/events/b"));
        assert!(takes("/**", "/") && takes("**", "/a/b"));
    }

    #[test]
    fn without_stars_the_path_is_the_path() {
        assert!(takes("/events", "/events?since=1"));
        assert!(!takes("/events", "/events/") && !takes("/events", "/Events"));
    }
}
