//! A scheduled job, as `@Scheduled` makes one: it ticks on the wall clock while the app is told to be
//! active, and never otherwise.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use crate::settings::{Identity, Ticking};
use crate::ticks::{Line, PERIOD, Part};

/// Whether the job ticks; inactive at first.
#[derive(Debug)]
pub(crate) struct Activity {
    wanted: watch::Sender<bool>,
    /// Held while a tick runs.
    running: Mutex<()>,
    ticks: Cell<u64>,
    ticking: Ticking,
    identity: Identity,
}

/// What `GET /internal/active` answers.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct State {
    active: bool,
    /// A tick runs now.
    running: bool,
    /// Ticks that began.
    ticks: u64,
}

impl Activity {
    /// Starts the job on this thread's `LocalSet`.
    pub(crate) fn start(ticking: &Ticking, identity: &Identity) -> Rc<Activity> {
        let activity = Rc::new(Activity {
            wanted: watch::Sender::new(false),
            running: Mutex::new(()),
            ticks: Cell::new(0),
            ticking: ticking.clone(),
            identity: identity.clone(),
        });
        tokio::task::spawn_local(Rc::clone(&activity).run());
        activity
    }

    pub(crate) fn state(&self) -> State {
        State {
            active: *self.wanted.borrow(),
            running: self.running.try_lock().is_err(),
            ticks: self.ticks.get(),
        }
    }

    /// Returns at once when it is to tick, and when it is not, once no tick runs any more.
    pub(crate) async fn set(&self, active: bool) {
        if self.wanted.send_replace(active) != active {
            println!("active: {active}");
        }
        if !active {
            drop(self.running.lock().await);
        }
    }

    async fn run(self: Rc<Self>) {
        let mut wanted = self.wanted.subscribe();
        // The sender lives in `self`: waiting fails only after this task.
        while wanted.wait_for(|active| *active).await.is_ok() {
            next_period().await;
            self.tick().await;
        }
    }

    async fn tick(&self) {
        let _running = self.running.lock().await;
        // Looked at again now that `set` would wait for this tick.
        if !*self.wanted.borrow() {
            return;
        }
        self.ticks.set(self.ticks.get() + 1);
        if self.ticking.run.is_zero() {
            return self.write(Part::Whole);
        }
        self.write(Part::Begin);
        sleep(self.ticking.run).await;
        self.write(Part::End);
    }

    fn write(&self, part: Part) {
        let line = Line {
            at: now().as_millis() as u64,
            release: self.identity.release.clone(),
            color: self.identity.color.clone(),
            instance: self.identity.id(),
            part,
        };
        if let Err(error) = self.append(&line) {
            eprintln!("tick: {error}");
        }
    }

    /// One write with `O_APPEND`: lines of several instances do not mix.
    fn append(&self, line: &Line) -> io::Result<()> {
        let Some(path) = &self.ticking.file else {
            return Ok(());
        };
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        file.write_all(format!("{line}\n").as_bytes())
    }
}

/// Since the Unix epoch.
fn now() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default()
}

/// Waits for a period that has not begun yet.
async fn next_period() {
    let period = |now: Duration| now.as_millis() / PERIOD.as_millis();
    let this = period(now());
    // Again where the wall clock is slewed and the timer was early.
    while period(now()) == this {
        sleep(until_next_tick(now())).await;
    }
}

/// On the wall clock, as cron does it: a job that is handed over within a period does not tick twice
/// in it.
fn until_next_tick(now: Duration) -> Duration {
    let period = PERIOD.as_nanos() as u64;
    Duration::from_nanos(period - now.as_nanos() as u64 % period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticks::verify_ticks;

    #[test]
    fn ticks_are_on_the_wall_clock() {
        let until = |millis| until_next_tick(Duration::from_millis(millis)).as_millis();
        assert_eq!((until(1_000), until(1_001), until(1_099)), (100, 99, 1));
    }

    fn activity(file: &std::path::Path, color: &str, run: Duration) -> Rc<Activity> {
        let ticking = Ticking {
            file: Some(file.to_owned()),
            run,
        };
        let identity = Identity {
            app: String::new(),
            color: color.to_owned(),
            release: format!("of-{color}"),
            role: String::new(),
            version: String::new(),
            instance: "here".to_owned(),
            pid: 1,
        };
        Activity::start(&ticking, &identity)
    }

    async fn until(what: impl Fn() -> bool) {
        while !what() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn false_is_answered_when_the_tick_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticks");
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let job = activity(&file, "blue", Duration::from_millis(150));
                assert!(!job.state().active, "it is inactive at first");
                job.set(true).await;
                until(|| job.state().running).await;
                job.set(false).await;
                assert!(!job.state().running);
                let ticks = verify_ticks(&file).unwrap();
                assert_eq!((ticks.ticks, ticks.unfinished), (1, 0));
            })
            .await;
    }

    #[tokio::test]
    async fn a_job_that_is_handed_over_never_runs_twice_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ticks");
        let tasks = tokio::task::LocalSet::new();
        tasks
            .run_until(async {
                let jobs = ["blue", "green"]
                    .map(|color| activity(&file, color, Duration::from_millis(20)));
                for turn in 0..6 {
                    let job = &jobs[turn % 2];
                    let before = job.state().ticks;
                    job.set(true).await;
                    until(|| job.state().ticks > before).await;
                    job.set(false).await;
                }
            })
            .await;
        let ticks = verify_ticks(&file).unwrap();
        assert_eq!(ticks.turns.len(), 6, "{ticks:?}");
        assert_eq!(ticks.unfinished, 0);
    }
}
