//! What an instance wrote.

use std::sync::Arc;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use crate::docker::client::CALL_TIMEOUT;
use crate::docker::{Inner, inspect};
use crate::{EngineError, InstanceId, LogLine};

/// Lines kept for a slow reader; then the engine waits.
const LINES_KEPT: usize = 256;

/// See [`crate::Engine::logs`].
pub(super) async fn logs(
    inner: &Arc<Inner>,
    id: &InstanceId,
    tail: usize,
    follow: bool,
) -> Result<mpsc::Receiver<LogLine>, EngineError> {
    let container = inner.existing("reading the log of", id).await?;
    let client = inner.client().await?;
    let instance = inspect::instance(&container, client.routable);
    let options = LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .timestamps(true)
        .follow(follow)
        .tail(&tail.to_string())
        .build();
    let (sender, receiver) = mpsc::channel(LINES_KEPT);
    let id = id.clone();
    tokio::spawn(async move {
        let mut stream = Box::pin(client.docker.logs(&id.0, Some(options)));
        let mut joiner = Joiner::new(instance.service, instance.replica);
        loop {
            let next = tokio::select! {
                next = next_part(&mut stream, follow) => next,
                () = sender.closed() => return,
            };
            let Some(Ok(part)) = next else { break };
            let stderr = matches!(part, LogOutput::StdErr { .. });
            for line in joiner.push(stderr, part.as_ref()) {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        }
        for line in joiner.rest() {
            // The reader has gone: nobody wants the rest.
            let _ = sender.send(line).await;
        }
    });
    Ok(receiver)
}

/// Without `follow`, silence means that the engine hangs.
async fn next_part<S: futures_util::Stream + Unpin>(
    stream: &mut S,
    follow: bool,
) -> Option<S::Item> {
    if follow {
        return stream.next().await;
    }
    tokio::time::timeout(CALL_TIMEOUT, stream.next())
        .await
        .ok()
        .flatten()
}

/// Joins parts to lines: the engine cuts a long line into parts of 16 KiB, each with its own
/// timestamp.
struct Joiner {
    service: String,
    replica: u32,
    /// Standard output, standard error.
    open: [Option<LogLine>; 2],
}

impl Joiner {
    fn new(service: String, replica: u32) -> Joiner {
        Joiner {
            service,
            replica,
            open: [None, None],
        }
    }

    fn push(&mut self, stderr: bool, part: &[u8]) -> Vec<LogLine> {
        let mut done = Vec::new();
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            let text = String::from_utf8_lossy(piece);
            let ended = text.ends_with('\n');
            let text = text.trim_end_matches(['\n', '\r']);
            let (at, text) = split_time(text);
            let line = self.open[usize::from(stderr)].get_or_insert_with(|| LogLine {
                service: self.service.clone(),
                replica: self.replica,
                stderr,
                at,
                text: String::new(),
            });
            line.text.push_str(text);
            if ended {
                done.extend(self.open[usize::from(stderr)].take());
            }
        }
        done
    }

    fn rest(&mut self) -> impl Iterator<Item = LogLine> + '_ {
        self.open.iter_mut().filter_map(Option::take)
    }
}

fn split_time(text: &str) -> (Option<OffsetDateTime>, &str) {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match OffsetDateTime::parse(first, &Rfc3339) {
        Ok(time) => (Some(time), rest),
        Err(_) => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_to_lines_per_stream() {
        let mut joiner = Joiner::new("api".to_owned(), 2);
        assert!(
            joiner
                .push(false, b"2026-01-02T03:04:05.678901234Z one ")
                .is_empty()
        );
        let error = joiner.push(true, b"2026-01-02T03:04:06Z bad\n");
        assert_eq!((error[0].text.as_str(), error[0].stderr), ("bad", true));
        let lines = joiner.push(
            false,
            b"2026-01-02T03:04:07Z line\r\n2026-01-02T03:04:08Z two\n",
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].text, "one line");
        assert_eq!(lines[0].at.expect("a time").second(), 5);
        assert_eq!((lines[1].text.as_str(), lines[1].replica), ("two", 2));
        assert_eq!(joiner.rest().count(), 0);
    }

    #[test]
    fn a_line_without_its_end_and_bad_utf8_are_not_lost() {
        let mut joiner = Joiner::new("api".to_owned(), 1);
        assert!(
            joiner
                .push(false, b"2026-01-02T03:04:05Z a\xffb")
                .is_empty()
        );
        let rest: Vec<LogLine> = joiner.rest().collect();
        assert_eq!(rest[0].text, "a\u{fffd}b");
    }
}
