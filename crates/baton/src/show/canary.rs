//! How a canary goes, in one line.

use baton_deploy::progress::{CanaryProgress, SideFigures};

/// `5% → new: 412 requests, 0 errors, p50 3 ms, p99 12 ms · old: 7820, 1, 3 ms, 11 ms · evidence 1.0`
#[must_use]
pub fn line(canary: &CanaryProgress) -> String {
    let mut text = format!(
        "{}% of {} · new: {} · old: {} · evidence {:.1} of 100",
        canary.weight.percent(),
        canary
            .steps
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join("→"),
        side(&canary.new),
        side(&canary.old),
        canary.evidence
    );
    if let Some(waits) = &canary.waits_for {
        text.push_str(" · ");
        text.push_str(waits);
    }
    text
}

fn side(figures: &SideFigures) -> String {
    let millis = |took: Option<f64>| match took {
        Some(took) if took < 10.0 => format!("{took:.1} ms"),
        Some(took) => format!("{took:.0} ms"),
        None => "–".to_owned(),
    };
    format!(
        "{} requests, {} errors, p50 {}, p99 {}",
        figures.requests,
        figures.errors,
        millis(figures.p50_ms),
        millis(figures.p99_ms)
    )
}

#[cfg(test)]
mod tests {
    use baton_deploy::slots::Weight;

    use super::*;

    #[test]
    fn both_sides_and_what_is_waited_for_are_told() {
        let canary = CanaryProgress {
            weight: Weight::new(5).expect("a percentage"),
            steps: vec![5, 25, 100],
            old: SideFigures {
                requests: 7820,
                errors: 1,
                p50_ms: Some(3.2),
                p99_ms: Some(11.4),
            },
            new: SideFigures::default(),
            evidence: 1.0,
            waits_for: Some("the gate is manual".to_owned()),
        };
        insta::assert_snapshot!(
            line(&canary),
            @"5% of 5→25→100 · new: 0 requests, 0 errors, p50 –, p99 – · old: 7820 requests, 1 errors, p50 3.2 ms, p99 11 ms · evidence 1.0 of 100 · the gate is manual"
        );
    }
}
