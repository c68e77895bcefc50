//! For tests of the real daemon: `BATON_FAULT=kill:STEP:started` (or `:succeeded`) kills it right after
//! that line was written to the journal, as `kill -9` would. Not in release builds.

use crate::plan::StepName;

/// Ends the process here if it was asked for.
#[cfg(debug_assertions)]
pub(crate) fn after(step: StepName, moment: &str) {
    at(&format!("{step}:{moment}"));
}

/// `nginx:written`, `nginx:reloaded`: an include that nobody has verified yet. `switch:prepared`: verified,
/// and not committed.
#[cfg(debug_assertions)]
pub(crate) fn at(place: &str) {
    static WANTED: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("BATON_FAULT").ok());
    if WANTED.as_deref() == Some(format!("kill:{place}").as_str()) {
        // It cannot fail for oneself; if it did, the test that asked for it would.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn after(_: StepName, _: &str) {}

#[cfg(not(debug_assertions))]
pub(crate) fn at(_: &str) {}
