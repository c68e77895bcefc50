//! A line of the access log.

use std::io::{self, Write};
use std::time::Duration;

use baton_proxy::Line;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// In the order in which a person reads it.
#[derive(Serialize)]
struct Written<'l> {
    time: String,
    app: Option<&'l str>,
    host: &'l str,
    method: &'l str,
    path: &'l str,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    upstream_ms: Option<f64>,
    color: Option<&'l str>,
    release: Option<&'l str>,
    client: std::net::IpAddr,
    protocol: &'static str,
    scheme: &'static str,
    held_ms: f64,
    trace_id: String,
}

pub(super) fn write(line: &Line, out: &mut impl Write) -> io::Result<()> {
    let marks = line.marks.as_ref();
    let at = OffsetDateTime::from(line.at);
    let written = Written {
        time: at.format(TIME).unwrap_or_default(),
        app: line.app.as_deref(),
        host: &line.host,
        method: &line.method,
        path: &line.path,
        status: line.status,
        bytes: line.bytes,
        duration_ms: millis(line.took),
        upstream_ms: line.upstream.map(millis),
        color: marks.map(|marks| &*marks.color),
        release: marks.map(|marks| &*marks.release),
        client: line.client,
        protocol: line.protocol,
        scheme: if line.secure { "https" } else { "http" },
        held_ms: millis(line.held),
        trace_id: line.trace.to_string(),
    };
    serde_json::to_writer(&mut *out, &written)?;
    out.write_all(b"\n")
}

/// To a hundredth.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use baton_proxy::{Marks, TraceId};

    use super::*;

    #[test]
    fn whatever_a_client_sends_stays_one_line() {
        let line = Line {
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            app: Some("shop".into()),
            method: "GET".into(),
            host: "a.test".into(),
            path: "/\"\n{\u{1b}[31m}".into(),
            protocol: "HTTP/1.1",
            secure: true,
            client: [192, 0, 2, 7].into(),
            status: 200,
            bytes: 7,
            took: Duration::from_micros(1_234),
            upstream: None,
            marks: Some(Marks {
                color: "blue".into(),
                release: "r7".into(),
            }),
            held: Duration::ZERO,
            trace: TraceId(0xabc),
        };
        let mut out = Vec::new();
        write(&line, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
