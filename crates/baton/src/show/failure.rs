//! Why a release did not come up.

use baton_deploy::outcome::{Failure, Probe};

use super::Paint;
use super::units::{counted, millis};

/// Probes, exit and the last log lines; lines without an end of the last one.
#[must_use]
pub fn render(failure: &Failure, paint: Paint) -> String {
    let mut lines = Vec::new();
    if !failure.instance.is_empty() {
        lines.push(format!("  instance  {}", paint.bold(&failure.instance)));
    }
    if let Some(exit) = exit(failure) {
        lines.push(format!("  exit      {}", paint.red(&exit)));
    }
    for (place, probe) in failure.probes.iter().enumerate() {
        let label = if place == 0 { "probes" } else { "" };
        lines.push(format!("  {label:<8}  {}", self::probe(probe)));
    }
    if failure.log.is_empty() {
        lines.push("  log       it wrote nothing".to_owned());
    } else {
        let number = counted(failure.log.len() as u64, "line", "lines");
        lines.push(format!("  log       the last {number}:"));
        for line in &failure.log {
            lines.push(format!("    {} {line}", paint.dim("│")));
        }
    }
    lines.join("\n")
}

fn exit(failure: &Failure) -> Option<String> {
    match (&failure.exit, failure.exit_code, failure.oom_killed) {
        (Some(exit), _, true) if !exit.contains("memory") => {
            Some(format!("{exit}; killed because memory ran out"))
        }
        (Some(exit), _, _) => Some(exit.clone()),
        (None, _, true) => Some("killed because memory ran out".to_owned()),
        (None, Some(code), false) => Some(format!("exit code {code}")),
        (None, None, false) => None,
    }
}

fn probe(probe: &Probe) -> String {
    let when = if probe.first_ms == probe.last_ms {
        format!("after {}", millis(probe.first_ms))
    } else {
        format!(
            "after {} to {}",
            millis(probe.first_ms),
            millis(probe.last_ms)
        )
    };
    let times = if probe.times > 1 {
        format!(" ({} times)", probe.times)
    } else {
        String::new()
    };
    format!("{when}: {}{times}", probe.result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_shows_probes_exit_and_log() {
        let failure = Failure {
            instance: "api 1 (green)".into(),
            probes: vec![
                Probe {
                    first_ms: 40,
                    last_ms: 2_100,
                    times: 3,
                    result: "connection refused".into(),
                },
                Probe {
                    first_ms: 3_050,
                    last_ms: 3_050,
                    times: 1,
                    result: "503 Service Unavailable: \"starting\"".into(),
                },
            ],
            exit: Some("exit code 3".into()),
            exit_code: Some(3),
            oom_killed: false,
            log: vec!["starting".into(), "no database: giving up".into()],
        };
        insta::assert_snapshot!(render(&failure, Paint::NONE), @r#"
          instance  api 1 (green)
          exit      exit code 3
          probes    after 40 ms to 2.1 s: connection refused (3 times)
                    after 3.0 s: 503 Service Unavailable: "starting"
          log       the last 2 lines:
            │ starting
            │ no database: giving up
        "#);
    }

    #[test]
    fn running_out_of_memory_is_said() {
        let failure = Failure {
            instance: "api 1 (blue)".into(),
            exit: Some("ended by signal 9 (exit code 137)".into()),
            exit_code: Some(137),
            oom_killed: true,
            ..Failure::default()
        };
        insta::assert_snapshot!(render(&failure, Paint::NONE), @"
          instance  api 1 (blue)
          exit      ended by signal 9 (exit code 137); killed because memory ran out
          log       it wrote nothing
        ");
    }
}
