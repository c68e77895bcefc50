//! A deploy while it goes on: a live step list on a terminal, plain lines elsewhere, JSON lines for
//! programs. What cannot be written any more is dropped: a deploy does not depend on its audience.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use baton_deploy::outcome::Outcome;
use baton_deploy::plan::{Plan, StepName};
use baton_deploy::progress::{CanaryProgress, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::units::millis;
use super::{Out, Paint, canary, failure, plan, receipt};

/// How often a canary is written about where lines do not live.
const CANARY_EVERY: Duration = Duration::from_secs(10);

/// Shows one deploy, rollback or switch.
#[derive(Debug)]
pub struct View {
    out: Out,
    live: Option<Live>,
    app: Option<String>,
    with_tail: bool,
    /// What has been shown, so that a stream that starts over after a lost connection is not
    /// shown twice.
    seen: BTreeSet<String>,
    replay: bool,
    /// When a line about a canary was written last, and why it waited.
    canary_told: Option<(Instant, Option<String>)>,
}

impl View {
    /// `with_tail`: the steps after the switch are waited for.
    #[must_use]
    pub fn new(out: Out, app: Option<String>, with_tail: bool) -> View {
        View {
            live: out.is_live().then(|| Live::new(out.paint)),
            out,
            app,
            with_tail,
            seen: BTreeSet::new(),
            replay: false,
            canary_told: None,
        }
    }

    /// From here on, lines that were shown before are skipped.
    pub fn start_over(&mut self) {
        self.replay = true;
    }

    /// Shows one line of the daemon's. `progress` None: a newer daemon says something unknown.
    pub fn show(&mut self, line: &str, progress: Option<&Progress>) {
        let new = self.seen.insert(identity(line));
        if self.replay && !new {
            return;
        }
        // See the module's head for why errors are dropped.
        let _ = self.out.raw(line);
        if let Some(progress) = progress.filter(|_| !self.out.is_json()) {
            self.human(progress);
        }
    }

    /// One line about the fetch, which runs in this very process.
    pub fn fetching(&mut self, text: &str) {
        if self.out.is_json() {
            let note = Progress::Note {
                step: StepName::Fetch,
                text: text.to_owned(),
            };
            let _ = self.out.line(&note);
        } else {
            self.note(StepName::Fetch, text);
        }
    }

    /// One line beside the steps.
    pub fn remark(&mut self, text: &str) {
        if self.out.is_json() {
            return;
        }
        match &self.live {
            Some(live) => live.print(text),
            None => drop(self.out.text(text)),
        }
    }

    fn human(&mut self, progress: &Progress) {
        match progress {
            Progress::Waiting { holder } => self.remark(&format!("  … waiting: {holder}")),
            Progress::Planned { plan, notices, .. } => {
                let text = plan::render(self.app.as_deref(), plan, notices, self.out.paint);
                self.remark(&text);
                if let Some(live) = &mut self.live {
                    live.expect(plan, self.with_tail);
                }
            }
            Progress::StepStarted { step } => {
                if let Some(live) = &mut self.live {
                    live.start(*step);
                }
            }
            Progress::Note { step, text } => self.note(*step, text),
            Progress::Canary(canary) => self.canary(canary),
            Progress::StepSucceeded { step, ms } => {
                let mark = self.out.paint.green("✓");
                self.end_step(*step, &line(&mark, *step, &millis(*ms)));
            }
            Progress::StepFailed { step, ms, .. } => {
                let mark = self.out.paint.red("✗");
                // Why stands in the result, which comes when everything is undone.
                let text = format!("failed after {}", millis(*ms));
                self.end_step(*step, &line(&mark, *step, &text));
            }
            Progress::UndoStarted { .. } => {}
            Progress::UndoFinished { step } => {
                self.end_step(*step, &line("↩", *step, "undone"));
            }
            Progress::UndoFailed { step, error } => {
                let mark = self.out.paint.red("✗");
                self.end_step(*step, &line(&mark, *step, &format!("not undone: {error}")));
            }
            Progress::Result(outcome) => self.result(outcome),
            Progress::Drained(outcome) => self.drained(outcome),
        }
    }

    fn note(&mut self, step: StepName, text: &str) {
        match &mut self.live {
            // Memory and disk are to be seen in any case; other notes give way to the next one.
            Some(live) if step != StepName::Preflight => live.note(step, text),
            Some(_) => self.remark(&format!("  {} {text}", self.out.paint.dim("·"))),
            None => self.remark(&format!("    {step}: {text}")),
        }
    }

    /// On a terminal the line lives; elsewhere it is written now and then.
    fn canary(&mut self, canary: &CanaryProgress) {
        let text = canary::line(canary);
        if let Some(live) = &mut self.live {
            return live.note(StepName::Canary, &text);
        }
        let why = canary.waits_for.as_deref().map(without_figures);
        let due = self
            .canary_told
            .as_ref()
            .is_none_or(|(at, told)| at.elapsed() >= CANARY_EVERY || *told != why);
        if due {
            self.remark(&format!("    canary: {text}"));
            self.canary_told = Some((Instant::now(), why));
        }
    }

    fn end_step(&mut self, step: StepName, text: &str) {
        match &mut self.live {
            Some(live) => live.end(step, text),
            None => self.remark(text),
        }
    }

    /// How the command's part ended. With `--wait drained` the list goes on below it.
    fn result(&mut self, outcome: &Outcome) {
        if !(self.with_tail && outcome.ok) {
            self.close();
        }
        self.remark(&verdict(outcome, self.out.paint));
    }

    /// Leaves the step list as it is; what follows is printed below it.
    fn close(&mut self) {
        if let Some(live) = self.live.take() {
            live.close();
        }
    }

    fn drained(&mut self, outcome: &Outcome) {
        self.close();
        let text = match &outcome.receipt {
            Some(receipt) => receipt::render(receipt, self.out.paint),
            None => verdict(outcome, self.out.paint),
        };
        self.remark(&text);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.close();
    }
}

/// The sentence at the end, with what is known of a failure.
#[must_use]
pub fn verdict(outcome: &Outcome, paint: Paint) -> String {
    let mark = if outcome.ok {
        paint.green("✓")
    } else {
        paint.red("✗")
    };
    let mut text = format!("{mark} {}", paint.bold(&outcome.message));
    if let Some(failure) = &outcome.failure {
        text.push('\n');
        text.push_str(&failure::render(failure, paint));
    }
    text
}

fn line(mark: &str, step: StepName, text: &str) -> String {
    format!("  {mark} {:<15} {text}", step.as_str())
}

/// The same reason to wait with other figures is no news.
fn without_figures(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// A line without the times in it: what a stream that starts over says again.
fn identity(line: &str) -> String {
    match serde_json::from_str(line) {
        Ok(serde_json::Value::Object(mut fields)) => {
            fields.remove("ms");
            serde_json::Value::Object(fields).to_string()
        }
        _ => line.to_owned(),
    }
}

/// The step list of a terminal.
#[derive(Debug)]
struct Live {
    paint: Paint,
    bars: MultiProgress,
    steps: Vec<(StepName, ProgressBar)>,
}

impl Live {
    fn new(paint: Paint) -> Live {
        Live {
            paint,
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            steps: Vec::new(),
        }
    }

    fn print(&self, text: &str) {
        for line in text.lines() {
            let _ = self.bars.println(line);
        }
    }

    /// Lists the steps that will come.
    fn expect(&mut self, plan: &Plan, with_tail: bool) {
        let shown = if with_tail {
            plan.steps.len()
        } else {
            plan.head()
        };
        for step in &plan.steps[..shown] {
            let bar = self.bar(*step);
            bar.set_style(style("{msg}"));
            bar.set_message(self.paint.dim(line("·", *step, "").trim_end()));
        }
    }

    fn bar(&mut self, step: StepName) -> ProgressBar {
        if let Some((_, bar)) = self.steps.iter().find(|(known, _)| *known == step) {
            return bar.clone();
        }
        let bar = self.bars.add(ProgressBar::new_spinner());
        self.steps.push((step, bar.clone()));
        bar
    }

    fn start(&mut self, step: StepName) {
        let bar = self.bar(step);
        bar.set_style(
            style("  {spinner} {prefix:15} {took}  {wide_msg}").with_key(
                "took",
                |state: &ProgressState, text: &mut dyn std::fmt::Write| {
                    let ms = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
                    // A line in memory takes every write.
                    let _ = text.write_str(&millis(ms / 100 * 100));
                },
            ),
        );
        bar.set_prefix(step.as_str());
        bar.set_message("");
        bar.reset_elapsed();
        bar.enable_steady_tick(Duration::from_millis(100));
    }

    fn note(&mut self, step: StepName, text: &str) {
        self.bar(step).set_message(text.to_owned());
    }

    fn end(&mut self, step: StepName, text: &str) {
        let bar = self.bar(step);
        bar.disable_steady_tick();
        bar.set_style(style("{msg}"));
        bar.finish_with_message(text.to_owned());
    }

    /// Takes away what will not come any more and leaves the rest on the screen.
    fn close(self) {
        for (_, bar) in &self.steps {
            if !bar.is_finished() {
                bar.disable_steady_tick();
                bar.finish_and_clear();
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a test draws each of them.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

#[cfg(test)]
mod tests {
    use baton_deploy::outcome::{ExitCode, Failure};

    use super::*;

    #[test]
    fn what_was_shown_is_known_again_whatever_its_time() {
        let first = r#"{"event":"step_succeeded","step":"start","ms":12}"#;
        let again = r#"{"event":"step_succeeded","step":"start","ms":13}"#;
        let other = r#"{"event":"step_succeeded","step":"switch","ms":12}"#;
        assert_eq!(identity(first), identity(again));
        assert_ne!(identity(first), identity(other));
    }

    #[test]
    fn a_canary_that_waits_for_the_same_has_the_same_reason() {
        let reason = |text| without_figures(text);
        let waits = "2 of 300 requests came in 120 s; `baton canary resume` goes on all the same";
        let later = "17 of 300 requests came in 120 s; `baton canary resume` goes on all the same";
        assert_eq!(reason(waits), reason(later));
        assert_ne!(reason(waits), reason("held by hand"));
    }

    #[test]
    fn templates_are_valid() {
        for template in ["{msg}", "  {spinner} {prefix:15} {took}  {wide_msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_failed_deploy_ends_with_what_is_known() {
        let outcome = Outcome {
            ok: false,
            exit_code: ExitCode::ReleaseFailed,
            app: "shop".into(),
            deploy: Some(13),
            release: None,
            live: None,
            message: "r8 did not come up; blue r7 serves as before".into(),
            failure: Some(Failure {
                instance: "api 1 (green)".into(),
                exit: Some("exit code 3".into()),
                log: vec!["no database".into()],
                ..Failure::default()
            }),
            receipt: None,
        };
        insta::assert_snapshot!(verdict(&outcome, Paint::NONE), @"
        ✗ r8 did not come up; blue r7 serves as before
          instance  api 1 (green)
          exit      exit code 3
          log       the last 1 line:
            │ no database
        ");
    }
}
