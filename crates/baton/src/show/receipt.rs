//! The proof at the end of a deploy.

use baton_compose::Color;
use baton_deploy::receipt::{MessageFigures, Receipt, SideFigures, Watched};
use baton_deploy::router::StreamFigures;

use super::Paint;
use super::units::{bytes, count, counted, millis, moment};

/// The whole receipt; lines without an end of the last one.
#[must_use]
pub fn render(receipt: &Receipt, paint: Paint) -> String {
    let mut rows = vec![
        ("release", release(receipt, paint)),
        ("outcome", receipt.outcome.clone()),
        ("requests", requests(receipt, paint)),
        ("held", held(receipt)),
        ("in flight", in_flight(receipt)),
        ("took", took(receipt)),
    ];
    if !receipt.counted {
        rows.retain(|(label, _)| *label != "held");
    }
    if let Some(reason) = &receipt.reason {
        rows.insert(2, ("why", reason.clone()));
    }
    if let Some(watch) = &receipt.watch {
        rows.push(("watch", watched(watch)));
    }
    for (color, figures) in &receipt.streams {
        rows.push(("streams", streams(*color, figures)));
    }
    if receipt.messages != MessageFigures::default() {
        rows.push(("messages", messages(&receipt.messages)));
    }
    if !receipt.memory.is_empty() {
        let each = receipt
            .memory
            .iter()
            .map(|(color, most)| format!("{} {}", color, bytes(*most)));
        let each: Vec<String> = each.collect();
        rows.push(("memory", format!("at most {}", each.join(", "))));
    }
    rows.push(("when", when(receipt)));
    let title = format!("receipt of deploy {} · {}", receipt.deploy, receipt.app);
    let mut lines = vec![paint.bold(&title)];
    for (label, text) in rows {
        lines.push(format!("  {label:<9}  {text}"));
    }
    lines.join("\n")
}

fn release(receipt: &Receipt, paint: Paint) -> String {
    let place = paint.slot(receipt.color);
    match receipt.previous {
        Some(previous) => format!("{} on {place}, after {previous}", receipt.release),
        None => format!("{} on {place}, the first", receipt.release),
    }
}

fn requests(receipt: &Receipt, paint: Paint) -> String {
    if !receipt.counted {
        return "counted by nginx, which carried them".to_owned();
    }
    let failed = format!("{} failed", count(receipt.failed));
    let failed = if receipt.failed == 0 {
        paint.green(&failed)
    } else {
        paint.red(&failed)
    };
    format!("{}, {failed}", count(receipt.requests))
}

fn held(receipt: &Receipt) -> String {
    if receipt.held == 0 {
        return "none".to_owned();
    }
    format!(
        "{}, the longest {}",
        counted(receipt.held, "request", "requests"),
        millis(receipt.longest_gap_ms)
    )
}

fn in_flight(receipt: &Receipt) -> String {
    let answered = receipt.in_flight_at_switch.saturating_sub(receipt.cut);
    let mut text = format!(
        "{} at the switch, {} answered by the old color",
        count(receipt.in_flight_at_switch),
        count(answered)
    );
    if receipt.cut > 0 {
        text.push_str(&format!(
            ", {} cut when their time was over",
            count(receipt.cut)
        ));
    }
    text
}

/// The new release against the time before it.
fn watched(watch: &Watched) -> String {
    let side = |side: &SideFigures| {
        let errors = counted(side.errors, "error", "errors");
        match side.p99_ms {
            Some(p99) => format!(
                "{} requests, {errors}, p99 {p99:.0} ms",
                count(side.requests)
            ),
            None => format!("{} requests, {errors}", count(side.requests)),
        }
    };
    format!(
        "{} s: {}; before: {}",
        watch.seconds,
        side(&watch.after),
        side(&watch.before)
    )
}

/// What became of the event streams, WebSockets and sessions of one color; only what there was.
fn streams(color: Color, figures: &StreamFigures) -> String {
    let each = [
        (figures.handed_over, "handed over"),
        (figures.reconnected, "told to come back"),
        (figures.drained, "ended by themselves"),
        (figures.cut, "cut"),
        (figures.events, "events forwarded"),
        (figures.websockets, "WebSockets told to come back"),
        (figures.sessions_ended, "sessions ended"),
    ];
    let some = each.iter().filter(|(number, _)| *number > 0);
    let some: Vec<String> = some
        .map(|(number, what)| format!("{} {what}", count(*number)))
        .collect();
    format!("{color}: {}", some.join(", "))
}

