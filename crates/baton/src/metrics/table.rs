//! Every metric there is. What is exposed, `docs/metrics.md` and the board are made from this table, or
//! compared with it.

/// What a metric is, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Rises; begins at 0 with the daemon.
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    /// `seconds`, `bytes`, `percent`; empty where things are counted.
    pub unit: &'static str,
    pub help: &'static str,
    pub labels: &'static [&'static str],
}

const APP: &[&str] = &["app", "role"];
const SIDE: &[&str] = &["app", "role", "color"];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit: "",
        help,
        labels,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit: "",
        help,
        labels,
    }
}

const fn histogram(
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram,
        unit: "seconds",
        help,
        labels,
    }
}

impl Metric {
    const fn of(self, unit: &'static str) -> Metric {
        Metric { unit, ..self }
    }
}

pub static REQUESTS: Metric = counter(
    "baton_requests_total",
    &["app", "role", "color", "code"],
    "Requests answered, by the class of the status; color none: Baton answered itself",
);
pub static UNROUTED: Metric = counter(
    "baton_unrouted_requests_total",
    &["code"],
    "Requests that no app takes, or that are none, by the class of Baton's answer",
);
pub static LATENCY: Metric = histogram(
    "baton_request_duration_seconds",
    SIDE,
    "From the head of a request to the head of the app's answer, time held included; without event streams whose head comes late",
);
pub static IN_FLIGHT: Metric = gauge(
    "baton_requests_in_flight",
    SIDE,
    "Requests that are being answered now, WebSockets and event streams that nobody manages included",
);
pub static FAILED: Metric = counter(
    "baton_requests_failed_total",
    APP,
    "Requests that Baton could not bring to an end: its own 502, 503 and 504, and answers that broke off",
);
pub static HELD: Metric = counter(
    "baton_requests_held_total",
    APP,
    "Requests that waited because nothing could serve them",
);
pub static HOLDING: Metric = gauge(
    "baton_requests_held",
    APP,
    "Requests that wait now because nothing can serve them",
);
pub static BYTES: Metric = counter(
    "baton_body_bytes_total",
    SIDE,
    "Bytes of request and answer bodies",
)
.of("bytes");
pub static BROKEN: Metric = counter(
    "baton_upstream_broken_total",
    SIDE,
    "Exchanges that the app broke after it had the request",
);
pub static REFUSED: Metric = counter(
    "baton_upstream_refused_total",
    SIDE,
    "Connections that the app did not take; nothing was sent",
);
pub static EVENT_STREAMS: Metric = gauge(
    "baton_event_streams",
    SIDE,
    "Open event streams; one that hears both colors is counted in each",
);
pub static MANAGED_STREAMS: Metric = gauge(
    "baton_managed_streams",
    APP,
    "Open event streams that outlive their color (union, cut, reconnect)",
);
pub static EVENTS: Metric = counter(
    "baton_stream_events_total",
    SIDE,
    "Events of managed streams that were forwarded",
);
pub static HANDED_OVER: Metric = counter(
    "baton_streams_handed_over_total",
    APP,
    "Event streams that went on without a color that they had heard, unnoticed by the client",
);
pub static RECONNECTED: Metric = counter(
    "baton_streams_reconnected_total",
    APP,
    "Event streams whose client was told to come back",
);
pub static STREAMS_CUT: Metric = counter(
    "baton_streams_cut_total",
    SIDE,
    "Event streams that were broken off because the time of a drain was over",
);
pub static WEBSOCKETS: Metric = gauge(
    "baton_websockets",
    SIDE,
    "Open WebSockets and other upgraded connections",
);
pub static SESSIONS_ENDED: Metric = counter(
    "baton_sessions_ended_total",
    SIDE,
    "Sessions in the app's memory that ended before they were idle",
);
pub static DEPLOYS: Metric = counter(
    "baton_deploys_total",
    &["app", "kind", "outcome"],
    "Deploys, rollbacks and switches whose command has ended: done, nothing_to_do, failed, taken_back, refused, error",
);
pub static DEPLOY_DURATION: Metric = histogram(
    "baton_deploy_duration_seconds",
    &["app", "outcome"],
    "From asking for a deploy to the end of its command, without those that had nothing to do",
);
pub static RELEASE: Metric = gauge(
    "baton_release_info",
    &["app", "color", "role", "release", "image"],
    "1 for what is in a color now; role: live, preview, candidate, warm or draining",
);
pub static WEIGHT: Metric = gauge(
    "baton_color_weight_percent",
    &["app", "color"],
    "Percent of the clients that a color has: 100 for the live one, but during a canary",
)
.of("percent");
pub static LOG_LINES: Metric = counter(
    "baton_access_log_lines_total",
    &[],
    "Lines that were written to the access log",
);
pub static LOG_DROPPED: Metric = counter(
    "baton_access_log_dropped_total",
    &[],
    "Lines of the access log that were dropped because writing did not keep up",
);
pub static NOTICES: Metric = counter(
    "baton_notifications_total",
    &["to", "outcome"],
    "Messages to the team: sent, failed (given up after several tries), dropped (too many waited)",
);
pub static START: Metric = gauge(
    "baton_start_time_seconds",
    &[],
    "When the daemon was started, in seconds since 1970; every counter began at 0 then",
)
.of("seconds");
pub static BUILD: Metric = gauge(
    "baton_build_info",
    &["version"],
    "1, with the version of the daemon",
);

/// All of them, in the order in which they are shown.
#[cfg(test)]
pub static TABLE: [&Metric; 27] = [
    &REQUESTS,
    &UNROUTED,
    &LATENCY,
    &IN_FLIGHT,
    &FAILED,
    &HELD,
    &HOLDING,
    &BYTES,
    &BROKEN,
    &REFUSED,
    &EVENT_STREAMS,
    &MANAGED_STREAMS,
    &EVENTS,
    &HANDED_OVER,
    &RECONNECTED,
    &STREAMS_CUT,
    &WEBSOCKETS,
    &SESSIONS_ENDED,
    &DEPLOYS,
    &DEPLOY_DURATION,
    &RELEASE,
    &WEIGHT,
    &LOG_LINES,
    &LOG_DROPPED,
    &NOTICES,
    &START,
    &BUILD,
];
