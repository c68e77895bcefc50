//! What the demo counted.

use serde_json::json;
use testapp::load::Report;

use super::streams::Seen;
use crate::error::CliError;
use crate::show::Out;
use crate::show::units::millis;

/// The release that is broken on purpose.
const BROKEN: &str = "r3";

/// Counted by the clients, not by Baton.
#[derive(Debug)]
pub struct Figures {
    pub load: Report,
    pub streams: Seen,
}

impl Figures {
    /// Shows them; the last line has the sum.
    ///
    /// # Errors
    /// A request failed, a connection was closed, a stream ended or an event is missing.
    pub fn tell(&self, out: Out) -> Result<(), CliError> {
        let title = format!("\n{}", out.paint.bold("── What the clients saw"));
        out.text(&title)?;
        let releases: Vec<String> = self
            .load
            .by_release
            .iter()
            .map(|(release, number)| format!("{release} {number}"))
            .collect();
        out.text(&format!(
            "answers by release: {}; {BROKEN} crashed at start and never answered",
            releases.join(", ")
        ))?;
        for error in &self.load.errors {
            out.text(&format!("failed: {error}"))?;
        }
        let sum = self.sum();
        if !self.clean() {
            return Err(CliError::Other(sum));
        }
        out.text(&sum)?;
        out.result(&json!({
            "message": sum,
            "deploys": 3,
            "refused": 1,
            "rollbacks": 1,
            "requests": self.load.requests(),
            "failed": self.load.failed,
            "closed_connections": self.load.closed_connections,
            "streams_opened": self.streams.opened,
            "streams_connected": self.streams.connected,
            "events": self.streams.events,
            "events_wrong": self.streams.wrong,
            "longest_ms": self.load.longest_ms,
        }))
    }

    fn clean(&self) -> bool {
        self.load.failed == 0
            && self.load.closed_connections == 0
            && self.streams.connected == self.streams.opened as u64
            && self.streams.wrong == 0
            && self.streams.events > 0
            && self.load.succeeded > 0
            && !self.load.by_release.contains_key(BROKEN)
    }

    fn sum(&self) -> String {
        format!(
            "demo: 3 deploys, 1 refused release, 1 rollback, {} requests, {} failed, \
             {} connections closed, {} of {} streams open throughout, {} events ({} missing or twice), \
             longest wait {}",
            self.load.requests(),
            self.load.failed,
            self.load.closed_connections,
            self.streams.connected,
            self.streams.opened,
            self.streams.events,
            self.streams.wrong,
            millis(self.load.longest_ms)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(failed: u64) -> Figures {
        Figures {
            load: Report {
                succeeded: 48_213 - failed,
                failed,
                longest_ms: 3,
                ..Report::default()
            },
            streams: Seen {
                opened: 8,
                connected: 8,
                events: 1_040,
                wrong: 0,
            },
        }
    }

    #[test]
    fn the_last_line_has_the_figures() {
        insta::assert_snapshot!(figures(0).sum(), @"demo: 3 deploys, 1 refused release, 1 rollback, 48213 requests, 0 failed, 0 connections closed, 8 of 8 streams open throughout, 1040 events (0 missing or twice), longest wait 3 ms");
        assert!(figures(0).clean());
        assert!(!figures(1).clean());
    }
}