fn messages(figures: &MessageFigures) -> String {
    let mut text = format!("{} moved to the new color", count(figures.moved));
    if figures.moved_pending > 0 {
        text.push_str(&format!(
            " ({} of them given to the old one before)",
            count(figures.moved_pending)
        ));
    }
    if figures.trimmed > 0 {
        text.push_str(&format!(
            ", {} acknowledged whose entries were gone",
            count(figures.trimmed)
        ));
    }
    if figures.before > 0 {
        text.push_str(&format!(
            ", {} pending since before and left alone",
            count(figures.before)
        ));
    }
    text
}

fn took(receipt: &Receipt) -> String {
    let steps: Vec<String> = receipt
        .steps
        .iter()
        .map(|step| format!("{} {}", step.step, millis(step.ms)))
        .collect();
    if steps.is_empty() {
        return millis(receipt.duration_ms);
    }
    format!("{} ({})", millis(receipt.duration_ms), steps.join(", "))
}

fn when(receipt: &Receipt) -> String {
    let by = match &receipt.by {
        Some(by) => format!(", by {by}"),
        None => String::new(),
    };
    format!("{} UTC{by}", moment(receipt.ended_at))
}

#[cfg(test)]
pub(crate) mod tests {
    use baton_deploy::plan::{DeployKind, StepName};
    use baton_deploy::receipt::StepTime;
    use baton_deploy::release::ReleaseId;
    use time::OffsetDateTime;

    use super::*;

    pub(crate) fn example() -> Receipt {
        Receipt {
            deploy: 12,
            app: "shop".into(),
            kind: DeployKind::Deploy,
            release: ReleaseId(7),
            previous: Some(ReleaseId(6)),
            color: Color::Green,
            reason: None,
            strategy: Default::default(),
            watch: None,
            outcome: "live".into(),
            started_at: OffsetDateTime::UNIX_EPOCH,
            ended_at: OffsetDateTime::UNIX_EPOCH + time::Duration::seconds(95),
            by: Some("octocat (as deploy)".into()),
            counted: true,
            requests: 48_213,
            failed: 0,
            held: 2,
            longest_gap_ms: 14,
            in_flight_at_switch: 31,
            cut: 0,
            streams: Vec::new(),
            messages: MessageFigures::default(),
            duration_ms: 9_340,
            steps: vec![
                StepTime {
                    step: StepName::Start,
                    ms: 420,
                },
                StepTime {
                    step: StepName::AwaitHealthy,
                    ms: 6_200,
                },
            ],
            memory: vec![(Color::Blue, 412 << 20), (Color::Green, 398 << 20)],
        }
    }

    #[test]
    fn a_receipt_has_every_figure() {
        insta::assert_snapshot!(render(&example(), Paint::NONE), @"
        receipt of deploy 12 · shop
          release    r7 on green, after r6
          outcome    live
          requests   48,213, 0 failed
          held       2 requests, the longest 14 ms
          in flight  31 at the switch, 31 answered by the old color
          took       9.3 s (start 420 ms, await_healthy 6.2 s)
          memory     at most blue 412 MiB, green 398 MiB
          when       1970-01-01 00:01:35 UTC, by octocat (as deploy)
        ");
    }

    #[test]
    fn what_became_of_streams_and_messages_is_said() {
        let receipt = Receipt {
            streams: vec![
                (
                    Color::Blue,
                    StreamFigures {
                        handed_over: 200,
                        cut: 1,
                        events: 5_120,
                        websockets: 3,
                        ..StreamFigures::default()
                    },
                ),
                (
                    Color::Green,
                    StreamFigures {
                        events: 77,
                        ..StreamFigures::default()
                    },
                ),
            ],
            messages: MessageFigures {
                moved: 12,
                moved_pending: 2,
                trimmed: 0,
                before: 4,
            },
            ..example()
        };
        let text = render(&receipt, Paint::NONE);
        let said: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("  streams") || line.starts_with("  messages"))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @"
          streams    blue: 200 handed over, 1 cut, 5,120 events forwarded, 3 WebSockets told to come back
          streams    green: 77 events forwarded
          messages   12 moved to the new color (2 of them given to the old one before), 4 pending since before and left alone
        ");
    }

    #[test]
    fn what_nobody_counted_is_no_zero() {
        let receipt = Receipt {
            counted: false,
            requests: 0,
            ..example()
        };
        let text = render(&receipt, Paint::NONE);
        assert!(
            text.contains("requests   counted by nginx, which carried them"),
            "{text}"
        );
        assert!(!text.contains("held"), "{text}");
    }

    #[test]
    fn what_was_cut_is_said() {
        let receipt = Receipt {
            cut: 3,
            failed: 3,
            previous: None,
            ..example()
        };
        let text = render(&receipt, Paint::NONE);
        assert!(text.contains("r7 on green, the first"), "{text}");
        assert!(text.contains("48,213, 3 failed"), "{text}");
        assert!(
            text.contains("28 answered by the old color, 3 cut when their time was over"),
            "{text}"
        );
    }
}
